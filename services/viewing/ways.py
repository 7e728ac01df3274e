"""Double entry over the log: each event of money takes an amount out of one pot and puts it into another.

    outside    before it comes in, and when it is back with its owner
    free, reserved        a client's, in its escrow               stake      a worker's, for its results
    workers, market       earned, not paid yet                    fund       set aside for those who mine payouts
    slashed               forfeited; it belongs to nobody         leaving    taken out by its owner, not paid yet
    paid, fees, miners    paid by a payout to workers, to the market, to those who mine
    missing    below 0: what the other pots count and the chain lacks

On a market that has joined no chain nothing is paid by payouts: what an owner takes out is outside at once.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge
from typing import Final, Literal, NamedTuple

from domain import events as e
from domain.books import key_of
from domain.events import AnyEvent
from domain.money import MSAT_PER_SAT
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.projections.settled import Payout
from services.viewing.view import View

Pot = Literal[
    "outside", "free", "reserved", "workers", "market", "stake", "slashed", "fund", "leaving", "paid", "fees", "miners",
    "missing",
]  # fmt: skip
Way = tuple[Pot, Pot]
#: By event: where it takes its amount from, and where it puts it.
WAYS: Final[dict[type, Way]] = {
    e.EscrowFunded: ("outside", "free"),
    e.EscrowReserved: ("free", "reserved"),
    e.EscrowReleased: ("reserved", "workers"),
    e.FeeCharged: ("reserved", "market"),
    e.EscrowFreed: ("reserved", "free"),
    e.EscrowRefunded: ("free", "outside"),
    e.StakeDeposited: ("outside", "stake"),
    e.StakeSlashed: ("stake", "slashed"),
    e.StakeWithdrawn: ("stake", "outside"),
    e.DepositReorged: ("missing", "outside"),
    e.DepositRestored: ("outside", "missing"),
    e.CoinTaken: ("missing", "outside"),
}
_LEAVES: Final = (e.EscrowRefunded, e.StakeWithdrawn)
#: What a confirmed payout moves; one that is undone moves it back.
_PAID: Final = (e.PayoutConfirmed, e.PayoutReorged)
NAMES: Final = {kind.__name__: kind for kind in (*WAYS, *_PAID)}
#: What befalls an account's outputs; such an event is not found by its account.
COINS: Final = ("DepositReorged", "DepositRestored", "CoinTaken")
STAKE: Final = ("StakeDeposited", "StakeSlashed", "StakeWithdrawn", *COINS)
ESCROW: Final = tuple(name for name in NAMES if name in COINS or (name not in STAKE and not name.startswith("Payout")))
#: Pots that make up an account's balance.
HELD: Final[tuple[Pot, ...]] = ("free", "reserved", "stake")
#: Events that are read at a time to find an earlier one.
_PAGE: Final = 100


class Move(NamedTuple):
    """One movement.

    Attributes:
        account: The escrow, the worker whose stake it is, or ``reserve``; empty of a payout.
        worker, job, task: Whom and what it was for; absent or empty where it was for none.
        epoch: The payout's; 0 of none.
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
    epoch: int = 0
    stake: bool = False


def moves(view: View, events: Iterable[Stored]) -> list[Move]:
    """The movements among the events, in order."""
    return [found for stored in events for found in _moves(view, stored)]


def _moves(view: View, stored: Stored) -> Iterator[Move]:
    if stored.name.partition(".")[0] not in NAMES:
        return
    event: AnyEvent = decode_stored(stored)
    if isinstance(event, _PAID):
        yield from _payout(view, stored, event)
        return
    way = WAYS[type(event)]
    if isinstance(event, _LEAVES) and view.settled.chain() is not None:
        way = way[0], "leaving"
    if isinstance(event, e.CoinTaken) and _is_lost(view, stored.position, event.outpoint):
        return  # it is missing already
    amount_msat: int = event.amount_msat  # type: ignore[union-attr]  # every event of money has one
    if isinstance(event, e.FeeCharged) and event.chain_msat:
        yield _move(stored, event, event.chain_msat, ("reserved", "fund"))
        amount_msat -= event.chain_msat
    if amount_msat:
        yield _move(stored, event, amount_msat, way)


def _move(stored: Stored, event: AnyEvent, amount_msat: int, way: Way) -> Move:
    worker = getattr(event, "worker", "")
    account = getattr(event, "escrow", worker)
    stake = "stake" in way
    if isinstance(event, e.DepositReorged | e.DepositRestored | e.CoinTaken):
        account, stake = key_of(event.account, event.owner), event.account == "stake"
    job, task = str(getattr(event, "job", "")), getattr(event, "task", None)
    told = stored.position, stored.recorded_at, type(event).__name__
    return Move(*told, account, amount_msat, *way, worker, job, task, stake=stake)


def _payout(view: View, stored: Stored, event: e.PayoutConfirmed | e.PayoutReorged) -> Iterator[Move]:
    """What a payout moved out of the market with its block, or what came back with it."""
    found = view.settled.payout(event.epoch)
    if isinstance(event, e.PayoutConfirmed):
        rung, undone = found.at(event.fee_sat), False
    else:
        rung, undone = found.at(_fee_sat(view, stored.position, event)), True
    for amount_sat, source, target in _paid(rung):
        if amount_sat:
            way: Way = (target, source) if undone else (source, target)
            said = stored.position, stored.recorded_at, type(event).__name__, "", amount_sat * MSAT_PER_SAT
            yield Move(*said, *way, "", "", None, event.epoch)


def _paid(payout: Payout) -> list[tuple[int, Pot, Pot]]:
    borne_sat = payout.borne_sat
    return [
        (payout.rewards_sat, "workers", "paid"),
        (payout.refunds_sat + payout.stakes_sat - borne_sat, "leaving", "outside"),
        (borne_sat, "leaving", "miners"),
        (payout.market_sat, "market", "fees"),
        (payout.cost_sat - borne_sat, "fund", "miners"),
    ]


def _fee_sat(view: View, before: int, event: e.PayoutReorged) -> int:
    """The fee of the transaction that was undone, as its confirmation said."""
    for said in _back(view, before, e.PayoutConfirmed):
        if isinstance(said, e.PayoutConfirmed) and (said.epoch, said.txid) == (event.epoch, event.txid):
            return said.fee_sat
    return view.settled.payout(event.epoch).cost_sat


def _is_lost(view: View, before: int, outpoint: str) -> bool:
    """Whether the output had left the chain when somebody spent it."""
    for said in _back(view, before, e.DepositReorged, e.DepositRestored):
        if isinstance(said, e.DepositReorged | e.DepositRestored) and said.outpoint == outpoint:
            return isinstance(said, e.DepositReorged)
    return False


def _back(view: View, before: int, *kinds: type) -> Iterator[AnyEvent]:
    """Events of these kinds in front of a position, the last one first."""
    found = (_back_of(view, before, kind.__name__) for kind in kinds)
    return (decode_stored(stored) for stored in merge(*found, key=lambda one: -one.position))


def _back_of(view: View, before: int, name: str) -> Iterator[Stored]:
    upto = before - 1
    while upto > 0 and (page := view.latest(name, _PAGE, upto=upto)):
        yield from reversed(page)
        upto = page[0].position - 1
