"""Whatever is due out of whatever outputs at whatever rate: what is planned is in balance, and pays no dust."""

from hypothesis import given, settings
from hypothesis import strategies as st

from domain import bitcoin, payout, planning
from domain.accounts import SAFETY_BLOCKS
from domain.books import Books
from domain.drawing import FEE_PPM
from domain.events import (
    ChainAdvanced,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    PayoutPlanned,
    StakeDeposited,
    StakeOpened,
    StakeSlashed,
    StakeWithdrawn,
)
from domain.ids import escrow_id
from domain.money import PPM
from domain.planning import VSIZE_MAX, NothingToPay
from services.settlement.follower import fold
from tests.blocks import digest, p2wpkh, point
from tests.onchain import JOINED, OnChain, check_pool, join_chain
from tests.spec import OPERATOR, key

SATS = st.one_of(st.integers(117, 20_000), st.integers(20_000, 200_000), st.integers(200_000, 2_000_000))
RATES = st.sampled_from((1, 100, 999, 1_000, 1_000, 1_001, 3_333, 20_000, 200_000))
KEYS = point("release"), point("refund"), point("market"), point("arbiter")
CLIENTS, WORKERS = [key(letter) for letter in "ABCDEF"], [key(letter) for letter in "GHIJKLMN"]
#: When an account's term ends, seen from the tip: long ago, about to, or not for a long time.
ENDS = st.sampled_from((-5, 40, 5_000, 5_000, 5_000))


def joined() -> Books:
    books = Books()
    for event in OnChain().send(OPERATOR, join_chain()):
        fold(books, event)
    fold(books, ChainAdvanced(JOINED + 1_000, digest("tip")))
    return books


@st.composite
def some_books(draw: st.DrawFn) -> Books:
    """Accounts with outputs, work that was paid out of escrows, slashes, and owners who leave."""
    books = joined()
    for number, client in enumerate(CLIENTS[: draw(st.integers(1, 6))]):
        account = escrow_id(client)
        for term in range(draw(st.integers(1, 2))):
            ends = books.height + draw(ENDS)
            fold(books, EscrowOpened(account, client, *KEYS, ends + number, p2wpkh(client)))
            for sat in draw(st.lists(SATS, max_size=5)):
                vout = len(books.coins)
                fold(books, EscrowFunded(account, client, sat * 1_000, digest("paid in"), vout, JOINED, term))
    for worker in WORKERS[: draw(st.integers(1, 8))]:
        if draw(st.integers(0, 9)):
            paid_to = draw(st.sampled_from((p2wpkh(worker), "0020" + digest(worker), "5120" + digest(worker))))
            fold(books, StakeOpened(worker, *KEYS, books.height + draw(ENDS), paid_to))
            for sat in draw(st.lists(SATS, max_size=3)):
                fold(books, StakeDeposited(worker, sat * 1_000, digest("staked"), len(books.coins), JOINED, 0))
    for key_ in list(books.terms):
        spend(draw, books, key_)
    return books


def spend(draw: st.DrawFn, books: Books, account: str) -> None:
    """What the account holds is earned, set aside, slashed or taken out; some of it stays free."""
    left_msat = sum(coin.value_sat for coin in books.coins_of(account)) * 1_000
    for number in range(draw(st.integers(1, 5))):
        amount_msat = left_msat * draw(st.sampled_from((1, 333, 500, 500, 1_000))) // 1_000
        if not amount_msat:
            return
        left_msat -= amount_msat
        job = digest(account, number)[:24]
        if account in WORKERS:
            event = draw(
                st.sampled_from((StakeSlashed(account, job, 0, amount_msat), StakeWithdrawn(account, amount_msat)))
            )
            fold(books, event)
            continue
        match draw(st.sampled_from(("earn",) * 8 + ("reserve", "refund"))):
            case "earn":
                fee_msat = amount_msat * draw(st.sampled_from((0, 20, 60, 300))) // 1_000
                fold(books, EscrowReserved(account, job, amount_msat))
                if amount_msat > fee_msat:
                    worker = draw(st.sampled_from(WORKERS))
                    fold(books, EscrowReleased(account, job, 0, 0, worker, amount_msat - fee_msat))
                if fee_msat:
                    fold(books, FeeCharged(account, job, fee_msat, fee_msat * draw(st.integers(1, 4)) // 4))
            case "reserve":
                fold(books, EscrowReserved(account, job, amount_msat))
            case "refund":
                fold(books, EscrowRefunded(account, amount_msat))


@settings(max_examples=300, deadline=None)
@given(some_books(), RATES)
def test_payout_that_is_planned_is_in_balance(books: Books, rate_msat: int) -> None:
    check_pool(books)
    try:
        planned, allotted = planning.plan(books, OPERATOR, epoch=1, rate_msat=rate_msat, size=0, root=digest("root"))
    except NothingToPay:
        return
    fund_msat = books.fund_msat
    assert sorted(set(planned.fees_sat)) == list(planned.fees_sat)
    for rung, fee_sat in enumerate(planned.fees_sat):
        tx = payout.transaction(planned, allotted, rung)
        assert payout.spent_sat(planned) - sum(output.value_sat for output in tx.outputs) == fee_sat
        assert all(output.value_sat >= bitcoin.dust_sat(output.script) for output in tx.outputs)
        assert 0 <= payout.fund_sat(planned, allotted, rung) <= planned.fund_sat
        lengths = [len(books.coins[coin.outpoint].term.witness_script) for coin in payout.coins(planned)]
        vsize = bitcoin.payout_vsize(lengths, [output.script for output in tx.outputs])
        assert vsize <= VSIZE_MAX
        assert fee_sat >= payout.fee_sat(vsize, rate_msat * payout.LADDER[rung])
    assert planned.fund_sat * 1_000 <= fund_msat
    check_two_in_a_hundred(books, planned, allotted)
    for event in (planned, *allotted):
        fold(books, event)
    check_pool(books)
    amounts = (books.undrawn_msat, books.slashed_msat, books.leaving_msat, books.owed_msat)
    assert all(min(found.values(), default=0) >= 0 for found in amounts)
    assert min(books.fund_msat, books.fees_msat, books.reserve_sat) >= 0


def check_two_in_a_hundred(books: Books, planned: PayoutPlanned, allotted: list[payout.PayoutAllotted]) -> None:
    """The fund bears no more, unless something is saved that its owner can soon take."""
    drawn = {"escrow": 0, "stake": 0}
    for one in planned.drawn:
        drawn[one.account] += one.pool_sat
    rewards_sat = sum(one.amount_sat for one in allotted if one.due == "reward")
    saves = any(term.expires_height <= books.height + SAFETY_BLOCKS for terms in books.terms.values() for term in terms)
    bears_sat = payout.fund_sat(planned, allotted, 0)
    assert saves or bears_sat * PPM <= (rewards_sat + planned.market_sat + drawn["stake"]) * FEE_PPM
