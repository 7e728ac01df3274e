"""Read model ``tasks``: one row for each replica that was ever assigned, telling its latest attempt.

``state`` is what happened last to the replica: assigned, committed, submitted, verified, rejected, expired, returned or
failed. ``closed`` says that the task will not be assigned again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct

from domain.events import (
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    EscrowReleased,
    ReplicasWithdrawn,
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
    task: int
    replica: int
    state: str | None = None
    worker: str | None = None
    price_msat: int | None = None
    expires_at: datetime | None = None
    reveal_by: datetime | None = None
    commitment: str | None = None
    result_address: str | None = None
    result_offset: int | None = None
    result_size: int | None = None
    result_commitment: str | None = None
    result_salt: str | None = None
    equality: str | None = None
    method: str | None = None
    reason: str | None = None
    assigned_pos: int | None = None
    attempts: int = 0
    paid_msat: int = 0
    last_pos: int = 0


class Closed(Struct):
    job: str
    task: int
    last_pos: int


class Revealed(Struct):
    job: str
    task: int
    reveal_by: datetime
    last_pos: int


class Changed:
    """What a batch changes: rows, and what holds for every replica of a task."""

    __slots__ = ("closed", "revealed", "rows")

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, int], Row] = {}
        self.closed: dict[tuple[str, int], Closed] = {}
        self.revealed: dict[tuple[str, int], Revealed] = {}

    def row(self, event: Any, position: int) -> Row:
        key = (event.job, event.task, event.replica)
        found = self.rows.get(key)
        if found is None:
            found = self.rows[key] = Row(*key)
        found.last_pos = position
        return found


def _assigned(changed: Changed, event: TaskAssigned, position: int, at: datetime) -> None:
    key = (event.job, event.task, event.replica)
    before = changed.rows.get(key)
    row = changed.rows[key] = Row(*key, "assigned", event.worker, event.price_msat, event.expires_at)
    row.assigned_pos = row.last_pos = position
    row.attempts = 1
    if before is not None:
        row.attempts += before.attempts
        row.paid_msat = before.paid_msat


def _committed(changed: Changed, event: ResultCommitted, position: int, at: datetime) -> None:
    row = changed.row(event, position)
    row.state = "committed"
    row.commitment = event.commitment
    if event.reveal_by is not None:
        changed.revealed[event.job, event.task] = Revealed(event.job, event.task, event.reveal_by, position)


def _submitted(changed: Changed, event: ResultSubmitted, position: int, at: datetime) -> None:
    row, result = changed.row(event, position), event.result
    row.state = "submitted"
    row.result_address = result.address
    row.result_offset = result.offset
    row.result_size = result.size
    row.result_commitment = result.commitment
    row.result_salt = result.salt
    row.equality = event.equality


def _verified(changed: Changed, event: ResultVerified, position: int, at: datetime) -> None:
    row = changed.row(event, position)
    row.state = "verified"
    row.method = event.method


def _rejected(changed: Changed, event: ResultRejected, position: int, at: datetime) -> None:
    row = changed.row(event, position)
    row.state = "rejected"
    row.method = event.method


def _released(changed: Changed, event: EscrowReleased, position: int, at: datetime) -> None:
    changed.row(event, position).paid_msat += event.amount_msat


def _expired(changed: Changed, event: AssignmentExpired, position: int, at: datetime) -> None:
    changed.row(event, position).state = "expired"


def _returned(changed: Changed, event: AssignmentReturned, position: int, at: datetime) -> None:
    changed.row(event, position).state = "returned"


def _failed(changed: Changed, event: AssignmentFailed, position: int, at: datetime) -> None:
    row = changed.row(event, position)
    row.state = "failed"
    row.reason = event.reason


def _given_up(changed: Changed, event: TaskFailed, position: int, at: datetime) -> None:
    changed.closed[event.job, event.task] = Closed(event.job, event.task, position)


def _withdrawn(changed: Changed, event: ReplicasWithdrawn, position: int, at: datetime) -> None:
    changed.closed[event.job, event.task] = Closed(event.job, event.task, position)
    changed.revealed[event.job, event.task] = Revealed(event.job, event.task, event.reveal_by, position)


_HANDLERS: dict[type, Handler] = {
    TaskAssigned: _assigned,
    ResultCommitted: _committed,
    ResultSubmitted: _submitted,
    ResultVerified: _verified,
    ResultRejected: _rejected,
    EscrowReleased: _released,
    AssignmentExpired: _expired,
    AssignmentReturned: _returned,
    AssignmentFailed: _failed,
    TaskFailed: _given_up,
    ReplicasWithdrawn: _withdrawn,
}


def follow(changed: Changed, events: Sequence[Seen]) -> None:
    """Fold events into what is kept in memory."""
    walk(_HANDLERS, changed, events)


class Tasks:
    name: ClassVar[str] = "tasks"
    revision: ClassVar[int] = 1

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        changed = Changed()
        walk(_HANDLERS, changed, events)
        return [
            *upsert(changed.rows.values()),
            *upsert(changed.revealed.values(), "reveal"),
            *upsert(changed.closed.values(), "close"),
        ]
