"""Where the money is, and every movement that brought it there: double entry over the log.

Each event of money takes an amount out of one pot and puts it into another. What comes in from outside can be free or
reserved in an escrow, at stake, a worker's, the market's, slashed, or outside again, and nowhere else.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import nlargest
from typing import Final, Literal, NamedTuple

from domain import events as e
from domain.events import AnyEvent
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.projections.queries import Escrow, Worker
from services.viewing.view import Totals, View

Pot = Literal["outside", "free", "reserved", "workers", "market", "stake", "slashed"]
Money = e.EscrowEvent | e.StakeEvent
#: By event: where it takes the amount from, and where it puts it.
WAYS: Final[dict[type, tuple[Pot, Pot]]] = {
    e.EscrowFunded: ("outside", "free"),
    e.EscrowReserved: ("free", "reserved"),
    e.EscrowReleased: ("reserved", "workers"),
    e.FeeCharged: ("reserved", "market"),
    e.EscrowFreed: ("reserved", "free"),
    e.EscrowRefunded: ("free", "outside"),
    e.StakeDeposited: ("outside", "stake"),
    e.StakeSlashed: ("stake", "slashed"),
    e.StakeWithdrawn: ("stake", "outside"),
}
NAMES: Final = {kind.__name__: kind for kind in WAYS}
ESCROW: Final = tuple(name for name, kind in NAMES.items() if "stake" not in WAYS[kind])
STAKE: Final = tuple(name for name in NAMES if name not in ESCROW)
#: Pots that make up an account's balance.
HELD: Final[tuple[Pot, ...]] = ("free", "reserved", "stake")
#: Events that are read at a time while later ones are walked over.
PAGE: Final = 500


class Move(NamedTuple):
    """One movement.

    Attributes:
        account: The escrow, or the worker whose stake it is.
        worker, job, task: Whom and what it was for; absent or empty where it was for none.
    """

    position: int
    at: datetime
    name: str
    account: str
    amount_msat: int
    source: Pot
    target: Pot
    worker: str
    job: str
    task: int | None

    @property
    def stake(self) -> bool:
        return "stake" in (self.source, self.target)


class Line(NamedTuple):
    """A movement with what the account held after it: free and reserved in an escrow, or at stake."""

    move: Move
    free_msat: int
    reserved_msat: int
    stake_msat: int


class Sum(NamedTuple):
    """What came in, and the parts that it went to.

    Attributes:
        parts: Names with amounts.
    """

    came_msat: int
    parts: tuple[tuple[str, int], ...]

    @property
    def rest_msat(self) -> int:
        """What is missing from the parts; 0 when the sum closes."""
        return self.came_msat - sum(amount for _, amount in self.parts)

    @property
    def closes(self) -> bool:
        return self.rest_msat == 0 and all(amount >= 0 for _, amount in self.parts)


def of_escrows(found: Escrow | Totals) -> Sum:
    """What was put into one escrow, or into all."""
    paid = found.released_msat if isinstance(found, Escrow) else found.paid_msat
    return Sum(
        found.funded_msat,
        (
            ("free", found.free_msat),
            ("reserved", found.reserved_msat),
            ("paid", paid),
            ("charged", found.charged_msat),
            ("refunded", found.refunded_msat),
        ),
    )


def of_stakes(found: Worker | Totals) -> Sum:
    """What one worker, or all, put at stake."""
    parts = (
        ("at stake", found.stake_msat),
        ("slashed", found.slashed_msat),
        ("withdrawn", found.withdrawn_msat),
    )
    return Sum(found.deposited_msat, parts)


def move(stored: Stored) -> Move | None:
    """The movement that an event is; absent if it moves no money."""
    if stored.name.partition(".")[0] not in NAMES:
        return None
    event: AnyEvent = decode_stored(stored)
    source, target = WAYS[type(event)]
    worker = getattr(event, "worker", "")
    return Move(
        stored.position,
        stored.recorded_at,
        type(event).__name__,
        getattr(event, "escrow", worker),
        event.amount_msat,  # type: ignore[union-attr]  # every event of money has one
        source,
        target,
        worker,
        getattr(event, "job", ""),
        getattr(event, "task", None),
    )


def moves(events: Iterable[Stored]) -> list[Move]:
    """The movements among the events."""
    return [found for found in map(move, events) if found is not None]


def back(newest_first: Iterable[Move], now: dict[Pot, int]) -> list[Line]:
    """Movements of one account with its balances after each, walked back from what it holds now.

    Args:
        now: What the account holds after the newest of them; it is left at what it held before the oldest.
    """
    lines = []
    for one in newest_first:
        lines.append(Line(one, now.get("free", 0), now.get("reserved", 0), now.get("stake", 0)))
        for pot, change in ((one.source, one.amount_msat), (one.target, -one.amount_msat)):
            if pot in HELD:
                now[pot] = now.get(pot, 0) + change
    return lines


# ------------------------------------------------------------------------------------------------------------ ledgers
class Page(NamedTuple):
    """A page of a ledger, newest first.

    Attributes:
        older: The position to go on before; absent when these are the first movements of all.
        opened_msat: What the account held before the oldest of them, which is 0 where nothing is older.
    """

    lines: Sequence[Line]
    older: int | None
    opened_msat: int


def ledger(view: View, limit: int, *, before: int | None = None, names: Sequence[str] = tuple(NAMES)) -> Page:
    """Movements of all accounts, without balances.

    Args:
        before: Only events in front of this position. names: Of the events that are shown.
    """
    upto = None if before is None else before - 1
    found = (one for name in names for one in view.latest(name, limit + 1, upto=upto))
    newest = nlargest(limit + 1, found, key=lambda one: one.position)
    shown = moves(newest[:limit])
    older = shown[-1].position if len(newest) > limit else None
    return Page([Line(one, 0, 0, 0) for one in shown], older, 0)


def of_escrow(view: View, row: Escrow, limit: int, *, before: int | None = None, name: str = "") -> Page:
    """Movements of one escrow with its running balance; only those of one name if given."""
    now: dict[Pot, int] = {"free": row.free_msat, "reserved": row.reserved_msat}
    return _account(_newest_first(view, row.escrow), now, limit, before, name)


def of_worker(view: View, row: Worker, limit: int, *, before: int | None = None, name: str = "") -> Page:
    """Movements of one worker's stake with its running balance; only those of one name if given."""
    found = (one for name in STAKE for one in _newest_first(view, name) if one.account == row.worker)
    newest = sorted(found, key=lambda one: -one.position)
    return _account(newest, {"stake": row.stake_msat}, limit, before, name)


def _account(newest_first: Iterable[Move], now: dict[Pot, int], limit: int, before: int | None, name: str) -> Page:
    shown: list[Line] = []
    for one in newest_first:
        wanted = (before is None or one.position < before) and name in ("", one.name)
        if wanted and len(shown) == limit:
            return Page(shown, shown[-1].move.position, sum(now.values()))
        lines = back([one], now)
        if wanted:
            shown += lines
    return Page(shown, None, sum(now.values()))


def _newest_first(view: View, key: str) -> Iterable[Move]:
    upto: int | None = None
    while found := view.latest(key, PAGE, upto=upto):
        yield from reversed(moves(found))
        upto = found[0].position - 1
        if len(found) < PAGE or upto == 0:
            return
