"""What the next payout pays: decided by the books, a fee rate and a root alone, so that the arbiter finds the same.

- A worker is paid when what it has earned is worth an output: at most 2 % of it may go to the miners. Whoever is not
  paid has it due the next time.
- The market's fund for miners bears the fee of rewards and slashes, and no more than 2 % of them; who takes its own
  money out bears what that adds.
- An account whose term is about to end is emptied: what the pool has in it is paid out, or kept in the reserve until
  it is worth paying. That may cost more than 2 %, but less than it saves.
- An output holds nothing, or at least ``CHANGE_MIN_SAT``.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from domain import payees, payout
from domain.bitcoin import dust_sat, op_return, p2wsh, payout_vsize, reserve_script
from domain.books import Books, Term
from domain.drawing import CHANGE_MIN_SAT, FEE_PPM, Draw, Drawing, Sources
from domain.errors import Refused
from domain.events import Coin, Drawn, Paid, PayoutAllotted, PayoutPlanned
from domain.money import MSAT_PER_SAT, PPM
from domain.payees import FRAME_VB, Payee, minimum_sat
from domain.payout import LADDER, fee_sat

#: Nodes relay no transaction above 400,000 weight units.
VSIZE_MAX: Final = 99_900


class NothingToPay(Refused):
    template = "nothing can be paid now: {reason}"


def plan(
    books: Books, market: str, *, epoch: int, rate_msat: int, size: int, root: str
) -> tuple[PayoutPlanned, list[PayoutAllotted]]:
    """The payout that is due.

    Args:
        market: The operator's key.
        rate_msat: Of the first rung, for a virtual byte.
        size, root: Of the log, as the anchor will have it.
    Raises:
        NothingToPay: With the reason.
    """
    draft = _settled(books, market, rate_msat)
    allotted = draft.allotments(epoch)
    planned = PayoutPlanned(
        epoch=epoch,
        height=books.height,
        rate_msat=rate_msat,
        fees_sat=draft.fees_sat,
        fund_sat=draft.fund_sat,
        drawn=draft.drawn(),
        market_sat=draft.market_sat,
        market_script=draft.chain.market_script,
        reserve_sat=draft.drawing.reserve_sat,
        reserve_script=draft.reserve.script.hex(),
        size=size,
        root=root,
        receipts=payout.receipts_root(allotted),
        previous=books.anchor,
        anchor=books.anchor,
    )
    said = payout.anchor(market, epoch, size, root, planned.receipts, planned.previous)
    return replace(planned, anchor=said), allotted


def is_urgent(books: Books, market: str, rate_msat: int) -> bool:
    """Whether the payout that ``plan`` would plan saves what an owner can soon take; for a part of the work.

    Raises:
        NothingToPay: With the reason.
    """
    return _settled(books, market, rate_msat).urgent


def _settled(books: Books, market: str, rate_msat: int) -> "_Draft":
    """A draft that is in balance; without emptying anything, where that stands in the way.

    Raises:
        NothingToPay: With the reason.
    """
    if books.chain is None:
        raise NothingToPay(reason="the market has not joined a chain")
    if books.open_payouts:
        raise NothingToPay(reason=f"payout {books.open_payouts[0]} is not settled yet")
    draft = _Draft(books, market, rate_msat, emptying=True)
    emptying = bool(draft.emptied)
    problem = draft.settle()
    if not problem:
        return draft
    draft = _Draft(books, market, rate_msat, emptying=False)
    if not emptying or draft.settle():
        raise NothingToPay(reason=problem)
    return draft


class _Draft:
    """A payout on its way: whom it pays, what it draws from, what it costs.

    Attributes:
        emptied: What the pool gets of accounts, wanted or not, in sat.
        fund_msat: What the fund for miners can bear.
        fund_sat: What it bears of the dearest of ``fees_sat``.
    """

    def __init__(self, books: Books, market: str, rate_msat: int, *, emptying: bool) -> None:
        assert books.chain is not None
        self.books, self.rate_msat, self.chain = books, rate_msat, books.chain
        keys = bytes.fromhex(books.chain.market_key), bytes.fromhex(books.chain.arbiter_key)
        self.reserve = Term("reserve", market, reserve_script(*keys), 0, b"")
        self.sources = Sources(books, rate_msat, self.reserve)
        self.fund_msat = max(0, books.fund_msat - sum(books.unsettled_msat().values()))
        self.leaving = payees.owners(books, self.sources)
        self.emptied = payees.emptied(books, self.sources, self._due()) if emptying else {}
        self.rewards, self.market_sat = payees.rewards(books, rate_msat), books.fees_msat // MSAT_PER_SAT
        if self.market_sat < minimum_sat(rate_msat, self._market_vb):
            self.market_sat = 0
        self.fund_sat = 0
        self.fees_sat: tuple[int, ...] = ()
        self.drawing = Drawing([], 0, 0)

    def _least_sat(self, payee: Payee) -> int:
        return minimum_sat(self.rate_msat, payee.output_vb)

    @property
    def _market_vb(self) -> int:
        return 9 + len(self.chain.market_script) // 2

    def _due(self) -> dict[str, int]:
        return {payee.key: payee.amount_sat for payee in self.leaving}

    @property
    def urgent(self) -> bool:
        """Whether something is saved that would be lost otherwise."""
        return any(payees.is_unsafe(self.books, self.sources, key, sat) for key, sat in self.emptied.items())

    # ------------------------------------------------------------------------------------------- until it is in balance
    def settle(self) -> str:
        """Find what to draw and what it costs; pay less where that cannot be.

        Returns:
            Why nothing can be paid, or nothing.
        """
        short, dear, emptying = "", "", bool(self.emptied)
        while self.rewards or self.market_sat or self.leaving or self.emptied:
            if emptying and not self.emptied:
                break
            short_sat = self._balance()
            if short_sat:
                short = "the outputs that it would be paid from hold too little, or too little each"
                self._pay_less(short_sat)
            elif (excess_vb := self._vsize() - VSIZE_MAX) > 0:
                self._pay_fewer(excess_vb)
            elif problem := self._too_dear():
                dear = dear or problem
                self._wait()
            else:
                return ""
        return dear or short or "nobody has enough due"

    def _pay_less(self, short_sat: int) -> None:
        """The market waits first, then workers with the smallest rewards, then what is to be emptied, then owners.

        A few satoshi, the fractions of many accounts, are taken off the largest reward.
        """
        if self.market_sat:
            left_sat = self.market_sat - short_sat
            self.market_sat = left_sat if left_sat >= minimum_sat(self.rate_msat, self._market_vb) else 0
        elif self.rewards:
            largest = self.rewards[0]
            if short_sat < CHANGE_MIN_SAT and largest.amount_sat - short_sat >= self._least_sat(largest):
                self.rewards[0] = largest._replace(amount_sat=largest.amount_sat - short_sat)
                return
            while self.rewards and short_sat > 0:
                smallest = self.rewards.pop()
                short_sat -= smallest.amount_sat
            if -short_sat >= self._least_sat(smallest):
                self.rewards.append(smallest._replace(amount_sat=-short_sat))
        elif self.emptied:
            self.emptied.popitem()
        else:
            self.leaving.pop()

    def _pay_fewer(self, excess_vb: int) -> None:
        if self.rewards:
            while self.rewards and excess_vb > 0:
                excess_vb -= self.rewards.pop().output_vb
        elif self.emptied:
            self.emptied.popitem()
        else:
            self.leaving.pop()

    def _wait(self) -> None:
        """Pay less of what the fund for miners has to bear: what is dearest for what it pays."""
        if self.market_sat:
            self.market_sat = 0
        elif self.rewards:
            del self.rewards[-max(1, len(self.rewards) // 8) :]
        elif self.emptied:
            self.emptied.popitem()
        else:
            self.leaving = []

    # ---------------------------------------------------------------------------------------------------- what it costs
    def _balance(self) -> int:
        """Draw what is needed, fees included, with as many rungs as can be; returns what is missing, in sat."""
        for rungs in range(len(LADDER), 1, -1):
            if not self._balance_at(rungs) and self._may_climb():
                return 0
        return self._balance_at(1)

    def _balance_at(self, rungs: int) -> int:
        """The fund bears more until that is enough for what has to be drawn for it."""
        self.fund_sat = 0
        paid_sat = sum(payee.amount_sat for payee in self.rewards) + self.market_sat
        while True:
            self.drawing = self.sources.draw(paid_sat + self.fund_sat, self._due(), self.emptied)
            vsize, borne_sat = self._vsize(), [self._borne_sat(rung) for rung in range(rungs)]
            rates = [self.rate_msat * multiple for multiple in LADDER[:rungs]]
            whole_sat = [max(fee_sat(vsize, rate), borne) for rate, borne in zip(rates, borne_sat, strict=True)]
            bears_sat = max(whole - borne for whole, borne in zip(whole_sat, borne_sat, strict=True))
            if bears_sat <= self.fund_sat:
                self.fees_sat = (*whole_sat[:-1], self.fund_sat + borne_sat[-1])
                return self.drawing.short_sat
            self.fund_sat = bears_sat

    def _may_climb(self) -> bool:
        """Whether every rung costs more than the one before, and those who bear it can.

        What a cheaper rung leaves of the fund's part must have a change to go to.
        """
        rungs = range(len(self.fees_sat))
        if any(self.fees_sat[rung] <= self.fees_sat[rung - 1] for rung in rungs[1:]):
            return False
        for payee in self.leaving:
            borne_sat = fee_sat(self._borne_vb(payee), self.rate_msat * LADDER[rungs[-1]])
            if payee.amount_sat - borne_sat < dust_sat(payee.script):
                return False
        bears_sat = {self.fees_sat[rung] - self._borne_sat(rung) for rung in rungs}
        absorbs = bool(self.drawing.draws) and self.drawing.draws[0].absorbs
        return bears_sat == {self.fund_sat} or (absorbs and self.fund_sat * MSAT_PER_SAT <= self.fund_msat)

    def _too_dear(self) -> str:
        """Why it must not be paid now, if so."""
        bears_sat, fund_sat = self.fees_sat[0] - self._borne_sat(0), self.fund_msat // MSAT_PER_SAT
        paid_sat = sum(payee.amount_sat for payee in self.rewards) + self.market_sat + sum(self.emptied.values())
        if bears_sat > fund_sat:
            return f"the fee is {bears_sat} sat, and the fund for miners holds {fund_sat} sat"
        if not self.urgent and bears_sat * PPM > paid_sat * FEE_PPM:
            return f"the fee of {bears_sat} sat is more than 2 % of the {paid_sat} sat that it would pay"
        return ""

    def _vsize(self) -> int:
        inputs = [len(coin.term.witness_script) for drawn in self.drawing.draws for coin in drawn.coins]
        outputs = [payee.script for payee in (*self.rewards, *self.leaving)]
        if self.market_sat:
            outputs.append(bytes.fromhex(self.chain.market_script))
        outputs.append(op_return(bytes(32)))
        changes = sum(drawn.change_sat > 0 for drawn in self.drawing.draws)
        outputs += [p2wsh(b"")] * (changes + bool(self.drawing.reserve_sat))
        return payout_vsize(inputs, outputs)

    def _borne_sat(self, rung: int) -> int:
        """What those who take their own money out bear of a rung."""
        return sum(fee_sat(self._borne_vb(payee), self.rate_msat * LADDER[rung]) for payee in self.leaving)

    def _borne_vb(self, payee: Payee) -> int:
        """What its owner bears: what it adds, and its part of the frame where the pool pays nothing."""
        shared = self.rewards or self.market_sat or self.emptied
        frame_vb = 0 if shared else -(-FRAME_VB // len(self.leaving))
        drawn = next(one for one in self.drawing.draws if one.source.key == payee.key)
        return frame_vb + payee.output_vb + (0 if drawn.pool_sat else drawn.added_vb)

    # ------------------------------------------------------------------------------------------------- as events say it
    def allotments(self, epoch: int) -> list[PayoutAllotted]:
        """What each payee gets, in the order of the outputs."""
        rewards = [
            PayoutAllotted(
                epoch,
                "reward",
                payee.owner,
                payee.amount_sat,
                0,
                payee.script.hex(),
                tuple(_shares(self.books, payee.owner, payee.amount_sat * MSAT_PER_SAT)),
            )
            for payee in self.rewards
        ]
        owners = [
            PayoutAllotted(epoch, payee.due, payee.owner, payee.amount_sat, self._borne_vb(payee), payee.script.hex())
            for payee in self.leaving
        ]
        return payout.in_order([*rewards, *owners])

    def drawn(self) -> tuple[Drawn, ...]:
        """What is taken of each account."""
        return tuple(_said(draw) for draw in self.drawing.draws)


def _said(draw: Draw) -> Drawn:
    source = draw.source
    spent = tuple(Coin(coin.outpoint, coin.value_sat) for coin in draw.coins)
    owner, script = source.term.owner, source.term.script.hex()
    return Drawn(source.term.account, owner, spent, source.due_sat, draw.pool_sat, draw.change_sat, script)


def _shares(books: Books, worker: str, amount_msat: int) -> Iterable[Paid]:
    """The work that a reward pays for, what was earned first first."""
    for job, earned_msat in books.earned_msat[worker].items():
        taken_msat = min(amount_msat, earned_msat)
        if taken_msat:
            yield Paid(job, taken_msat)
        amount_msat -= taken_msat
        if not amount_msat:
            return
