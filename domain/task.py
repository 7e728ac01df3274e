"""One task: its replicas, each held by one worker at a time, blind to each other until all have committed.

A replica's phases and the events that move it:

    OPEN       -- TaskAssigned                                    --> ASSIGNED
    ASSIGNED   -- AssignmentExpired | Returned | Failed           --> OPEN
    ASSIGNED   -- ResultCommitted                                 --> COMMITTED
    COMMITTED  -- ResultSubmitted (after every replica committed) --> SUBMITTED
    COMMITTED  -- AssignmentExpired | Returned | Failed           --> OPEN
    SUBMITTED  -- ResultVerified                                  --> VERIFIED   (terminal)
    SUBMITTED  -- ResultRejected                                  --> OPEN       (its worker never gets this task again)
    OPEN       -- TaskFailed | ReplicasWithdrawn                  --> WITHDRAWN  (terminal)

When the last live replica is submitted the results are compared: one replica is taken as opened, equal ones as agreed,
and any difference opens a dispute that a referee's replay decides.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Annotated, assert_never

from msgspec import Meta, Struct
from msgspec.structs import replace

from domain import errors
from domain.blobs import BlobRef, result_commitment
from domain.events import (
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    DisputeOpened,
    FailureReason,
    JobPosted,
    Method,
    ReplicasWithdrawn,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    TaskAssigned,
    TaskEvent,
    TaskFailed,
)
from domain.ids import Digest, JobId, Nonce, TaskIndex
from domain.worker import LEASE_MAX

#: Workers that may fail to run a task before it is given up.
FAILURES_MAX = 3


class TakeTasks(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for a lease of up to ``slots`` tasks; the answer waits until there is work, or work to reveal."""

    slots: Annotated[int, Meta(ge=1, le=LEASE_MAX)]


class CommitResult(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Bind yourself to a result (``domain.blobs.result_commitment``) without showing it."""

    job: JobId
    task: TaskIndex
    commitment: Digest


class SubmitResult(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Show the result that you committed to."""

    job: JobId
    task: TaskIndex
    nonce: Nonce
    result: BlobRef
    equality: Digest


class FailTask(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Say that you could not run the task."""

    job: JobId
    task: TaskIndex
    reason: FailureReason


class ReturnTasks(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Hand back everything that you hold and have not submitted, except what you ``keep``.

    For a worker that stops, has just restarted, or does not know what the market last gave it.
    """

    keep: Annotated[tuple[tuple[JobId, TaskIndex], ...], Meta(max_length=2048)] = ()


class Phase(IntEnum):
    OPEN = 0
    ASSIGNED = 1
    COMMITTED = 2
    SUBMITTED = 3
    VERIFIED = 4
    WITHDRAWN = 5


class Slot(Struct, frozen=True, gc=False):
    """One replica. ``expires_at`` is absent while it is nobody's, or waits for the other replicas."""

    phase: Phase
    worker: str = ""
    expires_at: datetime | None = None
    commitment: str = ""
    equality: str = ""
    result: BlobRef | None = None


OPEN = Slot(Phase.OPEN)
WITHDRAWN = Slot(Phase.WITHDRAWN)
_LIVE = (Phase.ASSIGNED, Phase.COMMITTED, Phase.SUBMITTED)
_REVEALABLE = (Phase.COMMITTED, Phase.SUBMITTED, Phase.VERIFIED, Phase.WITHDRAWN)


class Task(Struct, frozen=True, gc=False):
    """Attributes:
    barred: Workers whose result was rejected or who could not run it.
    closed: No replica of it will be assigned again.
    """

    slots: tuple[Slot, ...]
    barred: tuple[str, ...] = ()
    failures: int = 0
    closed: bool = False
    version: int = 0


def new_task(replicas: int) -> Task:
    return Task((OPEN,) * replicas)


def may_take(task: Task, worker: str) -> bool:
    """Whether ``worker`` may get a replica, as far as the task itself decides it."""
    return worker not in task.barred and all(slot.worker != worker for slot in task.slots)


def open_replica(task: Task) -> int | None:
    """First replica that nobody holds."""
    for index, slot in enumerate(task.slots):
        if slot.phase is Phase.OPEN:
            return index
    return None


def live(task: Task) -> bool:
    """Whether a worker is still busy with it or waits for its verdict."""
    return any(slot.phase in _LIVE for slot in task.slots)


def done(task: Task) -> bool:
    """Whether no replica of it will move again."""
    for slot in task.slots:  # noqa: SIM110  asked twice for every event of every task, a generator doubles its cost
        if slot.phase < Phase.VERIFIED:
            return False
    return True


def verified(task: Task) -> bool:
    """Whether a result of it was accepted."""
    return any(slot.phase is Phase.VERIFIED for slot in task.slots)


# --------------------------------------------------------------------------------------------------------- decisions
def assign(task: Task, terms: JobPosted, index: int, worker: str, expires_at: datetime) -> TaskAssigned:
    """Give the first open replica to ``worker``.

    Raises:
        AlreadySettled: No replica is open, or the worker may not have this task.
    """
    replica = open_replica(task)
    if replica is None or task.closed or not may_take(task, worker):
        raise errors.AlreadySettled(what=f"task {index} of job {terms.job}")
    return TaskAssigned(terms.job, index, replica, worker, terms.price_msat, expires_at)


def commit(
    task: Task, terms: JobPosted, index: int, worker: str, commitment: str, now: datetime
) -> tuple[ResultCommitted, ...]:
    """Bind ``worker`` to a result.

    Raises:
        NotYourAssignment, TooLate, AlreadyCommitted: The worker holds no replica that waits for a commitment.
    """
    replica, slot = _held(task, terms, index, worker)
    if slot.phase is not Phase.ASSIGNED:
        raise errors.AlreadyCommitted(job=terms.job, task=index)
    _in_time(slot, terms, index, now)
    reveal_by = None
    if len(task.slots) > 1 and all(s.phase in _REVEALABLE for r, s in enumerate(task.slots) if r != replica):
        reveal_by = now + timedelta(seconds=terms.timeout_s)
    return (ResultCommitted(terms.job, index, replica, worker, commitment, reveal_by),)


def submit(
    task: Task,
    terms: JobPosted,
    index: int,
    worker: str,
    nonce: str,
    result: BlobRef,
    equality: str,
    now: datetime,
) -> list[ResultSubmitted | ResultVerified | DisputeOpened]:
    """Open the commitment; the last replica to do so brings the verdict or a dispute.

    Raises:
        NotYourAssignment, TooLate: The worker holds no replica of the task, or no longer.
        NotCommitted, NotYetRevealable, AlreadySettled: The submission comes too early, or twice.
        DoesNotOpen: It is not what the worker committed to.
    """
    replica, slot = _held(task, terms, index, worker)
    if slot.phase is Phase.ASSIGNED:
        raise errors.NotCommitted(job=terms.job, task=index)
    if slot.phase is not Phase.COMMITTED:
        raise errors.AlreadySettled(what=f"your result of task {index} of job {terms.job}")
    if not revealable(task):
        raise errors.NotYetRevealable(job=terms.job, task=index)
    _in_time(slot, terms, index, now)
    if result_commitment(worker, terms.job, index, nonce, result, equality) != slot.commitment:
        raise errors.DoesNotOpen(job=terms.job, task=index)
    submitted = ResultSubmitted(terms.job, index, replica, worker, nonce, result, equality)
    slots = list(task.slots)
    slots[replica] = replace(slot, phase=Phase.SUBMITTED, equality=equality)
    return [submitted, *_verdict(slots, terms, index)]


def revealable(task: Task) -> bool:
    """Whether every replica is bound, so that showing one result can no longer help another."""
    return all(slot.phase in _REVEALABLE for slot in task.slots)


def end(
    task: Task,
    terms: JobPosted,
    index: int,
    worker: str,
    now: datetime,
    *,
    reason: FailureReason | None = None,
    expired: bool = False,
    closing: bool = False,
) -> list[TaskEvent | DisputeOpened]:
    """End ``worker``'s assignment without a result: it expired, failed for ``reason``, or was handed back.

    Args:
        closing: The job takes no more workers, so that the replica stays open for good.
    Raises:
        NotYourAssignment: The worker holds no replica of the task.
        AlreadySettled: It has submitted already.
        NotYetOver: It is to expire before its time.
    """
    replica, slot = _held(task, terms, index, worker)
    if slot.phase not in (Phase.ASSIGNED, Phase.COMMITTED):
        raise errors.AlreadySettled(what=f"task {index} of job {terms.job}")
    if expired and (slot.expires_at is None or now < slot.expires_at):
        raise errors.NotYetOver(job=terms.job, task=index)
    if expired:
        ended: TaskEvent = AssignmentExpired(terms.job, index, replica, worker)
    elif reason is None:
        ended = AssignmentReturned(terms.job, index, replica, worker)
    else:
        ended = AssignmentFailed(terms.job, index, replica, worker, reason)
    events: list[TaskEvent | DisputeOpened] = [ended]
    given_up = reason is not None and task.failures + 1 >= FAILURES_MAX and not task.closed
    if given_up:
        events.append(TaskFailed(terms.job, index, task.failures + 1))
    if given_up or closing or task.closed:
        events += withdraw(_with(task, replica, OPEN), terms, index, now)
    return events


def withdraw(task: Task, terms: JobPosted, index: int, now: datetime) -> list[TaskEvent | DisputeOpened]:
    """Give up the open replicas of a task whose job takes no more workers; the committed ones may then be submitted."""
    if open_replica(task) is None or not live(task):
        return []
    slots = [WITHDRAWN if slot.phase is Phase.OPEN else slot for slot in task.slots]
    withdrawn = ReplicasWithdrawn(terms.job, index, now + timedelta(seconds=terms.timeout_s))
    return [withdrawn, *_verdict(slots, terms, index)]


def rule(task: Task, terms: JobPosted, index: int, rejected: Sequence[str]) -> list[ResultVerified | ResultRejected]:
    """Apply a referee's ruling to every submitted replica."""
    events: list[ResultVerified | ResultRejected] = []
    waiting = sum(slot.phase not in (Phase.VERIFIED, Phase.WITHDRAWN) for slot in task.slots)
    for replica, slot in enumerate(task.slots):
        if slot.phase is Phase.SUBMITTED and slot.worker in rejected:
            events.append(ResultRejected(terms.job, index, replica, slot.worker, "replayed"))
            if task.closed:
                waiting -= 1
    for replica, slot in enumerate(task.slots):
        if slot.phase is Phase.SUBMITTED and slot.worker not in rejected:
            waiting -= 1
            events.append(ResultVerified(terms.job, index, replica, slot.worker, "replayed", settles=waiting == 0))
    return events


def _verdict(slots: Sequence[Slot], terms: JobPosted, index: int) -> list[ResultVerified | DisputeOpened]:
    submitted = [(replica, slot) for replica, slot in enumerate(slots) if slot.phase is Phase.SUBMITTED]
    if not submitted or any(slot.phase < Phase.SUBMITTED for slot in slots):
        return []
    results = {slot.equality for slot in slots if slot.phase in (Phase.SUBMITTED, Phase.VERIFIED)}
    compared = sum(slot.phase in (Phase.SUBMITTED, Phase.VERIFIED) for slot in slots)
    if len(results) > 1 or (compared == 1 and terms.replicas > 1):
        return [DisputeOpened(terms.job, index, tuple(slot.worker for _, slot in submitted))]
    method: Method = "opened" if terms.replicas == 1 else "agreed"
    return [
        ResultVerified(terms.job, index, replica, slot.worker, method, settles=order == len(submitted))
        for order, (replica, slot) in enumerate(submitted, start=1)
    ]


def _held(task: Task, terms: JobPosted, index: int, worker: str) -> tuple[int, Slot]:
    for replica, slot in enumerate(task.slots):
        if slot.worker == worker:
            return replica, slot
    raise errors.NotYourAssignment(job=terms.job, task=index, worker=worker)


def _in_time(slot: Slot, terms: JobPosted, index: int, now: datetime) -> None:
    if slot.expires_at is not None and now >= slot.expires_at:
        raise errors.TooLate(job=terms.job, task=index, expires_at=slot.expires_at.isoformat())


# --------------------------------------------------------------------------------------------------------- evolution
def evolve(task: Task, event: TaskEvent) -> Task:
    """The task after ``event``."""
    match event:
        case TaskAssigned():
            return _with(task, event.replica, Slot(Phase.ASSIGNED, event.worker, event.expires_at))
        case ResultCommitted():
            slot = task.slots[event.replica]
            waits = len(task.slots) > 1
            slot = Slot(Phase.COMMITTED, slot.worker, None if waits else slot.expires_at, event.commitment)
            changed = _with(task, event.replica, slot)
            return changed if event.reveal_by is None else _revealed(changed, event.reveal_by)
        case ResultSubmitted():
            slot = Slot(Phase.SUBMITTED, event.worker, None, "", event.equality, event.result)
            return _with(task, event.replica, slot)
        case ResultVerified():
            slot = task.slots[event.replica]
            slot = Slot(Phase.VERIFIED, slot.worker, None, "", slot.equality, slot.result)
            return _with(task, event.replica, slot)
        case ResultRejected():
            return _barring(task, event.replica, event.worker)
        case AssignmentFailed():
            return replace(_barring(task, event.replica, event.worker), failures=task.failures + 1)
        case AssignmentExpired() | AssignmentReturned():
            return _with(task, event.replica, _released(task))
        case TaskFailed():
            slots = tuple(WITHDRAWN if slot.phase is Phase.OPEN else slot for slot in task.slots)
            return replace(task, slots=slots, closed=True, version=task.version + 1)
        case ReplicasWithdrawn():
            slots = tuple(WITHDRAWN if slot.phase is Phase.OPEN else slot for slot in task.slots)
            closed = replace(task, slots=slots, closed=True, version=task.version + 1)
            return _revealed(closed, event.reveal_by) if revealable(closed) else closed
        case _:
            assert_never(event)


def _released(task: Task) -> Slot:
    return WITHDRAWN if task.closed else OPEN


def _with(task: Task, replica: int, slot: Slot) -> Task:
    """The task one event later, with another slot."""
    slots = task.slots
    changed = (slot,) if len(slots) == 1 else (*slots[:replica], slot, *slots[replica + 1 :])
    return Task(changed, task.barred, task.failures, task.closed, task.version + 1)


def _barring(task: Task, replica: int, worker: str) -> Task:
    return replace(_with(task, replica, _released(task)), barred=(*task.barred, worker))


def _revealed(task: Task, reveal_by: datetime) -> Task:
    slots = tuple(replace(s, expires_at=reveal_by) if s.phase is Phase.COMMITTED else s for s in task.slots)
    return replace(task, slots=slots)
