"""What the next payout pays: decided by the books, a fee rate and a root alone, so that the arbiter finds the same.

- A worker is paid when what it has earned is worth an output: at most 2 % of it may go to the miners.
- The market's fund for miners bears the fee of rewards and slashes, and no more than 2 % of them; who takes its own
  money out bears what that adds.
- An account whose term is ending is emptied: what its workers earned is paid from dust upward, the rest is kept in
  reserve, and free money goes back to its owner.
- An output holds nothing, or at least ``CHANGE_MIN_SAT``.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from domain import payout
from domain.bitcoin import dust_sat, op_return, p2wsh, payout_vsize, reserve_script
from domain.books import RESERVE, Books, Held, Term, key_of
from domain.errors import Refused
from domain.events import Account, Coin, Drawn, Due, Paid, PayoutAllotted, PayoutPlanned
from domain.money import MSAT_PER_SAT, PPM
from domain.payout import LADDER, fee_sat

#: The most of what is paid that may go to the miners.
FEE_PPM: Final = 20_000
CHANGE_MIN_SAT: Final = 330
#: Payees of one transaction: it has to stay below what nodes relay (400,000 weight units).
PAYEES_MAX: Final = 2_900
#: Outputs of one account that one payout spends, and jobs that one reward is paid for.
COINS_MAX, JOBS_MAX = 20, 2_000
#: What a P2WPKH output adds; what spending an output of a script account and making another adds.
OUTPUT_VB, DRAW_VB = 31, 160
#: What every payout has: version, lock time, counts, and the anchor.
FRAME_VB: Final = 54


class NothingToPay(Refused):
    template = "nothing can be paid now: {reason}"


class Payee(NamedTuple):
    due: Due
    owner: str
    amount_sat: int
    script: bytes
    key: str = ""


class Source(NamedTuple):
    """An account that a payout draws from.

    Attributes:
        pool_sat: The most that the pool may have of it. due_sat: What its owner gets.
    """

    key: str
    term: Term
    coins: tuple[Held, ...]
    pool_sat: int
    due_sat: int = 0

    @property
    def value_sat(self) -> int:
        return sum(coin.value_sat for coin in self.coins)

    def legal(self, wanted_sat: int) -> int:
        """The most that can be drawn, up to ``wanted_sat``, so that the change is no dust."""
        rest_sat = self.value_sat - self.due_sat
        most_sat = min(wanted_sat, self.pool_sat, rest_sat)
        if rest_sat == most_sat or rest_sat - most_sat >= CHANGE_MIN_SAT:
            return most_sat
        return max(0, rest_sat - CHANGE_MIN_SAT)


def minimum_sat(rate_msat: int) -> int:
    """The least reward that is paid at this rate: an output's fee is at most 2 % of it."""
    return max(CHANGE_MIN_SAT, fee_sat(OUTPUT_VB, rate_msat) * PPM // FEE_PPM)


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
    chain = books.chain
    if chain is None:
        raise NothingToPay(reason="the market has not joined a chain")
    if books.open_payouts:
        raise NothingToPay(reason=f"payout {books.open_payouts[0]} is not settled yet")
    drafted = _Draft(books, rate_msat).settled()
    allotted = drafted.allotments(epoch)
    planned = PayoutPlanned(
        epoch=epoch,
        height=books.height,
        rate_msat=rate_msat,
        fees_sat=drafted.fees_sat,
        fund_sat=drafted.fund_sat,
        drawn=drafted.drawn(),
        market_sat=drafted.market_sat,
        market_script=chain.market_script,
        reserve_sat=drafted.reserve_sat,
        reserve_script=drafted.reserve.hex(),
        size=size,
        root=root,
        receipts=payout.receipts_root(allotted),
        previous=books.anchor,
        anchor="",
    )
    receipts, previous = planned.receipts, planned.previous
    said = payout.anchor(market, epoch, size, root, receipts, previous)
    return _with_anchor(planned, said), allotted


def _with_anchor(planned: PayoutPlanned, anchor: str) -> PayoutPlanned:
    from msgspec.structs import replace

    return replace(planned, anchor=anchor)


class _Draft:
    """A payout on its way: whom it pays, what it draws from, what it costs."""

    def __init__(self, books: Books, rate_msat: int) -> None:
        assert books.chain is not None
        keys = bytes.fromhex(books.chain.market_key), bytes.fromhex(books.chain.arbiter_key)
        self.books, self.rate_msat = books, rate_msat
        self._reserve_witness = reserve_script(*keys)
        self.reserve = p2wsh(self._reserve_witness)
        self.urgent = any(books.undrawn_msat.get(key) for key in books.lapsed)
        self.leaving = self._leaving()
        self.slashed = self._slashed()
        self.rewards, self.market_sat = self._rewards()
        self.fund_sat = self.reserve_sat = 0
        self.fees_sat: tuple[int, ...] = ()
        self.sources: list[tuple[Source, int]] = []

    # ----------------------------------------------------------------------------------------------------- who is paid
    def _rewards(self) -> tuple[list[Payee], int]:
        """Workers whose reward is worth an output, the largest first, and the market's own part."""
        least_sat = CHANGE_MIN_SAT if self.urgent else minimum_sat(self.rate_msat)
        found = []
        for worker in self.books.earned_msat:
            term = self.books.term_of(worker)
            amount_sat = self._payable_sat(worker)
            if term is not None and amount_sat >= least_sat:
                found.append(Payee("reward", worker, amount_sat, term.payout_script))
        found.sort(key=lambda payee: (-payee.amount_sat, payee.owner))
        market_sat = max(0, self.books.fees_msat) // MSAT_PER_SAT
        return found[:PAYEES_MAX], market_sat if market_sat >= least_sat else 0

    def _payable_sat(self, worker: str) -> int:
        by_job = self.books.earned_msat[worker]
        payable = list(by_job.values())[:JOBS_MAX]
        return sum(payable) // MSAT_PER_SAT

    def _leaving(self) -> list[Payee]:
        """Owners who take their own money out."""
        found = []
        for key, amount_msat in self.books.leaving_msat.items():
            term = self.books.term_of(key)
            if term is None or term.account == "reserve" or amount_msat < CHANGE_MIN_SAT * MSAT_PER_SAT:
                continue
            coins = self._coins(key)
            value_sat = sum(coin.value_sat for coin in coins)
            amount_sat = min(amount_msat // MSAT_PER_SAT, value_sat)
            if 0 < value_sat - amount_sat < CHANGE_MIN_SAT:
                amount_sat = value_sat - CHANGE_MIN_SAT
            due: Due = "escrow" if term.account == "escrow" else "stake"
            payee = Payee(due, term.owner, amount_sat, term.payout_script, key)
            if amount_sat - fee_sat(self._added_vb(payee) + FRAME_VB, self.rate_msat) >= dust_sat(payee.script):
                found.append(payee)
        return sorted(found, key=lambda payee: (payee.due, payee.owner))[:PAYEES_MAX]

    def _added_vb(self, payee: Payee) -> int:
        return 9 + len(payee.script) + DRAW_VB * max(1, len(self._coins(payee.key)))

    def _slashed(self) -> dict[str, int]:
        """Stake that was forfeited and is worth the moving, by worker, in sat."""
        leaving = {payee.key for payee in self.leaving}
        least_sat = fee_sat(DRAW_VB, self.rate_msat) * PPM // FEE_PPM
        found = {}
        for worker, amount_msat in sorted(self.books.slashed_msat.items()):
            amount_sat = amount_msat // MSAT_PER_SAT
            wanted = amount_sat >= least_sat or worker in leaving or worker in self.books.lapsed
            if amount_sat and wanted and self._coins(worker):
                found[worker] = amount_sat
        return found

    def _coins(self, key: str) -> tuple[Held, ...]:
        """What is spent of an account: its largest outputs."""
        coins = sorted(self.books.coins_of(key), key=lambda coin: (-coin.value_sat, coin.outpoint))
        return tuple(coins[:COINS_MAX])

    # -------------------------------------------------------------------------------------------- what it is drawn from
    def settled(self) -> "_Draft":
        """The draft with everything in balance.

        Raises:
            NothingToPay: With the reason.
        """
        reason = "nobody has enough due"
        while True:
            if not (self.rewards or self.market_sat or self.leaving or self.slashed):
                raise NothingToPay(reason=reason)
            short_sat = self._balance()
            if short_sat > 0:
                reason = "the outputs that it would be paid from hold too little"
                self._shorten(short_sat)
                continue
            problem = self._too_dear()
            if not problem:
                return self
            reason = problem
            self.rewards, self.market_sat, self.slashed, self.urgent = [], 0, {}, False

    def _shorten(self, short_sat: int) -> None:
        """Pay less: the market waits first, then those with the smallest rewards."""
        if self.market_sat or not self.rewards:
            self.market_sat, self.slashed = 0, self.slashed if self.rewards else {}
        else:
            while self.rewards and short_sat > 0:
                short_sat -= self.rewards.pop().amount_sat

    def _balance(self) -> int:
        """Draw what is needed, fees included; what is missing, in sat."""
        self.fund_sat = self.reserve_sat = 0
        for _ in range(10):
            paid_sat = sum(payee.amount_sat for payee in self.rewards) + self.market_sat
            short_sat = self._draw(paid_sat + self.fund_sat)
            if short_sat:
                return short_sat
            self.fees_sat, fund_sat = self._fees()
            if fund_sat == self.fund_sat:
                return 0
            self.fund_sat = fund_sat
        return 1

    def _draw(self, wanted_sat: int) -> int:
        """Choose sources for the pool; those of owners who leave, of slashes and of ending terms are drawn anyhow.

        Returns:
            What is missing of ``wanted_sat``, or what would be left over as dust.
        """
        due = {payee.key: payee.amount_sat for payee in self.leaving}
        forced = {key for key in self.books.lapsed if self.books.undrawn_msat.get(key)} if self.urgent else set()
        chosen: list[tuple[Source, int]] = []
        got_sat = 0
        for source in self._candidates(due, wanted_sat):
            must = source.key in forced or source.term.account != "escrow"
            drawn_sat = source.legal(source.pool_sat if must else max(0, wanted_sat - got_sat))
            if drawn_sat or source.due_sat:
                chosen.append((source, drawn_sat))
                got_sat += drawn_sat
        self.sources = chosen
        self.reserve_sat = got_sat - wanted_sat
        if 0 < self.reserve_sat < CHANGE_MIN_SAT:
            return self._give_back(self.reserve_sat)
        return max(0, -self.reserve_sat)

    def _give_back(self, extra_sat: int) -> int:
        """Draw so much less, where it can be; returns what still has to be got rid of."""
        for place, (source, drawn_sat) in enumerate(self.sources):
            less_sat = source.legal(drawn_sat - extra_sat) if drawn_sat >= extra_sat else 0
            if drawn_sat - less_sat == extra_sat:
                self.sources[place] = (source, less_sat)
                self.reserve_sat = 0
                return 0
        return extra_sat

    def _candidates(self, due: dict[str, int], wanted_sat: int) -> list[Source]:
        """Every account that could give something: ending terms first, then those with most to give."""
        found = []
        pool = {key: msat // MSAT_PER_SAT for key, msat in self.books.undrawn_msat.items()} if wanted_sat else {}
        for key in sorted({*pool, *due, *self.slashed}):
            term, coins = self.books.term_of(key), self._coins(key)
            if term is not None and coins:
                pool_sat = self.slashed.get(key, 0) if term.account == "stake" else pool.get(key, 0)
                found.append(Source(key, term, coins, pool_sat, due.get(key, 0)))
        reserve = tuple(self.books.coins_of(RESERVE))
        carried_sat = self.books.reserve_sat - self.books.forfeited_msat // MSAT_PER_SAT
        if reserve and (self.slashed or carried_sat >= fee_sat(DRAW_VB, self.rate_msat) * PPM // FEE_PPM):
            term = Term("reserve", "", self._reserve_witness, 0, b"")
            found.append(Source(RESERVE, term, reserve, sum(coin.value_sat for coin in reserve)))
        lapsed = self.books.lapsed
        found.sort(key=lambda one: (one.term.account != "escrow", one.key not in lapsed, -one.pool_sat, one.key))
        anyhow = [one for one in found if one.term.account != "escrow" or one.due_sat]
        return [one for one in found if one not in anyhow][:PAYEES_MAX // 10] + anyhow

    # ---------------------------------------------------------------------------------------------------- what it costs
    def _fees(self) -> tuple[tuple[int, ...], int]:
        """The fee at each rung that can be paid, and what the fund bears of the last."""
        vsize = self._vsize()
        allotted = self.allotments(1)
        fees, fund_sat = [], 0
        for rung in range(len(LADDER)):
            borne = [payout.borne_sat(one, self.rate_msat, rung) for one in allotted]
            whole_sat = max(fee_sat(vsize, self.rate_msat * LADDER[rung]), sum(borne))
            bears_sat = whole_sat - sum(borne)
            left = all(one.amount_sat - sat >= dust_sat(bytes.fromhex(one.script)) for one, sat in zip(allotted, borne, strict=True))
            if rung and not (left and self._may_rise(bears_sat - fund_sat, bears_sat)):
                break
            fees.append(whole_sat)
            fund_sat = bears_sat
        return tuple(fees), fund_sat

    def _may_rise(self, more_sat: int, bears_sat: int) -> bool:
        """Whether the fund can bear a dearer rung, and an escrow's change take back what a cheaper one leaves."""
        if not more_sat:
            return True
        first = self.sources[0] if self.sources else None
        absorbs = first is not None and first[0].term.account == "escrow" and self._change_sat(*first) > 0
        return absorbs and bears_sat * MSAT_PER_SAT <= self.books.fund_msat

    def _too_dear(self) -> str:
        """Why it must not be paid now, if so."""
        bears_sat = self.fees_sat[0] - sum(payout.borne_sat(one, self.rate_msat, 0) for one in self.allotments(1))
        paid_sat = sum(payee.amount_sat for payee in self.rewards) + self.market_sat + sum(self.slashed.values())
        if bears_sat * MSAT_PER_SAT > self.books.fund_msat:
            return f"the fee is {bears_sat} sat, the fund for miners holds {self.books.fund_msat // MSAT_PER_SAT}"
        if not self.urgent and bears_sat * PPM > paid_sat * FEE_PPM:
            return f"the fee of {bears_sat} sat is more than 2 % of the {paid_sat} sat that it would pay"
        return ""

    def _vsize(self) -> int:
        inputs = [len(coin.term.witness_script) for source, _ in self.sources for coin in source.coins]
        outputs = [payee.script for payee in (*self.rewards, *self.leaving)]
        assert self.books.chain is not None
        if self.market_sat:
            outputs.append(bytes.fromhex(self.books.chain.market_script))
        outputs.append(op_return(bytes(32)))
        changes = sum(self._change_sat(source, drawn_sat) > 0 for source, drawn_sat in self.sources)
        outputs += [self.reserve] * (changes + bool(self.reserve_sat))
        return payout_vsize(inputs, outputs)

    # ------------------------------------------------------------------------------------------------- as events say it
    def allotments(self, epoch: int) -> list[PayoutAllotted]:
        """What each payee gets, in the order of the outputs."""
        drawn = {source.key for source, pool_sat in self.sources if pool_sat}
        frame_vb = 0 if self.rewards or self.market_sat or self.slashed else -(-FRAME_VB // max(1, len(self.leaving)))
        found = []
        for payee in self.rewards:
            paid = tuple(shares(self.books, payee.owner, payee.amount_sat * MSAT_PER_SAT))
            found.append(PayoutAllotted(epoch, "reward", payee.owner, payee.amount_sat, 0, payee.script.hex(), paid))
        for payee in self.leaving:
            own_vb = 9 + len(payee.script) if payee.key in drawn else self._added_vb(payee)
            found.append(
                PayoutAllotted(epoch, payee.due, payee.owner, payee.amount_sat, own_vb + frame_vb, payee.script.hex())
            )
        return payout.in_order(found)

    def _change_sat(self, source: Source, pool_sat: int) -> int:
        return source.value_sat - source.due_sat - pool_sat

    def drawn(self) -> tuple[Drawn, ...]:
        return tuple(self._drawn(source, pool_sat) for source, pool_sat in self.sources)

    def _drawn(self, source: Source, pool_sat: int) -> Drawn:
        script = self.reserve if source.key == RESERVE else source.term.script
        account: Account = source.term.account
        spent = tuple(Coin(coin.outpoint, coin.value_sat) for coin in source.coins)
        change_sat = self._change_sat(source, pool_sat)
        return Drawn(account, source.term.owner, spent, source.due_sat, pool_sat, change_sat, script.hex())


def shares(books: Books, worker: str, amount_msat: int) -> Iterable[Paid]:
    """The work that a reward pays for, what was earned first first."""
    for job, earned_msat in books.earned_msat[worker].items():
        taken_msat = min(amount_msat, earned_msat)
        if taken_msat:
            yield Paid(job, taken_msat)
        amount_msat -= taken_msat
        if not amount_msat:
            return
