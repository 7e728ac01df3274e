"""Out of which outputs a payout is paid: fewest first, none that costs more than it is worth, and no dust left over.

Some accounts must be drawn from: those whose owner takes money out, and those that are to be emptied. What is missing
then comes from escrows, first from those with an output whose term is about to end, then from those that have most to
give. What the reserve carries for others than nobody is used up on the way.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from domain.books import RESERVE, Books, Held, Term
from domain.money import MSAT_PER_SAT, PPM
from domain.payout import fee_sat

#: The most of what is paid that may go to the miners.
FEE_PPM: Final = 20_000
#: An output holds nothing, or at least this: no form of output that is paid to is dust then.
CHANGE_MIN_SAT: Final = 330
#: Outputs of one account that one payout spends, and escrows that it draws from without having to.
COINS_MAX, ESCROWS_MAX = 20, 250
#: What spending an output of a script account adds, and what another one of it adds, rounded up.
INPUT_VB, CHANGE_VB = 116, 43
_ACCOUNTS: Final = ("escrow", "stake", RESERVE)


class Source(NamedTuple):
    """An account that a payout can draw from.

    Attributes:
        term: Its newest, to which its change goes.
        coins: In the order in which they are spent.
        rolled: How many of the first are spent if any is: their term is an older one.
        pool_sat: The most that the pool may have of it. due_sat: What its owner gets.
    """

    key: str
    term: Term
    coins: tuple[Held, ...]
    rolled: int
    pool_sat: int
    due_sat: int = 0

    def draw(self, wanted_sat: int) -> "Draw":
        """Up to ``wanted_sat`` for the pool, out of as few outputs as it takes."""
        best = Draw(self, (), 0)
        wanted_sat = min(wanted_sat, self.pool_sat)
        value_sat = 0
        for count, coin in enumerate(self.coins, 1):
            value_sat += coin.value_sat
            rest_sat = value_sat - self.due_sat
            if count < self.rolled or rest_sat < 0:
                continue
            pool_sat = min(wanted_sat, rest_sat)
            if 0 < rest_sat - pool_sat < CHANGE_MIN_SAT:
                pool_sat = rest_sat - CHANGE_MIN_SAT
            if pool_sat < 0:
                continue
            if pool_sat > best.pool_sat or (pool_sat == 0 and not best.coins):
                best = Draw(self, self.coins[:count], pool_sat)
            if best.coins and best.pool_sat == wanted_sat:
                break
        return best


class Draw(NamedTuple):
    """What is taken of a source."""

    source: Source
    coins: tuple[Held, ...]
    pool_sat: int

    @property
    def change_sat(self) -> int:
        return sum(coin.value_sat for coin in self.coins) - self.source.due_sat - self.pool_sat

    @property
    def added_vb(self) -> int:
        """What it adds to the transaction."""
        return INPUT_VB * len(self.coins) + CHANGE_VB * (self.change_sat > 0)

    @property
    def absorbs(self) -> bool:
        """Whether its change can take what a cheaper transaction than planned leaves of the fee."""
        return self.source.term.account == "escrow" and self.pool_sat > 0 and self.change_sat > 0

    def less(self, extra_sat: int) -> "Draw | None":
        """The same with so much left where it is, if it can be."""
        if self.source.term.account == RESERVE or self.pool_sat < extra_sat or not self.change_sat:
            return None
        return self._replace(pool_sat=self.pool_sat - extra_sat)


class Drawing(NamedTuple):
    """What is drawn together.

    Attributes:
        draws: One that absorbs first, if there is any.
        reserve_sat: What goes to the reserve.
        short_sat: What is missing of what was wanted, or of an output to the reserve that is no dust.
    """

    draws: list[Draw]
    reserve_sat: int
    short_sat: int


class Sources:
    """What may be drawn at a fee rate."""

    def __init__(self, books: Books, rate_msat: int, reserve: Term) -> None:
        self._books, self.rate_msat, self._reserve = books, rate_msat, reserve
        self._coins: defaultdict[str, list[Held]] = defaultdict(list)
        for coin in books.coins.values():
            if not coin.epoch:
                self._coins[coin.key].append(coin)
        unsettled_msat = books.unsettled_msat()
        #: By escrow: what the pool has there, in sat.
        self.undrawn_sat = {
            key: (msat - unsettled_msat.get(key, 0)) // MSAT_PER_SAT
            for key, msat in books.undrawn_msat.items()
            if msat - unsettled_msat.get(key, 0) >= MSAT_PER_SAT
        }
        self._escrows = self._find_escrows()

    def holds_sat(self, key: str) -> int:
        """What the account holds in outputs that hold more than spending them costs."""
        return sum(coin.value_sat for coin in self._spendable(key))

    def of(self, key: str, pool_sat: int, due_sat: int = 0) -> Source | None:
        """An account that must be drawn from, if it can be."""
        coins = self._spendable(key)
        return self._source(key, coins, pool_sat, due_sat) if coins else None

    def _spendable(self, key: str) -> list[Held]:
        return [coin for coin in self._coins.get(key, ()) if coin.value_sat > fee_sat(INPUT_VB, self.rate_msat)]

    def is_worth(self, amount_sat: int, vsize: int) -> bool:
        """Whether so much may cost so many virtual bytes."""
        return fee_sat(vsize, self.rate_msat) * PPM <= amount_sat * FEE_PPM

    def _source(self, key: str, coins: Sequence[Held], pool_sat: int, due_sat: int = 0) -> Source:
        term = self._books.term_of(key) if key != RESERVE else self._reserve
        assert term is not None, "an account with outputs has a script"
        rolled = {coin.outpoint for coin in coins if coin.term != term and self.is_worth(coin.value_sat, INPUT_VB)}
        order = sorted(coins, key=lambda coin: (coin.outpoint not in rolled, -coin.value_sat, coin.outpoint))
        first = tuple(order[:COINS_MAX])
        return Source(key, term, first, sum(coin.outpoint in rolled for coin in first), pool_sat, due_sat)

    def _find_escrows(self) -> list[Source]:
        """Escrows in which the pool has enough to be worth drawing, in the order in which they are drawn."""
        found = []
        for key, undrawn_sat in self.undrawn_sat.items():
            coins = [coin for coin in self._coins.get(key, ()) if self.is_worth(coin.value_sat, INPUT_VB)]
            source = self._source(key, coins, undrawn_sat) if coins else None
            if source is not None and self._has_enough(source):
                found.append(source)
        return sorted(found, key=lambda one: (not self._books.at_risk_msat(one.key), -one.pool_sat, one.key))

    # --------------------------------------------------------------------------------------------------------- drawing
    def draw(self, wanted_sat: int, due: Mapping[str, int], emptied: Mapping[str, int]) -> Drawing:
        """Take so much for the pool.

        Args:
            due: What owners get out of their accounts. emptied: What the pool gets of accounts, wanted or not.
        """
        draws: list[Draw] = []
        kept_sat = got_sat = 0
        for key in sorted(emptied):
            drawn = self._must(key, emptied[key], due.get(key, 0)).draw(emptied[key])
            draws.append(drawn)
            if drawn.source.term.account == "stake":
                kept_sat += drawn.pool_sat  # nobody's yet
            else:
                got_sat += drawn.pool_sat
        if wanted_sat > got_sat and (carried := self._carried()):
            drawn, carried_sat = carried
            draws.append(drawn)
            kept_sat += drawn.pool_sat - carried_sat
            got_sat += carried_sat
        for key in sorted(due.keys() - emptied.keys()):
            draws.append(self._owners(key, due[key], wanted_sat - got_sat))
            got_sat += draws[-1].pool_sat
        for source in [one for one in self._escrows if one.key not in due and one.key not in emptied][:ESCROWS_MAX]:
            if got_sat >= wanted_sat:
                break
            drawn = source.draw(wanted_sat - got_sat)
            if self._pays(drawn):
                draws.append(drawn)
                got_sat += drawn.pool_sat
        draws = [drawn for drawn in draws if drawn.coins]
        draws.sort(key=lambda one: (_rank(one), one.source.key in emptied, one.source.key))
        return _without_dust(draws, kept_sat + max(0, got_sat - wanted_sat), max(0, wanted_sat - got_sat))

    def _must(self, key: str, pool_sat: int, due_sat: int) -> Source:
        found = self.of(key, pool_sat, due_sat)
        assert found is not None, "what must be drawn was looked at before"
        return found

    def _owners(self, key: str, due_sat: int, wanted_sat: int) -> Draw:
        """What an owner takes out, and what the pool takes along where it is worth what that adds."""
        source = self._must(key, self.undrawn_sat.get(key, 0), due_sat)
        both = source.draw(max(0, wanted_sat))
        return both if self._has_enough(source) and self._pays(both) else source.draw(0)

    def _has_enough(self, source: Source) -> bool:
        """Whether all that the pool has there is worth what it costs."""
        whole = source.draw(source.pool_sat)
        return self.is_worth(whole.pool_sat, whole.added_vb)

    def _pays(self, drawn: Draw) -> bool:
        """Whether it brings more than it costs: the last account is drawn for no more than is missing."""
        return drawn.pool_sat > fee_sat(drawn.added_vb, self.rate_msat)

    def _carried(self) -> tuple[Draw, int] | None:
        """Out of the reserve what is not forfeited, and how much that is; only if it is worth it."""
        books = self._books
        slashed_msat = sum(books.slashed_msat.values())
        carried_sat = books.reserve_sat - (books.forfeited_msat - slashed_msat) // MSAT_PER_SAT
        coins = sorted(self._coins.get(RESERVE, ()), key=lambda coin: (-coin.value_sat, coin.outpoint))
        spent: list[Held] = []
        while coins and sum(coin.value_sat for coin in spent) < carried_sat and len(spent) < COINS_MAX:
            spent.append(coins.pop(0))
        value_sat = sum(coin.value_sat for coin in spent)
        carried_sat = min(carried_sat, value_sat)
        if not spent or not self.is_worth(carried_sat, INPUT_VB * len(spent) + CHANGE_VB):
            return None
        return Draw(Source(RESERVE, self._reserve, tuple(spent), 0, value_sat), tuple(spent), value_sat), carried_sat


def _rank(drawn: Draw) -> tuple[int, bool]:
    return _ACCOUNTS.index(drawn.source.term.account), not drawn.absorbs


def _without_dust(draws: list[Draw], reserve_sat: int, short_sat: int) -> Drawing:
    """Where the reserve would get too little for an output, as much is left where it is."""
    if not 0 < reserve_sat < CHANGE_MIN_SAT:
        return Drawing(draws, reserve_sat, short_sat)
    for place, drawn in enumerate(draws):
        less = drawn.less(reserve_sat)
        if less is not None:
            return Drawing([*draws[:place], less, *draws[place + 1 :]], 0, short_sat)
    return Drawing(draws, reserve_sat, short_sat + CHANGE_MIN_SAT - reserve_sat)
