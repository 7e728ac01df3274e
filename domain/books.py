"""The market's books of the chain: which outputs hold its money, who has what due, and what each payout did to it.

Money that a job's escrow released or was charged stays in the escrow's outputs until a payout draws it from there.
What lies so in escrows (``undrawn``), what was slashed in stakes, and the reserve is one pool; what workers have
earned, the market's fees and its fund for miners are paid out of it. Always, in msat:

    undrawn + slashed + reserve  =  earned + fees + fund + forfeited

so no client's output ever pays for another's job, and a worker is paid out of whichever outputs are to be drawn first.

An account is an escrow (by its id), a worker's stake (by its key) or the reserve. A payout goes

PLANNED -- PayoutBroadcast --> SENT -- PayoutConfirmed --> CONFIRMED -- PayoutReorged --> SENT
PLANNED -- PayoutContested --> CONTESTED
PLANNED, CONTESTED, SENT -- PayoutAbandoned --> ABANDONED   (terminal: all that it allotted is due again)
"""

from collections import defaultdict
from enum import StrEnum
from typing import Final, NamedTuple

from domain.bitcoin import OutPoint, escrow_script, p2wsh, reference, reserve_script
from domain.events import (
    Account,
    ChainEvent,
    ChainJoined,
    ChainReorganised,
    CoinEvent,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    FeeCharged,
    LogAnchored,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutEvent,
    PayoutPlanned,
    PayoutReorged,
    StakeDeposited,
    StakeOpened,
    StakeSlashed,
    StakeWithdrawn,
)
from domain.ids import escrow_id
from domain.money import MSAT_PER_SAT
from domain.payout import saved

#: The account of what market and arbiter keep for others.
RESERVE: Final = "reserve"
#: Blocks before the end of a term in which nothing new is staked on it: time enough to pay what is due.
SAFETY_BLOCKS: Final = 72
#: What the first anchor follows.
NO_ANCHOR: Final = "00" * 32
#: Block ids that are remembered, to find out where a reorganised chain begins to differ.
TIPS: Final = 144


class Term(NamedTuple):
    """What a script of an account is made of, and where its owner is paid."""

    account: Account
    owner: str
    witness_script: bytes
    expires_height: int
    payout_script: bytes

    @property
    def script(self) -> bytes:
        """The output script that deposits are paid to."""
        return p2wsh(self.witness_script)


class Held(NamedTuple):
    """An unspent output of the market; ``epoch`` is the payout that is about to spend it, 0 if none is."""

    outpoint: str
    value_sat: int
    key: str
    term: Term
    height: int = 0
    epoch: int = 0


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
        spent: Its inputs, once it is confirmed.
    """

    __slots__ = ("allotted", "confirmed", "planned", "sent", "spent", "state", "version")

    def __init__(self, planned: PayoutPlanned) -> None:
        self.planned = planned
        self.state = State.PLANNED
        self.sent = ""
        self.allotted: list[PayoutAllotted] = []
        self.spent: list[Held] = []
        self.confirmed: PayoutConfirmed | None = None
        self.version = 1

    @property
    def open(self) -> bool:
        return self.state in (State.PLANNED, State.CONTESTED, State.SENT)


def key_of(account: Account, owner: str) -> str:
    """The account's key in these books."""
    return escrow_id(owner) if account == "escrow" else owner if account == "stake" else RESERVE


class Books:
    """Folds what moves the market's outputs, and what is due out of them."""

    def __init__(self) -> None:
        self.chain: ChainJoined | None = None
        self.chain_version = 0
        self.tips: list[tuple[int, str]] = []
        self.terms: dict[str, list[Term]] = {}
        self.by_script: dict[bytes, Term] = {}
        self.coins: dict[str, Held] = {}
        self.reorged: dict[str, Held] = {}
        self.lapsed: set[str] = set()
        self.missing_msat: defaultdict[str, int] = defaultdict(int)
        self.undrawn_msat: defaultdict[str, int] = defaultdict(int)
        self.slashed_msat: defaultdict[str, int] = defaultdict(int)
        self.earned_msat: dict[str, dict[str, int]] = {}
        #: By account: free money that its owner took out, and that was not paid yet.
        self.leaving_msat: defaultdict[str, int] = defaultdict(int)
        self.fees_msat = self.fund_msat = self.forfeited_msat = self.reserve_sat = 0
        self.payouts: dict[int, Payout] = {}
        self.anchor = NO_ANCHOR

    @property
    def height(self) -> int:
        return self.tips[-1][0] if self.tips else 0

    @property
    def open_payouts(self) -> list[int]:
        """Payouts that are not settled, oldest first."""
        return [epoch for epoch in self._recent if self.payouts[epoch].open]

    @property
    def _recent(self) -> range:
        """Older payouts are buried deeper than a reorganisation that is followed."""
        return range(max(1, len(self.payouts) - TIPS), len(self.payouts) + 1)

    def term_of(self, key: str) -> Term | None:
        """The newest term of an account."""
        terms = self.terms.get(key)
        return terms[-1] if terms else None

    def coins_of(self, key: str) -> list[Held]:
        """The account's outputs that nothing is about to spend."""
        return [coin for coin in self.coins.values() if coin.key == key and not coin.epoch]

    def due_msat(self, worker: str) -> int:
        """What the worker has earned and was not paid."""
        return sum(self.earned_msat.get(worker, {}).values())

    # ----------------------------------------------------------------------------------------- what jobs and stakes do
    def earn(self, event: EscrowReleased) -> None:
        """A worker earned its price."""
        self.undrawn_msat[event.escrow] += event.amount_msat
        by_job = self.earned_msat.get(event.worker)
        if by_job is None:
            by_job = self.earned_msat[event.worker] = {}
        by_job[event.job] = by_job.get(event.job, 0) + event.amount_msat

    def charge(self, event: FeeCharged) -> None:
        """The market earned its fee, and what it keeps for miners."""
        self.undrawn_msat[event.escrow] += event.amount_msat
        self.fees_msat += event.amount_msat - event.chain_msat
        self.fund_msat += event.chain_msat

    def slash(self, event: StakeSlashed) -> None:
        """Stake was forfeited; it belongs to nobody yet."""
        self.slashed_msat[event.worker] += event.amount_msat
        self.forfeited_msat += event.amount_msat

    def leave(self, event: EscrowRefunded | StakeWithdrawn) -> None:
        """An owner took free money out."""
        key = event.escrow if isinstance(event, EscrowRefunded) else event.worker
        self.leaving_msat[key] += event.amount_msat

    # ------------------------------------------------------------------------------------------------ accounts' outputs
    def open_account(self, event: EscrowOpened | StakeOpened) -> None:
        """Watch another script of an account."""
        account: Account = "escrow" if isinstance(event, EscrowOpened) else "stake"
        owner = event.client if isinstance(event, EscrowOpened) else event.worker
        paid_to = event.refund_script if isinstance(event, EscrowOpened) else event.payout_script
        keys = tuple(bytes.fromhex(key) for key in (event.release_key, event.market_key, event.arbiter_key))
        assert len(keys) == 3
        script = escrow_script(keys, bytes.fromhex(event.refund_key), event.expires_height)
        term = Term(account, owner, script, event.expires_height, bytes.fromhex(paid_to))
        key = key_of(account, owner)
        self.terms.setdefault(key, []).append(term)
        self.by_script[term.script] = term
        self.lapsed.discard(key)
        self._see_lapsed(key)

    def deposit(self, event: EscrowFunded | StakeDeposited) -> None:
        """An account was paid; payments that were not made on the chain hold no output."""
        if event.vout is None or event.height is None:
            return
        key = event.escrow if isinstance(event, EscrowFunded) else event.worker
        outpoint = reference(OutPoint(event.reference, event.vout))
        assert event.term is not None, "what is paid on the chain is paid to a script"
        term = self.terms[key][event.term]
        self.coins[outpoint] = Held(outpoint, event.amount_msat // MSAT_PER_SAT, key, term, event.height)

    def move_coin(self, event: CoinEvent) -> None:
        """A deposit went or came back with the chain, or an output was spent by somebody else."""
        self.chain_version += 1
        key = key_of(event.account, event.owner)
        match event:
            case DepositReorged():
                self.reorged[event.outpoint] = self.coins.pop(event.outpoint)
                self.missing_msat[key] += event.amount_msat
            case DepositRestored():
                coin = self.reorged.pop(event.outpoint)
                held_by = self.payouts.get(coin.epoch)
                epoch = coin.epoch if held_by is not None and held_by.open else 0
                self.coins[event.outpoint] = coin._replace(height=event.height, epoch=epoch)
                self.missing_msat[key] -= event.amount_msat
            case CoinTaken():
                del self.coins[event.outpoint]
                self.missing_msat[key] += event.amount_msat

    def advance(self, event: ChainEvent) -> None:
        """The chain that settlement sees is another one."""
        self.chain_version += 1
        if isinstance(event, ChainJoined):
            again, self.chain = self.chain is not None, event
            if again:
                return
        elif isinstance(event, ChainReorganised):
            while self.tips and self.tips[-1][0] >= event.height:
                self.tips.pop()
        self.tips.append((event.height, event.block))
        del self.tips[:-TIPS]
        for key in self.terms:
            self._see_lapsed(key)

    def _see_lapsed(self, key: str) -> None:
        if self.chain is None:
            return
        if self.terms[key][-1].expires_height - SAFETY_BLOCKS <= self.height:
            self.lapsed.add(key)
        else:
            self.lapsed.discard(key)

    # ---------------------------------------------------------------------------------------------------------- payouts
    def pay(self, event: PayoutEvent) -> None:
        """Follow a payout."""
        if isinstance(event, PayoutPlanned):
            self._plan(event)
            return
        payout = self.payouts[event.epoch]
        payout.version += 1
        match event:
            case PayoutAllotted():
                self._allot(payout, event)
            case PayoutContested():
                payout.state = State.CONTESTED
            case PayoutBroadcast():
                payout.state, payout.sent = State.SENT, event.txid
            case PayoutConfirmed():
                self._confirm(payout, event)
            case LogAnchored():
                pass
            case PayoutReorged():
                self._unconfirm(payout)
            case PayoutAbandoned():
                self._abandon(payout)

    def _plan(self, event: PayoutPlanned) -> None:
        self.payouts[event.epoch] = Payout(event)
        self.anchor = event.anchor
        self._draw(event, -1)
        for coin in (coin for drawn in event.drawn for coin in drawn.coins):
            self.coins[coin.outpoint] = self.coins[coin.outpoint]._replace(epoch=event.epoch)

    def _draw(self, event: PayoutPlanned, sign: int) -> None:
        """Take what a payout draws from the pool, or give it back."""
        for drawn in event.drawn:
            key, pool_msat = key_of(drawn.account, drawn.owner), drawn.pool_sat * MSAT_PER_SAT
            if drawn.account == "escrow":
                self.undrawn_msat[key] += sign * pool_msat
            elif drawn.account == "stake":
                self.slashed_msat[key] += sign * pool_msat
            else:
                self.reserve_sat += sign * drawn.pool_sat
        self.reserve_sat -= sign * event.reserve_sat
        self.fees_msat += sign * event.market_sat * MSAT_PER_SAT
        self.fund_msat += sign * event.fund_sat * MSAT_PER_SAT

    def _allot(self, payout: Payout, event: PayoutAllotted) -> None:
        payout.allotted.append(event)
        left_msat = event.amount_sat * MSAT_PER_SAT
        if event.due != "reward":
            self.leaving_msat[key_of(event.due, event.owner)] -= left_msat
            return
        by_job = self.earned_msat[event.owner]
        for paid in event.paid:
            by_job[paid.job] -= paid.amount_msat
            left_msat -= paid.amount_msat
            if not by_job[paid.job]:
                del by_job[paid.job]
        assert not left_msat, "a reward is paid for work"

    def _confirm(self, payout: Payout, event: PayoutConfirmed) -> None:
        payout.state, payout.confirmed = State.CONFIRMED, event
        payout.spent = [self.coins.pop(coin.outpoint) for drawn in payout.planned.drawn for coin in drawn.coins]
        self._keep_change(payout, event)
        self._save_fee(payout, event, 1)

    def _keep_change(self, payout: Payout, event: PayoutConfirmed) -> None:
        planned = payout.planned
        vout = len(payout.allotted) + bool(planned.market_sat) + 1
        if planned.reserve_sat:
            self._keep(event, vout, RESERVE, self._reserve_term(planned), planned.reserve_sat)
            vout += 1
        saved_sat = saved(planned, payout.allotted, event.fee_sat)
        for drawn in planned.drawn:
            if drawn.change_sat:
                key = key_of(drawn.account, drawn.owner)
                term = next(term for term in self.terms[key] if term.script.hex() == drawn.script)
                self._keep(event, vout, key, term, drawn.change_sat + saved_sat)
                vout, saved_sat = vout + 1, 0

    def _keep(self, event: PayoutConfirmed, vout: int, key: str, term: Term, value_sat: int) -> None:
        outpoint = reference(OutPoint(event.txid, vout))
        later = (epoch for epoch in self.open_payouts if outpoint in self._spends(epoch))
        self.coins[outpoint] = Held(outpoint, value_sat, key, term, event.height, next(later, 0))

    def _spends(self, epoch: int) -> set[str]:
        return {coin.outpoint for drawn in self.payouts[epoch].planned.drawn for coin in drawn.coins}

    def _reserve_term(self, planned: PayoutPlanned) -> Term:
        assert self.chain is not None, "a market that pays has joined a chain"
        keys = bytes.fromhex(self.chain.market_key), bytes.fromhex(self.chain.arbiter_key)
        return Term("reserve", "", reserve_script(*keys), 0, bytes.fromhex(planned.market_script))

    def _save_fee(self, payout: Payout, event: PayoutConfirmed, sign: int) -> None:
        """A cheaper rung than the dearest leaves money in the first change, which is an escrow's."""
        saved_msat = saved(payout.planned, payout.allotted, event.fee_sat) * MSAT_PER_SAT
        if saved_msat:
            first = payout.planned.drawn[0]
            self.undrawn_msat[key_of(first.account, first.owner)] += sign * saved_msat
            self.fund_msat += sign * saved_msat

    def _unconfirm(self, payout: Payout) -> None:
        event = payout.confirmed
        assert event is not None, "only a confirmed payout is undone"
        payout.state, payout.confirmed = State.SENT, None
        self._save_fee(payout, event, -1)
        for outpoint in [outpoint for outpoint in self.coins if outpoint.startswith(event.txid)]:
            del self.coins[outpoint]
        self.coins |= {coin.outpoint: coin for coin in payout.spent}
        payout.spent = []

    def _abandon(self, payout: Payout) -> None:
        payout.state = State.ABANDONED
        self.anchor = payout.planned.previous
        self._draw(payout.planned, 1)
        for allotted in payout.allotted:
            if allotted.due != "reward":
                key = key_of(allotted.due, allotted.owner)
                self.leaving_msat[key] += allotted.amount_sat * MSAT_PER_SAT
                continue
            by_job = self.earned_msat.setdefault(allotted.owner, {})
            again = {paid.job: by_job.pop(paid.job, 0) + paid.amount_msat for paid in allotted.paid}
            self.earned_msat[allotted.owner] = again | by_job
        for outpoint, coin in list(self.coins.items()):
            if coin.epoch == payout.planned.epoch:
                self.coins[outpoint] = coin._replace(epoch=0)
