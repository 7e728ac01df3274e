"""Every msat is somewhere."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from domain.events import (
    EscrowFreed,
    EscrowFunded,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    FeeSet,
    JobCompleted,
    JobPosted,
    JobReused,
    StakeDeposited,
    StakeSlashed,
    StakeWithdrawn,
)
from domain.job import REUSE_PPM
from domain.money import PPM
from services.audit.invariant import Broken, Check, Invariant, need
from services.ports import Stored


class Account:
    """Where one escrow's money is, in msat."""

    __slots__ = ("charged", "free", "funded", "refunded", "released", "reserved")

    def __init__(self) -> None:
        self.funded = self.free = self.reserved = self.released = self.charged = self.refunded = 0

    def check(self) -> None:
        if self.free < 0 or self.reserved < 0:
            raise Broken(f"the escrow has {self.free} msat free and {self.reserved} msat reserved")
        found = self.free + self.reserved + self.released + self.charged + self.refunded
        if self.funded != found:
            raise Broken(f"{self.funded} msat were funded, {found} msat are accounted for")


class Money(Invariant):
    """Every msat is somewhere: in escrows, in stakes, earned, slashed, or back outside."""

    name = "money"

    def __init__(self) -> None:
        self.escrows: dict[str, Account] = {}
        self.terms: dict[str, JobPosted] = {}
        self.left: dict[str, int] = {}
        self.runs: Counter[str] = Counter()
        self.originals: dict[str, JobPosted] = {}
        self.due: dict[str, int] = {}
        self.fee_ppm = self.chain_ppm = 0
        self.stakes: Counter[str] = Counter()
        self.deposited = self.withdrawn = self.slashed = 0

    def checks(self) -> Mapping[type, Check]:
        return {
            FeeSet: self.set_fee,
            JobPosted: self.post,
            JobReused: self.reuse,
            JobCompleted: self.complete,
            FeeCharged: self.charge,
            EscrowFunded: self.fund,
            EscrowReserved: self.reserve,
            EscrowReleased: self.release,
            EscrowFreed: self.free,
            EscrowRefunded: self.refund,
            StakeDeposited: self.deposit,
            StakeSlashed: self.slash,
            StakeWithdrawn: self.withdraw,
        }

    def post(self, event: JobPosted, stored: Stored) -> None:
        self.terms[event.job] = event
        fee_msat = event.price_msat * self.fee_ppm // PPM
        chain_msat = event.price_msat * self.chain_ppm // PPM
        need(event.fee_msat == fee_msat, f"the market's fee is {fee_msat} msat a run, the job says {event.fee_msat}")
        need(event.chain_msat == chain_msat, f"{chain_msat} msat a run are for miners, the job says {event.chain_msat}")

    def set_fee(self, event: FeeSet, stored: Stored) -> None:
        self.fee_ppm, self.chain_ppm = event.fee_ppm, event.chain_ppm

    def reuse(self, event: JobReused, stored: Stored) -> None:
        original = self.terms.get(event.original)
        need(original is not None, "the job whose results are handed out was never posted")
        assert original is not None
        self.originals[event.job] = original

    def complete(self, event: JobCompleted, stored: Stored) -> None:
        earned = self.left[event.job] if event.job in self.originals else self._fees(event.job)
        if earned:
            self.due[event.job] = earned

    def _fees(self, job: str) -> int:
        return self.runs[job] * (self.terms[job].fee_msat + self.terms[job].chain_msat)

    def charge(self, event: FeeCharged, stored: Stored) -> None:
        account = self._account(event)
        account.reserved -= event.amount_msat
        account.charged += event.amount_msat
        account.check()
        self._spend(event)
        due = self.due.pop(event.job, 0)
        need(event.amount_msat == due, f"the market has earned {due} msat on the job, {event.amount_msat} are charged")

    def fund(self, event: EscrowFunded, stored: Stored) -> None:
        account = self.escrows.setdefault(event.escrow, Account())
        account.funded += event.amount_msat
        account.free += event.amount_msat
        account.check()

    def reserve(self, event: EscrowReserved, stored: Stored) -> None:
        account, terms = self._account(event), self.terms.get(event.job)
        account.free -= event.amount_msat
        account.reserved += event.amount_msat
        account.check()
        need(terms is not None and event.job not in self.left, "money is reserved once for a job that was posted")
        assert terms is not None
        need(terms.escrow == event.escrow, "the job names another escrow")
        original = self.originals.get(event.job)
        cost_msat = _cost_msat(terms) if original is None else -(-_cost_msat(original) * REUSE_PPM // PPM)
        need(event.amount_msat == cost_msat, f"the job costs {cost_msat} msat, {event.amount_msat} are reserved")
        self.left[event.job] = event.amount_msat

    def release(self, event: EscrowReleased, stored: Stored) -> None:
        account = self._account(event)
        account.reserved -= event.amount_msat
        account.released += event.amount_msat
        account.check()
        self.runs[event.job] += 1
        price_msat = self._spend(event).price_msat
        if event.amount_msat != price_msat:
            raise Broken(f"the price is {price_msat} msat, {event.amount_msat} are released")

    def free(self, event: EscrowFreed, stored: Stored) -> None:
        account = self._account(event)
        account.reserved -= event.amount_msat
        account.free += event.amount_msat
        account.check()
        self._spend(event)

    def refund(self, event: EscrowRefunded, stored: Stored) -> None:
        account = self._account(event)
        account.free -= event.amount_msat
        account.refunded += event.amount_msat
        account.check()

    def deposit(self, event: StakeDeposited, stored: Stored) -> None:
        self.stakes[event.worker] += event.amount_msat
        self.deposited += event.amount_msat

    def slash(self, event: StakeSlashed, stored: Stored) -> None:
        self.slashed += event.amount_msat
        self._take(event)

    def withdraw(self, event: StakeWithdrawn, stored: Stored) -> None:
        self.withdrawn += event.amount_msat
        self._take(event)

    def finish(self) -> None:
        for account in self.escrows.values():
            account.check()
        need(not self.due, "the market's fee on a finished job was not charged")
        need(min(self.left.values(), default=0) >= 0, "a job was paid more than it reserved")
        held = self.stakes.total()
        need(self.deposited == held + self.slashed + self.withdrawn, "the stakes do not add up to what was deposited")
        by_job: Counter[str] = Counter()
        for job, left in self.left.items():
            by_job[self.terms[job].escrow] += left
        wrong = [key for key, account in self.escrows.items() if account.reserved != by_job[key]]
        need(not wrong, f"what is reserved in escrow {wrong[:1]} is not what its jobs have left")

    def _account(self, event: Any) -> Account:
        account = self.escrows.get(event.escrow)
        if account is None:
            raise Broken("the escrow was never funded")
        return account

    def _spend(self, event: EscrowReleased | FeeCharged | EscrowFreed) -> JobPosted:
        left = self.left.get(event.job, 0) - event.amount_msat
        if left < 0:
            raise Broken(f"the job spends {-left} msat more than it reserved")
        self.left[event.job] = left
        return self.terms[event.job]

    def _take(self, event: StakeSlashed | StakeWithdrawn) -> None:
        self.stakes[event.worker] -= event.amount_msat
        need(self.stakes[event.worker] >= 0, "the worker does not have this stake")


def _cost_msat(terms: JobPosted) -> int:
    return terms.tasks * terms.replicas * (terms.price_msat + terms.fee_msat + terms.chain_msat)
