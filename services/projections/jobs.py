"""Read model ``jobs``: one row a job, with its terms, its progress and its money.

``accepted`` counts verified results, ``verified`` settled tasks; ``failed`` is what the job's end says. A job that was
answered by earlier work names the ``original``, where its results are.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct

from domain.events import (
    AssignmentExpired,
    DisputeOpened,
    EscrowFreed,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    JobCancelled,
    JobCompleted,
    JobExpired,
    JobPosted,
    JobReused,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    TaskAssigned,
    TaskFailed,
)
from services.projections.model import Change, Handler, Seen, upsert, walk


class Row(Struct):
    job: str
    client: str | None = None
    escrow: str | None = None
    state: str | None = None
    tasks: int | None = None
    replicas: int | None = None
    price_msat: int | None = None
    fee_msat: int | None = None
    chain_msat: int | None = None
    stake_msat: int | None = None
    timeout_s: int | None = None
    memory_mb: int | None = None
    platforms: str | None = None
    execution: str | None = None
    program: str | None = None
    work_key: str | None = None
    original: str | None = None
    posted_at: datetime | None = None
    expires_at: datetime | None = None
    completed_at: datetime | None = None
    failed: int | None = None
    assigned: int = 0
    committed: int = 0
    submitted: int = 0
    accepted: int = 0
    verified: int = 0
    rejected: int = 0
    expired: int = 0
    given_up: int = 0
    disputes: int = 0
    reserved_msat: int = 0
    paid_msat: int = 0
    charged_msat: int = 0
    freed_msat: int = 0
    last_pos: int = 0


Rows = dict[str, Row]


def _row(rows: Rows, event: Any, position: int) -> Row:
    row = rows.get(event.job)
    if row is None:
        row = rows[event.job] = Row(event.job)
    row.last_pos = position
    return row


def _posted(rows: Rows, event: JobPosted, position: int, at: datetime) -> None:
    rows[event.job] = Row(
        event.job,
        event.client,
        event.escrow,
        "open",
        event.tasks,
        event.replicas,
        event.price_msat,
        event.fee_msat,
        event.chain_msat,
        event.stake_msat,
        event.timeout_s,
        event.memory_mb,
        ",".join(event.platforms),
        event.execution,
        event.program.address,
        event.work_key,
        None,
        at,
        event.expires_at,
        last_pos=position,
    )


def _reused(rows: Rows, event: JobReused, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.original = event.original
    row.verified += event.tasks


def _closing(rows: Rows, event: JobCancelled | JobExpired, position: int, at: datetime) -> None:
    _row(rows, event, position).state = "cancelled" if isinstance(event, JobCancelled) else "expired"


def _completed(rows: Rows, event: JobCompleted, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.state = "completed"
    row.completed_at = at
    row.failed = event.failed


def _assigned(rows: Rows, event: TaskAssigned, position: int, at: datetime) -> None:
    _row(rows, event, position).assigned += 1


def _committed(rows: Rows, event: ResultCommitted, position: int, at: datetime) -> None:
    _row(rows, event, position).committed += 1


def _submitted(rows: Rows, event: ResultSubmitted, position: int, at: datetime) -> None:
    _row(rows, event, position).submitted += 1


def _verified(rows: Rows, event: ResultVerified, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.accepted += 1
    row.verified += event.settles


def _rejected(rows: Rows, event: ResultRejected, position: int, at: datetime) -> None:
    _row(rows, event, position).rejected += 1


def _expired(rows: Rows, event: AssignmentExpired, position: int, at: datetime) -> None:
    _row(rows, event, position).expired += 1


def _given_up(rows: Rows, event: TaskFailed, position: int, at: datetime) -> None:
    _row(rows, event, position).given_up += 1


def _disputed(rows: Rows, event: DisputeOpened, position: int, at: datetime) -> None:
    _row(rows, event, position).disputes += 1


def _reserved(rows: Rows, event: EscrowReserved, position: int, at: datetime) -> None:
    _row(rows, event, position).reserved_msat += event.amount_msat


def _released(rows: Rows, event: EscrowReleased, position: int, at: datetime) -> None:
    _row(rows, event, position).paid_msat += event.amount_msat


def _charged(rows: Rows, event: FeeCharged, position: int, at: datetime) -> None:
    _row(rows, event, position).charged_msat += event.amount_msat


def _freed(rows: Rows, event: EscrowFreed, position: int, at: datetime) -> None:
    _row(rows, event, position).freed_msat += event.amount_msat


_HANDLERS: dict[type, Handler] = {
    JobPosted: _posted,
    JobReused: _reused,
    JobCancelled: _closing,
    JobExpired: _closing,
    JobCompleted: _completed,
    TaskAssigned: _assigned,
    ResultCommitted: _committed,
    ResultSubmitted: _submitted,
    ResultVerified: _verified,
    ResultRejected: _rejected,
    AssignmentExpired: _expired,
    TaskFailed: _given_up,
    DisputeOpened: _disputed,
    EscrowReserved: _reserved,
    EscrowReleased: _released,
    FeeCharged: _charged,
    EscrowFreed: _freed,
}


def follow(rows: Rows, events: Sequence[Seen]) -> None:
    """Fold events into rows that are kept in memory; a job's first event has to be among them."""
    walk(_HANDLERS, rows, events)


class Jobs:
    name: ClassVar[str] = "jobs"
    revision: ClassVar[int] = 3

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        rows: Rows = {}
        walk(_HANDLERS, rows, events)
        return upsert(rows.values())
