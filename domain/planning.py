"""What the next payout pays: decided by the books, a fee rate and a root alone, so that the arbiter finds the same.

- A worker is paid when what it has earned is worth an output: at most 2 % of it may go to the miners.
- The market's fund for miners bears the fee of rewards and slashes, and no more than 2 % of them; who takes its own
  money out bears what that adds.
- An account whose term is ending is emptied: what its workers earned is paid from dust upward, the rest is kept in
  reserve, and free money goes back to its owner.
- An output holds nothing, or at least ``CHANGE_MIN_SAT``.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec.structs import replace

from domain import payout
from domain.bitcoin import dust_sat, op_return, p2wsh, payout_vsize, reserve_script
from domain.books import RESERVE, Books, Held, Term
from domain.errors import Refused
from domain.events import ChainJoined, Coin, Drawn, Due, Paid, PayoutAllotted, PayoutPlanned
from domain.money import MSAT_PER_SAT, PPM
from domain.payout import LADDER, fee_sat

#: The most of what is paid that may go to the miners.
FEE_PPM: Final = 20_000
CHANGE_MIN_SAT: Final = 330
#: Nodes relay no transaction above 400,000 weight units.
VSIZE_MAX: Final = 99_900
#: Outputs of one account that one payout spends, jobs that one reward is paid for, escrows that one payout draws from.
COINS_MAX, JOBS_MAX, ESCROWS_MAX = 20, 2_000, 250
#: What a P2WPKH output adds; what spending an output of a script account and making another adds, rounded up.
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
        forced: All that the pool may have is drawn, needed or not.
    """

    key: str
    term: Term
    coins: tuple[Held, ...]
    pool_sat: int
    due_sat: int
    forced: bool

    @property
    def value_sat(self) -> int:
        return sum(coin.value_sat for coin in self.coins)

    def legal(self, wanted_sat: int) -> int:
        """The most that can be drawn, up to ``wanted_sat``, so that the change is no dust."""
        rest_sat = self.value_sat - self.due_sat
        most_sat = max(0, min(wanted_sat, self.pool_sat, rest_sat))
        if rest_sat == most_sat or rest_sat - most_sat >= CHANGE_MIN_SAT:
            return most_sat
        return max(0, rest_sat - CHANGE_MIN_SAT)


class Draw(NamedTuple):
    """What is taken of a source."""

    source: Source
    pool_sat: int

    @property
    def change_sat(self) -> int:
        return self.source.value_sat - self.source.due_sat - self.pool_sat


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
    draft = _Draft.balanced(books, market, rate_msat)
    allotted = draft.allotments(epoch)
    planned = PayoutPlanned(
        epoch=epoch,
        height=books.height,
        rate_msat=rate_msat,
        fees_sat=draft.fees_sat,
        fund_sat=draft.fund_sat,
        drawn=draft.drawn(),
        market_sat=draft.market_sat,
        market_script=draft.market_script,
        reserve_sat=draft.reserve_sat,
        reserve_script=draft.reserve.hex(),
        size=size,
        root=root,
        receipts=payout.receipts_root(allotted),
        previous=books.anchor,
        anchor=books.anchor,
    )
    said = payout.anchor(market, epoch, size, root, planned.receipts, planned.previous)
    return replace(planned, anchor=said), allotted


def verify_due(books: Books, market: str, rate_msat: int) -> None:
    """Find out whether ``plan`` would plan a payout, for a part of the work.

    Raises:
        NothingToPay: With the reason.
    """
    _Draft.balanced(books, market, rate_msat)


class _Draft:
    """A payout on its way: whom it pays, what it draws from, what it costs."""

    @classmethod
    def balanced(cls, books: Books, market: str, rate_msat: int) -> "_Draft":
        """A payout that can be paid.

        Raises:
            NothingToPay: With the reason.
        """
        if books.chain is None:
            raise NothingToPay(reason="the market has not joined a chain")
        if books.open_payouts:
            raise NothingToPay(reason=f"payout {books.open_payouts[0]} is not settled yet")
        draft = cls(books, books.chain, market, rate_msat)
        draft.settle()
        return draft

    def __init__(self, books: Books, chain: ChainJoined, market: str, rate_msat: int) -> None:
        self.books, self.rate_msat, self.market_script = books, rate_msat, chain.market_script
        keys = bytes.fromhex(chain.market_key), bytes.fromhex(chain.arbiter_key)
        self._reserve_term = Term("reserve", market, reserve_script(*keys), 0, b"")
        self.reserve = p2wsh(self._reserve_term.witness_script)
        self._coins = _largest_coins(books)
        self.urgent = any(books.undrawn_msat.get(key) for key in books.lapsed)
        self.leaving = self._leaving()
        self.slashed = self._slashed()
        self.rewards, self.market_sat = self._rewards()
        self.fund_sat = self.reserve_sat = 0
        self.fees_sat: tuple[int, ...] = ()
        self.draws: list[Draw] = []

    # ----------------------------------------------------------------------------------------------------- who is paid
    def _rewards(self) -> tuple[list[Payee], int]:
        """Workers whose reward is worth an output, the largest first, and the market's own part."""
        least_sat = CHANGE_MIN_SAT if self.urgent else minimum_sat(self.rate_msat)
        found = []
        for worker, by_job in self.books.earned_msat.items():
            term = self.books.term_of(worker)
            amount_sat = sum(list(by_job.values())[:JOBS_MAX]) // MSAT_PER_SAT
            if term is not None and amount_sat >= least_sat:
                found.append(Payee("reward", worker, amount_sat, term.payout_script))
        found.sort(key=lambda payee: (-payee.amount_sat, payee.owner))
        market_sat = self.books.fees_msat // MSAT_PER_SAT
        return found[: VSIZE_MAX // OUTPUT_VB], market_sat if market_sat >= least_sat else 0

    def _leaving(self) -> list[Payee]:
        """Owners who take their own money out; what workers earned goes before them."""
        found = []
        for key, amount_msat in self.books.leaving_msat.items():
            term, coins = self.books.term_of(key), self._coins.get(key, ())
            if term is None or not amount_msat or not coins:
                continue
            value_sat = sum(coin.value_sat for coin in coins)
            others_sat = -(-(self.books.undrawn_msat.get(key, 0) + self.books.slashed_msat.get(key, 0)) // MSAT_PER_SAT)
            amount_sat = min(amount_msat // MSAT_PER_SAT, value_sat - others_sat)
            if 0 < value_sat - amount_sat < CHANGE_MIN_SAT:
                amount_sat = value_sat - CHANGE_MIN_SAT
            due: Due = "escrow" if term.account == "escrow" else "stake"
            payee = Payee(due, term.owner, amount_sat, term.payout_script, key)
            borne_sat = fee_sat(self._added_vb(payee) + FRAME_VB, self.rate_msat)
            if amount_sat - borne_sat >= dust_sat(payee.script):
                found.append(payee)
        return sorted(found, key=lambda payee: (payee.due, payee.owner))[:ESCROWS_MAX]

    def _added_vb(self, payee: Payee) -> int:
        """What paying it adds if nothing else is drawn from its account."""
        return 9 + len(payee.script) + DRAW_VB * len(self._coins[payee.key])

    def _slashed(self) -> dict[str, int]:
        """Stake that was forfeited and is worth the moving, by worker, in sat."""
        leaving = {payee.key for payee in self.leaving}
        least_sat = fee_sat(DRAW_VB, self.rate_msat) * PPM // FEE_PPM
        found = {}
        for worker, amount_msat in sorted(self.books.slashed_msat.items()):
            amount_sat = amount_msat // MSAT_PER_SAT
            wanted = amount_sat >= least_sat or worker in leaving or worker in self.books.lapsed
            if amount_sat and wanted and worker in self._coins:
                found[worker] = amount_sat
        return found

    # ------------------------------------------------------------------------------------------- until it is in balance
    def settle(self) -> None:
        """Find what to draw and what it costs; pay less where that cannot be.

        Raises:
            NothingToPay: With the reason.
        """
        reason = "nobody has enough due"
        while self.rewards or self.market_sat or self.leaving or self.slashed:
            short_sat = self._balance()
            if short_sat:
                reason = "the outputs that it would be paid from hold too little"
                self._pay_less(short_sat)
            elif (excess_vb := self._vsize() - VSIZE_MAX) > 0:
                reason = "it would be larger than nodes relay"
                self._pay_fewer(-(-excess_vb // OUTPUT_VB))
            elif problem := self._too_dear():
                reason = problem
                self._forgo()
            elif not self.draws:
                break
            else:
                return
        raise NothingToPay(reason=reason)

    def _pay_less(self, short_sat: int) -> None:
        """The market waits first, then those with the smallest rewards, then slashes, then owners."""
        if self.market_sat:
            self.market_sat = 0
        elif self.rewards:
            while self.rewards and short_sat > 0:
                short_sat -= self.rewards.pop().amount_sat
        elif self.slashed:
            self.slashed = {}
        else:
            self.leaving.pop()

    def _pay_fewer(self, payees: int) -> None:
        if self.rewards:
            del self.rewards[-payees:]
        elif self.slashed:
            self.slashed = {}
        else:
            del self.leaving[-payees:]

    def _forgo(self) -> None:
        """Pay nothing that the fund for miners would have to bear."""
        if not (self.rewards or self.market_sat or self.slashed):
            self.leaving = []
        self.rewards, self.market_sat, self.slashed, self.urgent = [], 0, {}, False

    def _balance(self) -> int:
        """Draw what is needed, fees included; returns what is missing, in sat."""
        self.fund_sat = 0
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
        """Choose what to draw for the pool; more than is wanted goes to the reserve.

        Returns:
            What is missing of ``wanted_sat``, or what would be left over as dust.
        """
        draws, got_sat = [], 0
        for source in self._sources(wanted_sat):
            pool_sat = source.legal(source.pool_sat if source.forced else wanted_sat - got_sat)
            if pool_sat or source.due_sat:
                draws.append(Draw(source, pool_sat))
                got_sat += pool_sat
        self.draws, self.reserve_sat = draws, max(0, got_sat - wanted_sat)
        if 0 < self.reserve_sat < CHANGE_MIN_SAT:
            return self._draw_less(self.reserve_sat)
        return max(0, wanted_sat - got_sat)

    def _draw_less(self, extra_sat: int) -> int:
        """Leave so much where it is, if it can be; returns what still has to go somewhere."""
        for place, (source, pool_sat) in enumerate(self.draws):
            if pool_sat >= extra_sat and source.legal(pool_sat - extra_sat) == pool_sat - extra_sat:
                self.draws[place] = Draw(source, pool_sat - extra_sat)
                if pool_sat == extra_sat and not source.due_sat:
                    del self.draws[place]
                self.reserve_sat = 0
                return 0
        return extra_sat

    def _sources(self, wanted_sat: int) -> list[Source]:
        """Every account that could give: those that must, then ending terms, then those with most to give."""
        books = self.books
        due = {payee.key: payee.amount_sat for payee in self.leaving}
        pool = {key: msat // MSAT_PER_SAT for key, msat in books.undrawn_msat.items() if msat} if wanted_sat else {}
        found = []
        for key in sorted({*pool, *due, *self.slashed} & self._coins.keys()):
            term = books.term_of(key)
            assert term is not None, "an account with outputs has a script"
            staked = term.account == "stake"
            pool_sat = self.slashed.get(key, 0) if staked else pool.get(key, 0)
            forced = staked or (self.urgent and key in books.lapsed)
            found.append(Source(key, term, self._coins[key], pool_sat, due.get(key, 0), forced))
        found += self._reserve_source()
        found.sort(key=lambda one: (one.term.account != "escrow", not one.forced, -one.pool_sat, one.key))
        must = [one for one in found if one.forced or one.due_sat]
        may = [one for one in found if not (one.forced or one.due_sat)][:ESCROWS_MAX]
        return sorted(must + may, key=lambda one: one.term.account != "escrow")

    def _reserve_source(self) -> list[Source]:
        """The reserve, where it is touched anyhow or holds enough that is not forfeited."""
        coins = self._coins.get(RESERVE, ())
        carried_sat = self.books.reserve_sat - self.books.forfeited_msat // MSAT_PER_SAT
        if not coins or not (self.slashed or carried_sat * FEE_PPM >= fee_sat(DRAW_VB, self.rate_msat) * PPM):
            return []
        return [Source(RESERVE, self._reserve_term, coins, sum(coin.value_sat for coin in coins), 0, True)]

    # ---------------------------------------------------------------------------------------------------- what it costs
    def _fees(self) -> tuple[tuple[int, ...], int]:
        """The fee at each rung that can be paid, and what the fund bears of the last."""
        vsize, borne_vb = self._vsize(), [(payee, self._borne_vb(payee)) for payee in self.leaving]
        fees: list[int] = []
        fund_sat = 0
        for multiple in LADDER:
            rate_msat = self.rate_msat * multiple
            borne = [(payee, fee_sat(vb, rate_msat)) for payee, vb in borne_vb]
            borne_sat = sum(sat for _, sat in borne)
            whole_sat = max(fee_sat(vsize, rate_msat), borne_sat)
            paid = all(payee.amount_sat - sat >= dust_sat(payee.script) for payee, sat in borne)
            if fees and not (paid and self._may_rise(fund_sat, whole_sat - borne_sat)):
                break
            fees.append(whole_sat)
            fund_sat = whole_sat - borne_sat
        return tuple(fees), fund_sat

    def _may_rise(self, from_sat: int, to_sat: int) -> bool:
        """Whether the fund can bear a dearer rung, and an escrow's change take back what a cheaper one leaves."""
        if from_sat == to_sat:
            return True
        first = self.draws[0] if self.draws else None
        absorbs = first is not None and first.source.term.account == "escrow" and first.pool_sat and first.change_sat
        return bool(absorbs) and to_sat * MSAT_PER_SAT <= self.books.fund_msat

    def _too_dear(self) -> str:
        """Why it must not be paid now, if so."""
        borne_sat = sum(fee_sat(self._borne_vb(payee), self.rate_msat) for payee in self.leaving)
        bears_sat, fund_sat = self.fees_sat[0] - borne_sat, self.books.fund_msat // MSAT_PER_SAT
        paid_sat = sum(payee.amount_sat for payee in self.rewards) + self.market_sat + sum(self.slashed.values())
        if bears_sat > fund_sat:
            return f"the fee is {bears_sat} sat, and the fund for miners holds {fund_sat} sat"
        if not self.urgent and bears_sat * PPM > paid_sat * FEE_PPM:
            return f"the fee of {bears_sat} sat is more than 2 % of the {paid_sat} sat that it would pay"
        return ""

    def _vsize(self) -> int:
        inputs = [len(coin.term.witness_script) for draw in self.draws for coin in draw.source.coins]
        outputs = [payee.script for payee in (*self.rewards, *self.leaving)]
        if self.market_sat:
            outputs.append(bytes.fromhex(self.market_script))
        outputs.append(op_return(bytes(32)))
        changes = sum(draw.change_sat > 0 for draw in self.draws)
        outputs += [self.reserve] * (changes + bool(self.reserve_sat))
        return payout_vsize(inputs, outputs)

    def _borne_vb(self, payee: Payee) -> int:
        """What its owner bears: what it adds, and its part of the frame where the pool pays nothing."""
        shared = self.rewards or self.market_sat or self.slashed
        frame_vb = 0 if shared else -(-FRAME_VB // len(self.leaving))
        drawn = any(draw.source.key == payee.key and draw.pool_sat for draw in self.draws)
        return frame_vb + (9 + len(payee.script) if drawn else self._added_vb(payee))

    # ------------------------------------------------------------------------------------------------- as events say it
    def allotments(self, epoch: int) -> list[PayoutAllotted]:
        """What each payee gets, in the order of the outputs."""
        found = [
            PayoutAllotted(
                epoch,
                payee.due,
                payee.owner,
                payee.amount_sat,
                self._borne_vb(payee) if payee.key else 0,
                payee.script.hex(),
                () if payee.key else tuple(_shares(self.books, payee.owner, payee.amount_sat * MSAT_PER_SAT)),
            )
            for payee in (*self.rewards, *self.leaving)
        ]
        return payout.in_order(found)

    def drawn(self) -> tuple[Drawn, ...]:
        """What is taken of each account."""
        found = []
        for draw in self.draws:
            source = draw.source
            spent = tuple(Coin(coin.outpoint, coin.value_sat) for coin in source.coins)
            owner, script = source.term.owner, source.term.script.hex()
            found.append(
                Drawn(source.term.account, owner, spent, source.due_sat, draw.pool_sat, draw.change_sat, script)
            )
        return tuple(found)


def _largest_coins(books: Books) -> dict[str, tuple[Held, ...]]:
    """What may be spent of each account: its largest outputs that nothing is about to spend."""
    found: defaultdict[str, list[Held]] = defaultdict(list)
    for coin in books.coins.values():
        if not coin.epoch:
            found[coin.key].append(coin)
    return {
        key: tuple(sorted(coins, key=lambda coin: (-coin.value_sat, coin.outpoint))[:COINS_MAX])
        for key, coins in found.items()
    }


def _shares(books: Books, worker: str, amount_msat: int) -> Iterable[Paid]:
    """The work that a reward pays for, what was earned first first."""
    for job, earned_msat in books.earned_msat[worker].items():
        taken_msat = min(amount_msat, earned_msat)
        if taken_msat:
            yield Paid(job, taken_msat)
        amount_msat -= taken_msat
        if not amount_msat:
            return
