"""One payout as a transaction: everybody builds it from its events, and from nothing else.

Inputs      the coins of each ``drawn``, in their order, replaceable (BIP125)
Outputs     the allotments by amount and script, the market's fee, OP_RETURN with the anchor, the reserve, the changes

The same payout is signed at each rung of the ladder; the rungs spend the same inputs, so one of them can confirm.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from domain.accounts import Held, Term
from domain.bitcoin import RBF, Tx, TxIn, TxOut, op_return, outpoint
from domain.bitcoin import txid as id_of
from domain.events import Coin, PayoutAllotted, PayoutConfirmed, PayoutPlanned
from domain.merkle import hash_leaf, root_of
from domain.money import MSAT_PER_SAT

#: How many times the first rung's rate each rung pays.
LADDER: Final = (1, 2, 4)
#: The most that the first rung pays for a virtual byte: the last stays below what nodes take for a mistake, 1,000 sat.
RATE_MSAT_MAX: Final = 200_000
_TAG: Final = hashlib.sha256(b"pasar/anchor/1").digest()


class State(StrEnum):
    PLANNED = "planned"
    CONTESTED = "contested"
    SENT = "sent"
    CONFIRMED = "confirmed"
    ABANDONED = "abandoned"


class Payout:
    """One payout and how far it is.

    Attributes:
        sent: The transaction that was handed to the network last, empty if none was.
        spent, made: Its inputs, and its outputs to accounts, once it is confirmed.
        reserve: What its output to the reserve is made of.
        buried: No reorganisation that is followed reaches it; whom it paid and what it drew is not kept.
    """

    __slots__ = (
        "_txids",
        "allotted",
        "buried",
        "confirmed",
        "made",
        "planned",
        "reserve",
        "sent",
        "spent",
        "state",
        "version",
    )

    def __init__(self, planned: PayoutPlanned, reserve: Term | None) -> None:
        self.planned, self.reserve = planned, reserve
        self.state = State.PLANNED
        self.sent = ""
        self.allotted: list[PayoutAllotted] = []
        self.spent: list[Held] = []
        self.made: list[str] = []
        self.confirmed: PayoutConfirmed | None = None
        self.buried = False
        self.version = 1
        self._txids: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return self.state in (State.PLANNED, State.CONTESTED, State.SENT)

    @property
    def txids(self) -> tuple[str, ...]:
        """Ids of its transactions, cheapest first; of one that is buried the confirmed one's alone."""
        if not self._txids and not self.buried:
            rungs = range(len(self.planned.fees_sat))
            self._txids = tuple(id_of(transaction(self.planned, self.allotted, rung)) for rung in rungs)
        return self._txids

    def bury(self) -> None:
        """Let go of what nobody asks for any more."""
        self._txids = (self.confirmed.txid,) if self.confirmed is not None else ()
        self.buried, self.planned = True, replace(self.planned, drawn=())
        self.allotted, self.spent, self.made = [], [], []


def fee_sat(vsize: int, rate_msat: int) -> int:
    """The fee for so many virtual bytes, rounded up."""
    return -(-vsize * rate_msat // MSAT_PER_SAT)


def borne_sat(allotted: PayoutAllotted, rate_msat: int, rung: int) -> int:
    """The fee that is taken out of an allotment."""
    return fee_sat(allotted.borne_vb, rate_msat * LADDER[rung])


def fund_sat(planned: PayoutPlanned, allotted: Iterable[PayoutAllotted], rung: int) -> int:
    """The part of a rung's fee that the market's fund for miners bears."""
    return planned.fees_sat[rung] - sum(borne_sat(one, planned.rate_msat, rung) for one in allotted)


def saved(planned: PayoutPlanned, allotted: Iterable[PayoutAllotted], fee_sat: int) -> int:
    """What the fund keeps when a rung with this fee confirms in place of the dearest."""
    return planned.fund_sat - fund_sat(planned, allotted, planned.fees_sat.index(fee_sat))


def in_order(allotted: Iterable[PayoutAllotted]) -> list[PayoutAllotted]:
    """Allotments as their outputs stand."""
    return sorted(allotted, key=lambda one: (one.amount_sat, one.script, one.due, one.owner))


def coins(planned: PayoutPlanned) -> list[Coin]:
    """What it spends, in the order of its inputs."""
    return [coin for drawn in planned.drawn for coin in drawn.coins]


def transaction(planned: PayoutPlanned, allotted: Iterable[PayoutAllotted], rung: int) -> Tx:
    """The transaction of one rung, without its signatures.

    Args:
        rung: Index into ``planned.fees_sat``.
    """
    payees = in_order(allotted)
    outputs = [
        TxOut(one.amount_sat - borne_sat(one, planned.rate_msat, rung), bytes.fromhex(one.script)) for one in payees
    ]
    if planned.market_sat:
        outputs.append(TxOut(planned.market_sat, bytes.fromhex(planned.market_script)))
    outputs.append(TxOut(0, op_return(bytes.fromhex(planned.anchor))))
    if planned.reserve_sat:
        outputs.append(TxOut(planned.reserve_sat, bytes.fromhex(planned.reserve_script)))
    extra_sat = planned.fund_sat - fund_sat(planned, payees, rung)
    for drawn in planned.drawn:
        if drawn.change_sat:
            outputs.append(TxOut(drawn.change_sat + extra_sat, bytes.fromhex(drawn.script)))
            extra_sat = 0
    inputs = tuple(TxIn(outpoint(coin.outpoint), RBF) for coin in coins(planned))
    return Tx(inputs, tuple(outputs))


def share_leaf(job: str, worker: str, amount_msat: int) -> bytes:
    """Leaf of the receipts' tree: what one job's worker is paid by the payout."""
    return hash_leaf(f"{job} {worker} {amount_msat}".encode())


def share_leaves(allotted: Iterable[PayoutAllotted]) -> list[tuple[tuple[str, str, int], bytes]]:
    """Job, worker and amount of every share with its leaf, in the order of the tree."""
    shares = sorted((paid.job, one.owner, paid.amount_msat) for one in allotted for paid in one.paid)
    return [(share, share_leaf(*share)) for share in shares]


def receipts_root(allotted: Iterable[PayoutAllotted]) -> str:
    """Merkle root over what each job's workers are paid."""
    return root_of(leaf for _, leaf in share_leaves(allotted)).hex()


def anchor(market: str, epoch: int, size: int, root: str, receipts: str, previous: str) -> str:
    """What the payout's OP_RETURN commits to: the log, the receipts, and the anchor before it.

    A tagged hash (BIP340) over one line for each field.

    Args:
        market: The operator's key.
    """
    said = f"{market}\n{epoch}\n{size}\n{root}\n{receipts}\n{previous}\n".encode()
    return hashlib.sha256(_TAG + _TAG + said).hexdigest()


def spent_sat(planned: PayoutPlanned) -> int:
    """What its inputs hold."""
    return sum(coin.value_sat for coin in coins(planned))


def rung_of(planned: PayoutPlanned, allotted: Sequence[PayoutAllotted], txid: str) -> int | None:
    """The rung whose transaction has this id; none if it is no transaction of the payout."""
    ids = (id_of(transaction(planned, allotted, rung)) for rung in range(len(planned.fees_sat)))
    return next((rung for rung, found in enumerate(ids) if found == txid), None)
