"""Read model ``escrows``: one row an escrow, with where its money is; ``fund_msat`` of the charged is for miners."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct

from domain.events import (
    EscrowFreed,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
)
from services.projections.model import Change, Handler, Seen, upsert, walk


class Row(Struct):
    escrow: str
    client: str | None = None
    funded_msat: int = 0
    free_msat: int = 0
    reserved_msat: int = 0
    released_msat: int = 0
    charged_msat: int = 0
    refunded_msat: int = 0
    fund_msat: int = 0
    last_pos: int = 0


Rows = dict[str, Row]


def _row(rows: Rows, event: Any, position: int) -> Row:
    row = rows.get(event.escrow)
    if row is None:
        row = rows[event.escrow] = Row(event.escrow)
    row.last_pos = position
    return row


def _opened(rows: Rows, event: EscrowOpened, position: int, at: datetime) -> None:
    _row(rows, event, position).client = event.client


def _funded(rows: Rows, event: EscrowFunded, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.client = event.client
    row.funded_msat += event.amount_msat
    row.free_msat += event.amount_msat


def _reserved(rows: Rows, event: EscrowReserved, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.free_msat -= event.amount_msat
    row.reserved_msat += event.amount_msat


def _released(rows: Rows, event: EscrowReleased, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.reserved_msat -= event.amount_msat
    row.released_msat += event.amount_msat


def _charged(rows: Rows, event: FeeCharged, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.reserved_msat -= event.amount_msat
    row.charged_msat += event.amount_msat
    row.fund_msat += event.chain_msat


def _freed(rows: Rows, event: EscrowFreed, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.reserved_msat -= event.amount_msat
    row.free_msat += event.amount_msat


def _refunded(rows: Rows, event: EscrowRefunded, position: int, at: datetime) -> None:
    row = _row(rows, event, position)
    row.free_msat -= event.amount_msat
    row.refunded_msat += event.amount_msat


_HANDLERS: dict[type, Handler] = {
    EscrowOpened: _opened,
    EscrowFunded: _funded,
    EscrowReserved: _reserved,
    EscrowReleased: _released,
    FeeCharged: _charged,
    EscrowFreed: _freed,
    EscrowRefunded: _refunded,
}


def follow(rows: Rows, events: Sequence[Seen]) -> None:
    """Fold events into rows that are kept in memory."""
    walk(_HANDLERS, rows, events)


class Escrows:
    name: ClassVar[str] = "escrows"
    revision: ClassVar[int] = 3

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        rows: Rows = {}
        walk(_HANDLERS, rows, events)
        return upsert(rows.values())
