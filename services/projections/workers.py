"""Read model ``workers``: one row a worker, with what it is, asks, did, earned and has at stake.

``ask_msat`` and ``slots`` are those of its last ask, which stands while ``asking``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct

from domain.events import (
    AskPlaced,
    AskWithdrawn,
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    CapabilityMeasured,
    EscrowReleased,
    ResultRejected,
    ResultVerified,
    StakeDeposited,
    StakeSlashed,
    StakeWithdrawn,
    TaskAssigned,
    WorkerPaused,
    WorkerRegistered,
    WorkerResumed,
    WorkerRetired,
)
from services.projections.model import Change, Handler, Seen, upsert, walk


class Row(Struct):
    worker: str
    state: str | None = None
    platform: str | None = None
    cores: int | None = None
    memory_mb: int | None = None
    jax_version: str | None = None
    asking: bool | None = None
    ask_msat: int | None = None
    slots: int | None = None
    ask_memory_mb: int | None = None
    tflop_msat: int | None = None
    gb_msat: int | None = None
    flops_per_s: int | None = None
    bytes_per_s: int | None = None
    registered_at: datetime | None = None
    assigned: int = 0
    open: int = 0
    verified: int = 0
    rejected: int = 0
    failed: int = 0
    expired: int = 0
    returned: int = 0
    earned_msat: int = 0
    deposited_msat: int = 0
    slashed_msat: int = 0
    withdrawn_msat: int = 0
    stake_msat: int = 0
    last_pos: int = 0


Rows = dict[str, Row]


def _row(rows: Rows, event: Any, position: int) -> Row:
    row = rows.get(event.worker)
    if row is None:
        row = rows[event.worker] = Row(event.worker)
    row.last_pos = position
    return row


def _registered(rows: Rows, event: WorkerRegistered, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.state, row.asking, row.registered_at = "active", False, at
    row.platform, row.cores, row.memory_mb = event.platform, event.cores, event.memory_mb
    row.jax_version = event.jax_version


def _measured(rows: Rows, event: CapabilityMeasured, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.flops_per_s, row.bytes_per_s = event.flops_per_s, event.bytes_per_s


def _asked(rows: Rows, event: AskPlaced, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.asking = True
    row.ask_msat, row.slots, row.ask_memory_mb = event.price_msat, event.slots, event.memory_mb
    row.tflop_msat, row.gb_msat = event.tflop_msat, event.gb_msat


def _unasked(rows: Rows, event: AskWithdrawn, position: int, at: datetime) -> None:
    _row(rows, event, position).asking = False


def _paused(rows: Rows, event: WorkerPaused, position: int, at: datetime) -> None:
    _row(rows, event, position).state = "paused"


def _resumed(rows: Rows, event: WorkerResumed, position: int, at: datetime) -> None:
    _row(rows, event, position).state = "active"


def _retired(rows: Rows, event: WorkerRetired, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.state, row.asking = "retired", False


def _assigned(rows: Rows, event: TaskAssigned, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.assigned += 1
    row.open += 1


def _expired(rows: Rows, event: AssignmentExpired, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.open -= 1
    row.expired += 1


def _returned(rows: Rows, event: AssignmentReturned, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.open -= 1
    row.returned += 1


def _failed(rows: Rows, event: AssignmentFailed, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.open -= 1
    row.failed += 1


def _verified(rows: Rows, event: ResultVerified, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.open -= 1
    row.verified += 1


def _rejected(rows: Rows, event: ResultRejected, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.open -= 1
    row.rejected += 1


def _released(rows: Rows, event: EscrowReleased, position: int, at: datetime) -> None:
    _row(rows, event, position).earned_msat += event.amount_msat


def _deposited(rows: Rows, event: StakeDeposited, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.deposited_msat += event.amount_msat
    row.stake_msat += event.amount_msat


def _slashed(rows: Rows, event: StakeSlashed, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.slashed_msat += event.amount_msat
    row.stake_msat -= event.amount_msat


def _withdrawn(rows: Rows, event: StakeWithdrawn, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.withdrawn_msat += event.amount_msat
    row.stake_msat -= event.amount_msat


_HANDLERS: dict[type, Handler] = {
    WorkerRegistered: _registered,
    CapabilityMeasured: _measured,
    AskPlaced: _asked,
    AskWithdrawn: _unasked,
    WorkerPaused: _paused,
    WorkerResumed: _resumed,
    WorkerRetired: _retired,
    TaskAssigned: _assigned,
    AssignmentExpired: _expired,
    AssignmentReturned: _returned,
    AssignmentFailed: _failed,
    ResultVerified: _verified,
    ResultRejected: _rejected,
    EscrowReleased: _released,
    StakeDeposited: _deposited,
    StakeSlashed: _slashed,
    StakeWithdrawn: _withdrawn,
}


def follow(rows: Rows, events: Sequence[Seen]) -> None:
    """Fold events into rows that are kept in memory."""
    walk(_HANDLERS, rows, events)


class Workers:
    name: ClassVar[str] = "workers"
    revision: ClassVar[int] = 2

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        rows: Rows = {}
        walk(_HANDLERS, rows, events)
        return upsert(rows.values())
