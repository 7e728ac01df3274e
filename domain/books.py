"""The market's books of the chain: which outputs hold its money, who has what due, and what each payout did to it.

Money that a job's escrow released or was charged stays in the escrow's outputs until a payout draws it from there.
What lies so in escrows (``undrawn``), what was slashed in stakes, and the reserve is one pool; what workers have
earned, the market's fees and its fund for miners are paid out of it. Always, in msat:

    undrawn + slashed + reserve  =  earned + fees + fund + forfeited

so no client's output ever pays for another's job, and a worker is paid out of whichever outputs are to be drawn first.
The outputs of an account, those that a payout is about to spend among them, hold

    escrow    free + reserved + undrawn + leaving - missing
    stake     held + slashed + leaving - missing
    reserve   reserve - missing

and what payouts under way have taken from it. A payout goes

PLANNED            -- PayoutBroadcast --> SENT
PLANNED            -- PayoutContested --> CONTESTED
SENT               -- PayoutBroadcast --> SENT       (a dearer rung)
PLANNED, CONTESTED, SENT -- PayoutConfirmed --> CONFIRMED -- PayoutReorged --> SENT
PLANNED, CONTESTED, SENT -- PayoutAbandoned --> ABANDONED   (terminal: all that it allotted is due again)
"""

from collections import defaultdict
from typing import Final

from domain import payout as built
from domain.accounts import RESERVE, SAFETY_BLOCKS, TIPS, Accounts, Held, Taken, Term, key_of
from domain.bitcoin import OutPoint, reference, reserve_script
from domain.events import (
    ChainAdvanced,
    ChainEvent,
    EscrowFreed,
    EscrowFunded,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
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
    StakeSlashed,
    StakeWithdrawn,
)
from domain.money import MSAT_PER_SAT
from domain.payout import Payout, State, saved

__all__ = [
    "DEEP_BLOCKS",
    "NO_ANCHOR",
    "RESERVE",
    "SAFETY_BLOCKS",
    "Books",
    "Held",
    "Payout",
    "State",
    "TIPS",
    "Taken",
    "Term",
    "key_of",
]

#: What the first anchor follows.
NO_ANCHOR: Final = "00" * 32
#: So deep nothing changes any more: nothing less deep is a reason to give up a payout, or to spend a saved fee again.
DEEP_BLOCKS: Final = 6


class Books(Accounts):
    """Folds what moves the market's outputs, and what is due out of them."""

    def __init__(self) -> None:
        super().__init__()
        self.undrawn_msat: defaultdict[str, int] = defaultdict(int)
        self.slashed_msat: defaultdict[str, int] = defaultdict(int)
        self.earned_msat: dict[str, dict[str, int]] = {}
        #: By account: free money that its owner took out, and that was not paid yet.
        self.leaving_msat: defaultdict[str, int] = defaultdict(int)
        #: By account: what it holds for jobs and for the pool, or as a stake.
        self.owed_msat: defaultdict[str, int] = defaultdict(int)
        self.fees_msat = self.fund_msat = self.forfeited_msat = self.reserve_sat = 0
        self.payouts: dict[int, Payout] = {}
        #: Payouts up to this one are buried; the highest block that holds one of them.
        self._buried = self.floor = 0
        self.anchor = NO_ANCHOR

    @property
    def open_payouts(self) -> list[int]:
        """Payouts that are not settled, oldest first."""
        return [epoch for epoch in self.recent if self.payouts[epoch].open]

    @property
    def recent(self) -> range:
        """Payouts that may still move."""
        return range(self._buried + 1, len(self.payouts) + 1)

    def payout_of(self, txid: str) -> int | None:
        """The payout, of those that may still move, that has this transaction."""
        return next((epoch for epoch in self.recent if txid in self.payouts[epoch].txids), None)

    def is_abandoned(self, epoch: int) -> bool:
        return self.payouts[epoch].state is State.ABANDONED

    def due_msat(self, worker: str) -> int:
        """What the worker has earned and was not paid."""
        return sum(self.earned_msat.get(worker, {}).values())

    def unsettled_msat(self) -> dict[str, int]:
        """By escrow: what cheaper rungs left there, while dearer ones might still take their place."""
        found: dict[str, int] = {}
        for epoch in self.recent:
            payout = self.payouts[epoch]
            if payout.confirmed is not None and payout.confirmed.height > self.height - DEEP_BLOCKS:
                first = payout.planned.drawn[0]
                saved_sat = saved(payout.planned, payout.allotted, payout.confirmed.fee_sat)
                key = key_of(first.account, first.owner)
                found[key] = found.get(key, 0) + saved_sat * MSAT_PER_SAT
        return found

    def is_gone(self, outpoint: str) -> bool:
        """Whether a payout's input is gone for good: for so long that no chain brings it back.

        A deposit that left the chain can come back as long as what it spends is there, and settlement tells of what
        takes its place; where it did not, nobody waits for ever. A change comes back with the payout that makes it.
        """
        if outpoint in self.coins:
            return False
        if outpoint in self.reorged:
            return self.height >= self.reorged[outpoint].height + TIPS
        if outpoint in self.taken:
            return self.height >= (self.taken[outpoint].height or 0) + DEEP_BLOCKS
        maker = self.payout_of(outpoint[:64])
        if maker is None or self.is_abandoned(maker):
            return True
        other = self.payouts[maker].confirmed  # by another rung, whose change is another output
        return other is not None and self.height >= other.height + DEEP_BLOCKS

    # ----------------------------------------------------------------------------------------- what jobs and stakes do
    def earn(self, event: EscrowReleased) -> None:
        """A worker earned its price."""
        amount_msat = event.amount_msat
        self.undrawn_msat[event.escrow] += amount_msat
        by_job = self.earned_msat.get(event.worker)
        if by_job is None:
            by_job = self.earned_msat[event.worker] = {}
        by_job[event.job] = by_job.get(event.job, 0) + amount_msat

    def charge(self, event: FeeCharged) -> None:
        """The market earned its fee, and what it keeps for miners."""
        self.undrawn_msat[event.escrow] += event.amount_msat
        self.fees_msat += event.amount_msat - event.chain_msat
        self.fund_msat += event.chain_msat

    def set_aside(self, event: EscrowReserved | EscrowFreed) -> None:
        """A job was given its budget, or gave the rest of it back."""
        self.owed_msat[event.escrow] += event.amount_msat if isinstance(event, EscrowReserved) else -event.amount_msat

    def slash(self, event: StakeSlashed) -> None:
        """Stake was forfeited; it belongs to nobody yet."""
        self.slashed_msat[event.worker] += event.amount_msat
        self.forfeited_msat += event.amount_msat

    def leave(self, event: EscrowRefunded | StakeWithdrawn) -> None:
        """An owner took free money out."""
        key = event.escrow if isinstance(event, EscrowRefunded) else event.worker
        self.leaving_msat[key] += event.amount_msat
        if isinstance(event, StakeWithdrawn):
            self.owed_msat[key] -= event.amount_msat

    def deposit(self, event: EscrowFunded | StakeDeposited) -> None:
        """An account was paid; payments that were not made on the chain hold no output."""
        super().deposit(event)
        if isinstance(event, StakeDeposited):
            self.owed_msat[event.worker] += event.amount_msat

    def advance(self, event: ChainEvent) -> None:
        """The chain that settlement sees is another one."""
        super().advance(event)
        if isinstance(event, ChainAdvanced):
            self._bury()

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

    def _is_open(self, epoch: int) -> bool:
        found = self.payouts.get(epoch)
        return found is not None and found.open

    def _plan(self, event: PayoutPlanned) -> None:
        self._bury()
        self.payouts[event.epoch] = Payout(event, self._reserve_term(event) if event.reserve_sat else None)
        self.anchor = event.anchor
        self._draw(event, -1)
        for coin in (coin for drawn in event.drawn for coin in drawn.coins):
            self.coins[coin.outpoint] = self.coins[coin.outpoint]._replace(epoch=event.epoch)

    def _reserve_term(self, planned: PayoutPlanned) -> Term:
        assert self.chain is not None, "a market that pays has joined a chain"
        keys = bytes.fromhex(self.chain.market_key), bytes.fromhex(self.chain.arbiter_key)
        return Term("reserve", "", reserve_script(*keys), 0, bytes.fromhex(planned.market_script))

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
                continue
            self.owed_msat[key] += sign * pool_msat
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
        if not by_job:
            del self.earned_msat[event.owner]
        assert not left_msat, "a reward is paid for work"

    def _confirm(self, payout: Payout, event: PayoutConfirmed) -> None:
        payout.state, payout.confirmed = State.CONFIRMED, event
        payout.spent = [self._release(coin.outpoint) for coin in built.coins(payout.planned)]
        self._keep_change(payout, event)
        self._save_fee(payout, event, 1)

    def _keep_change(self, payout: Payout, event: PayoutConfirmed) -> None:
        planned = payout.planned
        vout = len(payout.allotted) + bool(planned.market_sat) + 1
        if planned.reserve_sat:
            assert payout.reserve is not None, "what the reserve keeps has a script"
            self._keep(payout, event, vout, RESERVE, payout.reserve, planned.reserve_sat)
            vout += 1
        saved_sat = saved(planned, payout.allotted, event.fee_sat)
        for drawn in planned.drawn:
            if drawn.change_sat:
                key = key_of(drawn.account, drawn.owner)
                term = self.by_script[bytes.fromhex(drawn.script)]
                self._keep(payout, event, vout, key, term, drawn.change_sat + saved_sat)
                vout, saved_sat = vout + 1, 0

    def _keep(self, payout: Payout, event: PayoutConfirmed, vout: int, key: str, term: Term, value_sat: int) -> None:
        outpoint = reference(OutPoint(event.txid, vout))
        later = (epoch for epoch in self.open_payouts if outpoint in self._spends(epoch))
        self._hold(Held(outpoint, value_sat, key, term, event.height, next(later, 0)))
        payout.made.append(outpoint)

    def _spends(self, epoch: int) -> set[str]:
        return {coin.outpoint for coin in built.coins(self.payouts[epoch].planned)}

    def _save_fee(self, payout: Payout, event: PayoutConfirmed, sign: int) -> None:
        """A cheaper rung than the dearest leaves money in the first change, which is an escrow's."""
        saved_msat = saved(payout.planned, payout.allotted, event.fee_sat) * MSAT_PER_SAT
        if saved_msat:
            first = payout.planned.drawn[0]
            key = key_of(first.account, first.owner)
            self.undrawn_msat[key] += sign * saved_msat
            self.owed_msat[key] += sign * saved_msat
            self.fund_msat += sign * saved_msat

    def _unconfirm(self, payout: Payout) -> None:
        event = payout.confirmed
        assert event is not None, "only a confirmed payout is undone"
        payout.state, payout.confirmed = State.SENT, None
        self._save_fee(payout, event, -1)
        for outpoint in payout.made:
            self._release(outpoint)
        for coin in payout.spent:
            self._hold(coin)
        payout.made, payout.spent = [], []

    def _abandon(self, payout: Payout) -> None:
        payout.state = State.ABANDONED
        standing = (one.planned for one in reversed(self.payouts.values()) if one.state is not State.ABANDONED)
        self.anchor = next((planned.anchor for planned in standing), NO_ANCHOR)
        self._draw(payout.planned, 1)
        for allotted in payout.allotted:
            if allotted.due != "reward":
                key = key_of(allotted.due, allotted.owner)
                self.leaving_msat[key] += allotted.amount_sat * MSAT_PER_SAT
                continue
            by_job = self.earned_msat.get(allotted.owner, {})
            again = {paid.job: by_job.pop(paid.job, 0) + paid.amount_msat for paid in allotted.paid}
            self.earned_msat[allotted.owner] = again | by_job
        for coin in built.coins(payout.planned):
            held = self.coins.get(coin.outpoint)
            if held is not None and held.epoch == payout.planned.epoch:
                self.coins[coin.outpoint] = held._replace(epoch=0)

    def _bury(self) -> None:
        """Keep of payouts that no reorganisation reaches only what is asked of them."""
        while self._buried < len(self.payouts):
            found = self.payouts[self._buried + 1]
            at = found.confirmed.height if found.confirmed is not None else 0
            if found.open or (at > self.height - TIPS and len(self.payouts) - self._buried <= TIPS):
                return
            found.bury()
            self._buried += 1
            self.floor = max(self.floor, at)
