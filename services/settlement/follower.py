"""Follows the events of money off the stream, and keeps the books that they make."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from domain.books import Books
from domain.events import (
    AnyEvent,
    ChainAdvanced,
    ChainJoined,
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFreed,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    PayoutEvent,
    StakeDeposited,
    StakeOpened,
    StakeSlashed,
    StakeWithdrawn,
)
from services.ledger.codec import NAMES, decode_stored
from services.ports import Stored

#: Where the events of money are; the others are most of a busy log.
SUBJECTS: Final = ("pasar.events.escrow.>", "pasar.events.stake.>", "pasar.events.settlement.>")

_FOLDS: Final[dict[type, Callable[[Books, Any], None]]] = {
    **dict.fromkeys((EscrowOpened, StakeOpened), Books.open_account),
    **dict.fromkeys((EscrowFunded, StakeDeposited), Books.deposit),
    **dict.fromkeys((EscrowReserved, EscrowFreed), Books.set_aside),
    EscrowReleased: Books.earn,
    FeeCharged: Books.charge,
    StakeSlashed: Books.slash,
    **dict.fromkeys((EscrowRefunded, StakeWithdrawn), Books.leave),
    **dict.fromkeys((DepositReorged, DepositRestored, CoinTaken), Books.move_coin),
    **dict.fromkeys((ChainJoined, ChainAdvanced, ChainReorganised), Books.advance),
    **dict.fromkeys(PayoutEvent.__args__, Books.pay),
}
#: Stored names of what moves the books.
MONEY: Final = frozenset(NAMES[kind] for kind in _FOLDS)


def fold(books: Books, event: AnyEvent) -> None:
    """Let the books follow one event; those that move no money are passed over."""
    move = _FOLDS.get(type(event))
    if move is not None:
        move(books, event)


class Follower:
    """The books as far as the stream was heard.

    Attributes:
        position: Of the last event.
    """

    def __init__(self) -> None:
        self.books, self.position = Books(), 0
        self._moved = asyncio.Event()

    async def offer(self, events: Sequence[Stored]) -> None:
        """``hear``, as a consumer calls it."""
        self.hear(events)

    def hear(self, events: Sequence[Stored]) -> None:
        """Follow these; what was heard before is passed over.

        Raises:
            Corrupt: An event cannot be read.
        """
        for stored in events:
            if stored.position > self.position:
                if stored.name in MONEY:
                    fold(self.books, decode_stored(stored))
                self.position = stored.position
        self._moved.set()

    async def reached(self, position: int) -> None:
        """Wait until an event at ``position`` or behind it was heard."""
        while self.position < position:
            self._moved.clear()
            await self._moved.wait()

    async def until(self, found: Callable[[Books], bool]) -> None:
        """Wait until the books say so."""
        while not found(self.books):
            self._moved.clear()
            await self._moved.wait()
