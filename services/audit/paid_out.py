"""For what payouts pay: what was earned, taken out and charged, and never more."""

from collections import Counter
from collections.abc import Mapping

from domain import payout
from domain.events import (
    Drawn,
    EscrowRefunded,
    EscrowReleased,
    FeeCharged,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutConfirmed,
    PayoutPlanned,
    PayoutReorged,
    StakeSlashed,
    StakeWithdrawn,
)
from domain.ids import escrow_id
from domain.money import MSAT_PER_SAT
from services.audit.invariant import Broken, Check, Invariant, need
from services.audit.payouts import KEPT, Told
from services.ports import Stored


class PaidOut(Invariant):
    """A payout pays a worker what it earned with those jobs, an owner what it took out, the market what it charged; out
    of escrows that released or were charged it, and of slashed stakes; and never more than once.
    """

    name = "paid_out"

    def __init__(self) -> None:
        self.earned: Counter[tuple[str, str]] = Counter()
        self.leaving: Counter[tuple[str, str]] = Counter()
        #: What payouts may draw for the pool, by account.
        self.pool: Counter[str] = Counter()
        self.fees = self.fund = self.reserve = 0
        self.told: dict[int, Told] = {}

    def checks(self) -> Mapping[type, Check]:
        return {
            EscrowReleased: self.release,
            FeeCharged: self.charge,
            StakeSlashed: self.slash,
            EscrowRefunded: self.refund,
            StakeWithdrawn: self.withdraw,
            PayoutPlanned: self.plan,
            PayoutAllotted: self.allot,
            PayoutConfirmed: self.confirm,
            PayoutReorged: self.unconfirm,
            PayoutAbandoned: self.abandon,
        }

    def release(self, event: EscrowReleased, stored: Stored) -> None:
        self.earned[event.worker, event.job] += event.amount_msat
        self.pool[event.escrow] += event.amount_msat

    def charge(self, event: FeeCharged, stored: Stored) -> None:
        self.pool[event.escrow] += event.amount_msat
        self.fees += event.amount_msat - event.chain_msat
        self.fund += event.chain_msat

    def slash(self, event: StakeSlashed, stored: Stored) -> None:
        self.pool[event.worker] += event.amount_msat

    def refund(self, event: EscrowRefunded, stored: Stored) -> None:
        self.leaving["escrow", event.escrow] += event.amount_msat

    def withdraw(self, event: StakeWithdrawn, stored: Stored) -> None:
        self.leaving["stake", event.worker] += event.amount_msat

    def plan(self, event: PayoutPlanned, stored: Stored) -> None:
        self.told[event.epoch] = Told(event)
        self.told.pop(event.epoch - KEPT, None)
        for drawn in event.drawn:
            left_msat = self._draw(drawn, 1)
            if left_msat < 0 < drawn.pool_sat:
                raise Broken(f"{-left_msat} msat more are drawn of {drawn.account} {drawn.owner} than it owes")
        self.reserve += event.reserve_sat * MSAT_PER_SAT
        self.fees -= event.market_sat * MSAT_PER_SAT
        self.fund -= event.fund_sat * MSAT_PER_SAT
        need(self.fees >= 0, f"the market is paid {-self.fees} msat more than it charged")
        need(self.fund >= 0 or not event.fund_sat, f"miners are paid {-self.fund} msat more than was kept for them")

    def _draw(self, drawn: Drawn, sign: int) -> int:
        """What is left for the pool there."""
        pool_msat = sign * drawn.pool_sat * MSAT_PER_SAT
        if drawn.account == "reserve":
            self.reserve -= pool_msat
            return self.reserve
        key = escrow_id(drawn.owner) if drawn.account == "escrow" else drawn.owner
        self.pool[key] -= pool_msat
        return self.pool[key]

    def allot(self, event: PayoutAllotted, stored: Stored) -> None:
        self.told[event.epoch].allotted.append(event)
        self._allot(event, 1)

    def _allot(self, event: PayoutAllotted, sign: int) -> None:
        if event.due != "reward":
            key = (event.due, escrow_id(event.owner) if event.due == "escrow" else event.owner)
            self.leaving[key] -= sign * event.amount_sat * MSAT_PER_SAT
            need(self.leaving[key] >= 0, f"{event.owner} is paid {-self.leaving[key]} msat more than it took out")
            return
        for paid in event.paid:
            self.earned[event.owner, paid.job] -= sign * paid.amount_msat
            left_msat = self.earned[event.owner, paid.job]
            need(left_msat >= 0, f"{event.owner} is paid {-left_msat} msat more than it earned with job {paid.job}")

    def confirm(self, event: PayoutConfirmed, stored: Stored) -> None:
        self.told[event.epoch].confirmed = event
        self._save(self.told[event.epoch], event.fee_sat, 1)

    def unconfirm(self, event: PayoutReorged, stored: Stored) -> None:
        found = self.told[event.epoch]
        confirmed, found.confirmed = found.confirmed, None
        assert confirmed is not None, "what left the chain was not confirmed"
        self._save(found, confirmed.fee_sat, -1)

    def _save(self, found: Told, fee_sat: int, sign: int) -> None:
        """What the fund saves by a cheaper rung than the dearest stays in the first change."""
        saved_msat = payout.saved(found.planned, found.allotted, fee_sat) * MSAT_PER_SAT
        if saved_msat:
            need(found.planned.drawn[0].account == "escrow", "what is saved of the fee goes to no escrow")
            self.pool[escrow_id(found.planned.drawn[0].owner)] += sign * saved_msat
            self.fund += sign * saved_msat

    def abandon(self, event: PayoutAbandoned, stored: Stored) -> None:
        found = self.told[event.epoch]
        for drawn in found.planned.drawn:
            self._draw(drawn, -1)
        for one in found.allotted:
            self._allot(one, -1)
        self.reserve -= found.planned.reserve_sat * MSAT_PER_SAT
        self.fees += found.planned.market_sat * MSAT_PER_SAT
        self.fund += found.planned.fund_sat * MSAT_PER_SAT
