"""Cause and effect in one job's history: which event led to which, and what one command did."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from domain import events as e
from domain.events import AnyEvent
from services.viewing.history import Entry

_JOB, _TASK, _RUN, _WORKER = (), ("task",), ("task", "replica"), ("task", "worker")
_GAVE_BACK: Final = (e.AssignmentExpired, e.AssignmentReturned, e.AssignmentFailed)
#: What leads to an event: the latest of these events, of the same job, task, run or worker.
_CAUSES: Final[Mapping[type, tuple[tuple[type, tuple[str, ...]], ...]]] = {
    e.JobReused: ((e.JobPosted, _JOB),),
    e.EscrowReserved: ((e.JobPosted, _JOB),),
    e.JobCancelled: ((e.JobPosted, _JOB),),
    e.JobExpired: ((e.JobPosted, _JOB),),
    e.TaskAssigned: ((e.JobPosted, _JOB), *((kind, _RUN) for kind in (*_GAVE_BACK, e.ResultRejected))),
    **dict.fromkeys((e.ResultCommitted, *_GAVE_BACK), ((e.TaskAssigned, _RUN),)),
    e.ResultSubmitted: ((e.ResultCommitted, _RUN),),
    e.DisputeOpened: ((e.ResultSubmitted, _TASK), (e.ReplicasWithdrawn, _TASK)),
    e.DisputeRuled: ((e.DisputeOpened, _TASK),),
    e.ResultVerified: tuple((kind, _TASK) for kind in (e.ResultSubmitted, e.DisputeRuled, e.ReplicasWithdrawn)),
    e.ResultRejected: ((e.DisputeRuled, _TASK),),
    e.EscrowReleased: ((e.ResultVerified, _RUN),),
    e.StakeSlashed: ((e.ResultRejected, _WORKER),),
    e.TaskFailed: tuple((kind, _TASK) for kind in _GAVE_BACK),
    e.ReplicasWithdrawn: (
        (e.JobCancelled, _JOB),
        (e.JobExpired, _JOB),
        *((kind, _TASK) for kind in (e.TaskFailed, *_GAVE_BACK)),
    ),
    e.JobCompleted: tuple(
        (kind, _JOB)
        for kind in (
            *(e.ResultVerified, e.ResultRejected, e.TaskFailed, e.JobReused, e.JobCancelled, e.JobExpired),
            *_GAVE_BACK,
        )
    ),
    e.FeeCharged: ((e.JobCompleted, _JOB),),
    e.EscrowFreed: ((e.JobCompleted, _JOB),),
}
_SCOPES: Final = {
    kind: {scope for causes in _CAUSES.values() for cause, scope in causes if cause is kind}
    for kind in {cause for causes in _CAUSES.values() for cause, _ in causes}
}


class Links(Struct):
    """Attributes:
    cause: Position of the event that led to this one; absent for what somebody did out of their own.
    effects: Positions of those that it led to. command: Positions of all that the same command did.
    """

    cause: int | None = None
    effects: list[int] = field(default_factory=list)
    command: list[int] = field(default_factory=list)


def links(entries: Sequence[Entry]) -> dict[int, Links]:
    """By position, how the job's events hang together."""
    found: dict[int, Links] = {}
    last: dict[tuple[object, ...], int] = {}
    commands: dict[tuple[str, str], list[int]] = {}
    for one in entries:
        event, kind, position = one.event, type(one.event), one.position
        before = [last.get(_key(cause, scope, event)) for cause, scope in _CAUSES.get(kind, ())]
        cause = max((at for at in before if at is not None), default=None)
        command = commands.setdefault((one.meta.actor, one.meta.causation), [])
        command.append(position)
        found[position] = Links(cause, command=command)
        if cause is not None:
            found[cause].effects.append(position)
        for scope in _SCOPES.get(kind, ()):
            last[_key(kind, scope, event)] = position
    return found


def _key(kind: type, scope: Iterable[str], event: AnyEvent) -> tuple[object, ...]:
    return (kind, scope, *(getattr(event, name) for name in scope))
