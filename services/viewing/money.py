"""Where the money is, and every movement that brought it there; see ``ways`` for the pots that it moves between."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge, nlargest
from typing import Final, NamedTuple

from domain.money import MSAT_PER_SAT
from services.projections.queries import Escrow, Worker
from services.projections.settled import Account, OnChain
from services.viewing.view import Totals, View
from services.viewing.ways import COINS, ESCROW, HELD, NAMES, STAKE, WAYS, Move, Pot, moves

__all__ = [
    "COINS", "ESCROW", "HELD", "NAMES", "STAKE", "WAYS", "Line", "Move", "Page", "Pot", "Sum", "ledger", "moves",
    "of_account", "of_chain", "of_escrow", "of_escrows", "of_holdings", "of_outputs", "of_stakes", "of_worker",
]  # fmt: skip

#: Events that are read at a time while later ones are walked over.
PAGE: Final = 500


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


def of_account(found: Account) -> Sum:
    """What was paid into the outputs of one account, or kept in reserve."""
    reserve = found.account == "reserve"
    parts = (
        ("on the chain", found.live_sat * MSAT_PER_SAT),
        ("drawn", 0 if reserve else found.drawn_msat),
        ("returned", found.returned_msat),
        ("missing", found.missing_msat),
    )
    return Sum(-found.drawn_msat if reserve else found.deposited_msat, parts)


def of_outputs(row: Escrow | Worker, found: Account) -> Sum:
    """Whose the money is that an account's outputs hold, or would hold if nothing were missing."""
    parts: list[tuple[str, int]]
    if isinstance(row, Escrow):
        parts = [("free", row.free_msat), ("reserved", row.reserved_msat), ("others'", row.undrawn_msat)]
        came_msat = row.funded_msat
    else:
        parts = [("at stake", row.stake_msat), ("others'", row.slashed_msat - found.drawn_msat)]
        came_msat = row.deposited_msat
    elsewhere_msat = came_msat - found.deposited_msat
    return Sum(row.on_chain_msat + row.missing_msat + elsewhere_msat, (*parts, ("leaving", row.leaving_msat)))


def of_chain(found: OnChain) -> Sum:
    """All that was ever paid into the market on the chain, and where the chain has it now."""
    return Sum(
        found.deposited_msat,
        (
            ("on the chain", found.live_msat),
            ("paid", found.paid_msat),
            ("returned", found.returned_msat - found.borne_msat),
            ("fees", found.market_msat),
            ("miners", found.miners_msat),
            ("missing", found.missing_msat),
        ),
    )


def of_holdings(totals: Totals, found: OnChain) -> Sum:
    """Whose the money is that the market's outputs hold, or would hold if nothing were missing.

    What was paid in without a chain, before the market joined one, is counted as if it were there.
    """
    elsewhere_msat = totals.funded_msat + totals.deposited_msat - found.deposited_msat
    return Sum(
        found.live_msat + found.missing_msat + elsewhere_msat,
        (
            ("free", totals.free_msat),
            ("reserved", totals.reserved_msat),
            ("at stake", totals.stake_msat),
            ("due", totals.paid_msat - found.paid_msat),
            ("leaving", totals.refunded_msat + totals.withdrawn_msat - found.returned_msat),
            ("market", totals.charged_msat - found.fund_msat - found.market_msat),
            ("fund", found.fund_msat - found.miners_msat + found.borne_msat),
            ("slashed", totals.slashed_msat),
        ),
    )


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
    shown = moves(view, newest[:limit])
    older = newest[limit - 1].position if len(newest) > limit else None
    return Page([Line(one, 0, 0, 0) for one in shown], older, 0)


def of_escrow(view: View, row: Escrow, limit: int, *, before: int | None = None, name: str = "") -> Page:
    """Movements of one escrow with its running balance; only those of one name if given."""
    now: dict[Pot, int] = {"free": row.free_msat, "reserved": row.reserved_msat}
    return _account(_newest_first(view, row.escrow, (row.escrow, *COINS)), now, limit, before, name)


def of_worker(view: View, row: Worker, limit: int, *, before: int | None = None, name: str = "") -> Page:
    """Movements of one worker's stake with its running balance; only those of one name if given."""
    return _account(_newest_first(view, row.worker, STAKE), {"stake": row.stake_msat}, limit, before, name)


def _account(newest_first: Iterable[Move], now: dict[Pot, int], limit: int, before: int | None, name: str) -> Page:
    shown: list[Line] = []
    for one in newest_first:
        wanted = (before is None or one.position < before) and name in ("", one.name)
        if wanted and len(shown) >= limit and one.position < shown[-1].move.position:
            return Page(shown, shown[-1].move.position, sum(now.values()))
        lines = back([one], now)
        if wanted:
            shown += lines
    return Page(shown, None, sum(now.values()))


def _newest_first(view: View, account: str, keys: Sequence[str]) -> Iterator[Move]:
    """An account's movements among the events that speak of any of the keys."""
    found = (_of_key(view, key) for key in keys)
    return (one for one in merge(*found, key=lambda one: -one.position) if one.account == account)


def _of_key(view: View, key: str) -> Iterator[Move]:
    upto: int | None = None
    while found := view.latest(key, PAGE, upto=upto):
        yield from reversed(moves(view, found))
        upto = found[0].position - 1
        if len(found) < PAGE or upto == 0:
            return
