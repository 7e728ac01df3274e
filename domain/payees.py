"""Who is due what out of the next payout: workers, the market, owners who leave, and accounts that must be emptied."""

from typing import Final, NamedTuple

from domain.bitcoin import dust_sat
from domain.books import Books, Term
from domain.drawing import CHANGE_MIN_SAT, CHANGE_VB, FEE_PPM, Draw, Sources
from domain.events import Due
from domain.money import MSAT_PER_SAT, PPM
from domain.payout import fee_sat

#: Workers that one payout pays, jobs that it pays one for, owners and emptied accounts that it serves.
PAYEES_MAX, JOBS_MAX, OWNERS_MAX, EMPTIED_MAX = 3_200, 20_000, 100, 100
#: What an output to a P2WPKH script adds.
OUTPUT_VB: Final = 31
#: What every payout has: version, lock time, counts, and the anchor.
FRAME_VB: Final = 54


class Payee(NamedTuple):
    """Attributes:
    key: The account that it is taken from, where its owner takes it out.
    """

    due: Due
    owner: str
    amount_sat: int
    script: bytes
    key: str = ""

    @property
    def output_vb(self) -> int:
        return 9 + len(self.script)


def minimum_sat(rate_msat: int, output_vb: int = OUTPUT_VB) -> int:
    """The least reward that is paid at this rate: its output's fee is at most 2 % of it."""
    return max(CHANGE_MIN_SAT, -(-fee_sat(output_vb, rate_msat) * PPM // FEE_PPM))


def rewards(books: Books, rate_msat: int) -> list[Payee]:
    """Workers whose reward is worth an output, the largest first."""
    found = []
    for worker, by_job in books.earned_msat.items():
        term = books.term_of(worker)
        amount_sat = sum(list(by_job.values())[:JOBS_MAX]) // MSAT_PER_SAT
        if term is not None:
            payee = Payee("reward", worker, amount_sat, term.payout_script)
            if amount_sat >= minimum_sat(rate_msat, payee.output_vb):
                found.append(payee)
    return sorted(found, key=lambda payee: (-payee.amount_sat, payee.owner))[:PAYEES_MAX]


def owners(books: Books, sources: Sources) -> list[Payee]:
    """Owners who take their own money out; what else the account must hold goes before them."""
    found = []
    for key, leaving_msat in books.leaving_msat.items():
        source = sources.of(key, 0)
        if source is None or leaving_msat < MSAT_PER_SAT:
            continue
        term, held_sat = source.term, sum(coin.value_sat for coin in source.coins)
        free_sat = sources.holds_sat(key) - _kept_sat(books, key, term)
        amount_sat = min(leaving_msat // MSAT_PER_SAT, free_sat, held_sat)
        if 0 < held_sat - amount_sat < CHANGE_MIN_SAT:
            amount_sat = held_sat - CHANGE_MIN_SAT
        due: Due = "escrow" if term.account == "escrow" else "stake"
        payee = Payee(due, term.owner, amount_sat, term.payout_script, key)
        most_vb = FRAME_VB + payee.output_vb + source._replace(due_sat=amount_sat).draw(0).added_vb
        if amount_sat - fee_sat(most_vb, sources.rate_msat) >= dust_sat(payee.script):
            found.append(payee)
    return sorted(found, key=lambda payee: (payee.due, payee.owner))[:OWNERS_MAX]


def _kept_sat(books: Books, key: str, term: Term) -> int:
    """What the account must hold before its owner gets anything, in sat, rounded up.

    An escrow must hold what its jobs may cost, whatever it lost; what a stake lost, its worker has less at stake.
    """
    kept_msat = books.owed_msat.get(key, 0)
    if term.account == "stake":
        kept_msat = max(0, kept_msat - books.missing_msat.get(key, 0))
    return -(-kept_msat // MSAT_PER_SAT)


def emptied(books: Books, sources: Sources, due: dict[str, int]) -> dict[str, int]:
    """Slashes that are worth the moving, and what the pool has where an owner can soon take all; the most of it first.

    Args:
        due: What owners take out, by account, in sat.
    """
    found: list[Draw] = []
    slashed_sat = {key: msat // MSAT_PER_SAT for key, msat in books.slashed_msat.items()}
    for key, pool_sat in (slashed_sat | sources.undrawn_sat).items():
        source = sources.of(key, pool_sat, due.get(key, 0))
        if pool_sat < CHANGE_MIN_SAT or source is None:
            continue
        drawn = source.draw(source.pool_sat)
        added_vb = drawn.added_vb + CHANGE_VB
        worth = source.term.account == "stake" and sources.is_worth(drawn.pool_sat, added_vb)
        saves = drawn.pool_sat > fee_sat(added_vb, sources.rate_msat)
        if worth or (saves and is_unsafe(books, sources, key, pool_sat)):
            found.append(drawn)
    found.sort(key=lambda drawn: (-drawn.pool_sat, drawn.source.key))
    return {one.source.key: one.pool_sat for one in found[:EMPTIED_MAX] if one.pool_sat >= CHANGE_MIN_SAT}


def is_unsafe(books: Books, sources: Sources, key: str, pool_sat: int) -> bool:
    """Whether the owner can take what the pool has in the account before long."""
    risky_sat = books.at_risk_msat(key) // MSAT_PER_SAT
    return books.is_lapsed(key) or 0 < risky_sat > sources.holds_sat(key) - pool_sat
