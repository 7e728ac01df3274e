"""A dispute on one task: opened when replicas disagree, ended by a referee's replay; a task may have several in turn.

None, RULED -- DisputeOpened --> OPEN -- DisputeRuled --> RULED
"""

from typing import Annotated, assert_never

from msgspec import Meta, Struct

from domain import errors
from domain.blobs import BlobRef
from domain.events import DisputeEvent, DisputeOpened, DisputeRuled, JobPosted
from domain.ids import JobId, PartyKey, TaskIndex

Parties = Annotated[tuple[PartyKey, ...], Meta(max_length=8)]


class TakeDisputes(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for open disputes; the answer waits until there is one."""

    limit: Annotated[int, Meta(ge=1, le=16)] = 1


class RuleDispute(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Say whose result a replay upheld and whose it rejected."""

    job: JobId
    task: TaskIndex
    upheld: Parties
    rejected: Parties
    evidence: BlobRef


class Dispute(Struct, frozen=True):
    workers: tuple[str, ...] = ()
    open: bool = False
    version: int = 0


def rule(dispute: Dispute | None, terms: JobPosted, command: RuleDispute, referee: str) -> DisputeRuled:
    """Accept a ruling.

    Raises:
        NoDispute: None is open for the task.
        BadRuling: It does not name each disputed worker exactly once.
        Unauthorised: The referee is one of them.
    """
    if dispute is None or not dispute.open:
        raise errors.NoDispute(job=terms.job, task=command.task)
    if sorted((*command.upheld, *command.rejected)) != sorted(dispute.workers):
        raise errors.BadRuling(disputed=", ".join(dispute.workers))
    if referee in dispute.workers:
        raise errors.Unauthorised(needed="a referee who did not work on the task")
    return DisputeRuled(terms.job, command.task, referee, command.upheld, command.rejected, command.evidence)


def evolve(dispute: Dispute | None, event: DisputeEvent) -> Dispute:
    """The task's dispute after ``event``."""
    version = dispute.version + 1 if dispute else 1
    match event:
        case DisputeOpened():
            return Dispute(event.workers, True, version)
        case DisputeRuled():
            assert dispute is not None, "a ruling follows its dispute"
            return Dispute(dispute.workers, False, version)
        case _:
            assert_never(event)
