"""Whom the next payout pays, out of what, and who bears the fee."""

import pytest

from domain import bitcoin, payout, planning
from domain.accounts import SAFETY_BLOCKS
from domain.books import DEEP_BLOCKS, Books, Payout
from domain.drawing import CHANGE_MIN_SAT, COINS_MAX, FEE_PPM, INPUT_VB
from domain.escrow import RefundEscrow
from domain.events import (
    EscrowFunded,
    EscrowOpened,
    EscrowReleased,
    FeeCharged,
    Paid,
    PayoutAllotted,
    PayoutPlanned,
    StakeOpened,
)
from domain.ids import escrow_id
from domain.money import PPM
from domain.payees import JOBS_MAX, PAYEES_MAX, minimum_sat
from domain.planning import VSIZE_MAX, NothingToPay
from domain.settlement import PlanPayout, ReturnLapsed
from services.settlement.follower import fold
from tests.blocks import digest, p2wpkh, point
from tests.onchain import EXPIRES, JOINED, OnChain, check_pool, fee_of, join_chain, outputs_of
from tests.spec import ANNA, BEN, CARL, CLIENT, MALLORY, OPERATOR, Market, key

ESCROW = escrow_id(CLIENT)
DORA, EVE = key("E"), key("F")


def rewards(found: Payout) -> dict[str, int]:
    return {one.owner: one.amount_sat for one in found.allotted if one.due == "reward"}


def drawn(found: Payout) -> dict[str, tuple[int, int, int, int]]:
    """By owner: outputs that are spent, what its owner gets, the pool gets, and what stays."""
    return {
        "reserve" if one.account == "reserve" else one.owner: (
            len(one.coins),
            one.due_sat,
            one.pool_sat,
            one.change_sat,
        )
        for one in found.planned.drawn
    }


def check(found: Payout) -> Payout:
    """Every rung is in balance, no output is dust, and it is small enough."""
    for rung, fee in enumerate(found.planned.fees_sat):
        assert fee_of(found, rung) == fee
        for value, script in outputs_of(found, rung):
            assert value == 0 or value >= bitcoin.dust_sat(bytes.fromhex(script))
    fees = found.planned.fees_sat
    assert sorted(set(fees)) == list(fees)
    return found


def why(market: OnChain, rate_msat: int = 1_000) -> str:
    """Why nothing is paid."""
    return str(market.whenever(market.planning(rate_msat)).refused(NothingToPay).facts["reason"])


# ----------------------------------------------------------------------------------------------------- who is paid what
def test_nothing_is_paid_where_nobody_has_anything_due() -> None:
    assert why(OnChain().with_client_on_chain().with_workers(ANNA)) == "nobody has enough due"


def test_nothing_is_paid_without_a_chain() -> None:
    command = PlanPayout(1_000, 0, digest("root"))
    refused = Market().when(OPERATOR, command).refused(NothingToPay)
    assert refused.facts["reason"] == "the market has not joined a chain"


def test_one_payout_at_a_time() -> None:
    market = OnChain().with_client_on_chain().with_workers(ANNA).earned(ANNA, 30_000)
    market.planned()
    market.earned(ANNA, 30_000)
    assert why(market) == "payout 1 is not settled yet"
    market.sent(1)
    assert why(market) == "payout 1 is not settled yet"
    market.confirmed(1)
    assert market.planned().planned.epoch == 2


@pytest.mark.parametrize(("rate_msat", "least_sat"), [(1_000, 1_550), (5_000, 7_750), (20_000, 31_000), (1, 330)])
def test_least_reward_is_fifty_times_what_its_output_costs(rate_msat: int, least_sat: int) -> None:
    assert minimum_sat(rate_msat) == least_sat


def test_reward_below_the_minimum_is_carried_over() -> None:
    market = OnChain().with_client_on_chain(300_000).with_workers(ANNA, BEN)
    market.earned(ANNA, 40_000).earned(BEN, 1_549.999)
    assert rewards(check(market.paid())) == {ANNA: 40_000}
    assert market.books.due_msat(BEN) == 1_549_999
    market.earned(BEN, 0.1).earned(ANNA, 40_000)
    assert rewards(check(market.paid())) == {ANNA: 40_000, BEN: 1_550}
    assert market.books.due_msat(BEN) == 99


def test_minimum_is_that_of_the_workers_own_script() -> None:
    market = OnChain().with_client_on_chain(300_000).with_workers(ANNA, BEN)
    market.send(ANNA, market.opening(ANNA, term=1, payout_script="5120" + "11" * 32))
    market.earned(ANNA, 2_149).earned(BEN, 40_000)
    assert rewards(market.paid()) == {BEN: 40_000}
    market.earned(ANNA, 1).earned(BEN, 40_000)
    assert rewards(check(market.paid())) == {BEN: 40_000, ANNA: 2_150}


def test_reward_is_for_the_work_that_was_done_first() -> None:
    market = OnChain().with_client_on_chain(300_000).with_workers(ANNA)
    jobs = []
    for sat in (10_000.7, 20_000, 5_000.6):
        market.earned(ANNA, sat)
        jobs.append(market.job)
    found = check(market.paid())
    (allotted,) = found.allotted
    assert allotted.amount_sat == 35_001
    assert allotted.paid == tuple(map(Paid, jobs, (10_000_700, 20_000_000, 5_000_300)))
    assert market.books.earned_msat == {ANNA: {jobs[2]: 300}}
    assert found.planned.receipts == payout.receipts_root(found.allotted)


def test_market_is_paid_when_its_fees_are_worth_an_output() -> None:
    market = OnChain(fee_ppm=50_000).with_client_on_chain(300_000).with_workers(ANNA)
    assert check(market.earned(ANNA, 30_999).paid()).planned.market_sat == 0
    assert check(market.earned(ANNA, 30_000).paid()).planned.market_sat == 3_049
    assert market.books.fees_msat == 950


# -------------------------------------------------------------------------------------------------------- what it costs
def test_payout_waits_while_its_fee_is_more_than_two_in_a_hundred() -> None:
    market = OnChain(chain_ppm=100_000).with_client_on_chain(300_000).with_workers(ANNA)
    market.earned(ANNA, 12_149)
    assert why(market) == "the fee of 243 sat is more than 2 % of the 12149 sat that it would pay"
    found = check(market.earned(ANNA, 1).paid())
    assert found.planned.fees_sat[0] * PPM == 12_150 * FEE_PPM


def test_payout_waits_while_the_fund_for_miners_holds_too_little() -> None:
    market = OnChain(chain_ppm=0).with_client_on_chain(300_000).with_workers(ANNA).earned(ANNA, 30_000)
    assert why(market) == "the fee is 243 sat, and the fund for miners holds 0 sat"


def test_small_rewards_wait_where_they_would_make_it_too_dear() -> None:
    market = OnChain(fee_ppm=0, chain_ppm=50_000).with_client_on_chain(400_000).with_workers(ANNA).earned(ANNA, 20_000)
    for letter in "GHIKLNPQS":
        market.with_client_on_chain(100_000, key(letter)).with_workers(worker := key(letter + "2")[:56], sat=0)
        market.earned(worker, 7_900, key(letter))
    found = check(market.paid())
    paid = rewards(found)
    assert paid.pop(ANNA) == 20_000
    assert 0 < len(paid) < 9
    assert found.planned.fees_sat[0] * PPM <= (20_000 + sum(paid.values())) * FEE_PPM


@pytest.mark.parametrize(("chain_ppm", "fees"), [(10_000, (243,)), (20_000, (243, 486)), (40_000, (243, 486, 972))])
def test_rungs_are_those_that_the_fund_can_bear(chain_ppm: int, fees: tuple[int, ...]) -> None:
    market = OnChain(chain_ppm=chain_ppm).with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 30_000)
    assert check(market.paid()).planned.fees_sat == fees


def test_fund_keeps_what_a_cheaper_rung_leaves() -> None:
    market = OnChain(chain_ppm=40_000).with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 30_000)
    market.planned()
    assert market.books.fund_msat == 1_200_000 - 972_000
    market.confirmed(1, 1)
    assert market.books.fund_msat == 1_200_000 - 486_000


def test_one_rung_where_no_change_can_take_back_what_a_cheaper_one_leaves() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA).deposited(CLIENT, 40_000).deposited(CLIENT, 25_000)
    market.earned(ANNA, 60_000)
    market.send(OPERATOR, market.theft(market.coins(CLIENT)[0]))
    found = check(market.paid())
    assert drawn(found)[CLIENT] == (1, 0, 25_000, 0)
    assert len(found.planned.fees_sat) == 1


def test_rungs_that_cost_the_same_are_one() -> None:
    market = OnChain(chain_ppm=40_000).with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 30_000)
    assert check(market.planned(rate_msat=1)).planned.fees_sat == (1,)


def test_what_a_cheaper_rung_left_is_not_spent_while_a_dearer_one_might_take_its_place() -> None:
    market = OnChain(chain_ppm=17_000).with_client_on_chain(400_000).with_workers(ANNA).earned(ANNA, 60_000)
    market.paid()
    assert market.books.unsettled_msat() == {ESCROW: 729_000}
    market.earned(ANNA, 20_000)
    assert market.books.fund_msat == 1_117_000
    found = check(market.planned())
    assert found.planned.fees_sat == (243,)
    market.contested(2).abandoned(2).advanced(DEEP_BLOCKS)
    assert market.books.unsettled_msat() == {}
    assert check(market.planned()).planned.fees_sat == (243, 486, 972)


# ---------------------------------------------------------------------------------------------------------- which coins
def test_fewest_outputs_are_spent_the_largest_first() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA)
    for sat in (9_000, 50_000, 8_000, 30_000):
        market.deposited(CLIENT, sat)
    found = check(market.earned(ANNA, 40_000).paid())
    assert [coin.value_sat for coin in payout.coins(found.planned)] == [50_000]
    market.earned(ANNA, 36_000)
    found = check(market.paid())
    assert [coin.value_sat for coin in payout.coins(found.planned)] == [30_000, 9_757]


def test_outputs_that_cost_too_much_to_spend_are_left() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA).deposited(CLIENT, 30_000)
    for _ in range(30):
        market.deposited(CLIENT, 1_000)
    market.earned(ANNA, 40_000)
    found = check(market.paid())
    assert drawn(found)[CLIENT][:2] == (1, 0)
    assert rewards(found)[ANNA] + found.planned.fund_sat == 30_000
    assert market.books.due_msat(ANNA) == 40_000_000 - rewards(found)[ANNA] * 1_000


def test_one_payout_spends_a_bounded_number_of_an_accounts_outputs() -> None:
    market = OnChain(chain_ppm=40_000).opened(CLIENT).with_workers(ANNA)
    for _ in range(COINS_MAX + 5):
        market.deposited(CLIENT, 10_000)
    market.earned(ANNA, 230_000)
    found = check(market.paid())
    assert drawn(found)[CLIENT][0] == COINS_MAX
    assert rewards(found)[ANNA] == 200_000 - found.planned.fund_sat
    found = check(market.paid())
    assert market.books.due_msat(ANNA) == 0


def test_change_is_nothing_or_worth_an_output() -> None:
    market = OnChain(fee_ppm=0, chain_ppm=20_000).with_client_on_chain(30_900).with_workers(ANNA)
    market.earned(ANNA, 30_000)
    found = check(market.paid())
    (_, _, pool_sat, change_sat) = drawn(found)[CLIENT]
    assert change_sat >= CHANGE_MIN_SAT
    assert pool_sat == 30_900 - change_sat


def test_workers_are_paid_out_of_those_escrows_that_have_most_to_give() -> None:
    market = OnChain(chain_ppm=50_000).with_workers(ANNA)
    clients = [key(letter) for letter in "GHIK"]
    for client, sat in zip(clients, (40_000, 9_000, 15_000, 3_000), strict=True):
        market.with_client_on_chain(2 * sat, client).earned(ANNA, sat, client)
    found = check(market.paid())
    assert {one.owner for one in found.planned.drawn} == {clients[0], clients[1], clients[2]}
    assert rewards(found) == {ANNA: 67_000}
    assert market.books.undrawn_msat[escrow_id(clients[3])] > 0


def test_escrow_that_has_too_little_for_the_fee_is_not_drawn_from() -> None:
    market = OnChain(fee_ppm=0, chain_ppm=20_000).with_workers(ANNA)
    for client, sat in ((CLIENT, 40_000), (MALLORY, 5_000)):
        market.with_client_on_chain(100_000, client).earned(ANNA, sat, client)
    found = check(market.paid())
    assert list(drawn(found)) == [CLIENT]
    assert rewards(found)[ANNA] == 40_800 - found.planned.fund_sat
    assert market.books.undrawn_msat[escrow_id(MALLORY)] == 5_100_000


def test_fractions_of_many_escrows_are_taken_off_the_largest_reward() -> None:
    market = OnChain(fee_ppm=0, chain_ppm=9_320).with_workers(ANNA)
    for letter in "GHI":
        market.with_client_on_chain(100_000, key(letter)).earned(ANNA, 20_000.5, key(letter))
    found = check(market.paid())
    assert found.planned.fees_sat == (559,)  # the fund holds 559.2, each escrow 20,186.9 for the pool
    assert rewards(found) == {ANNA: 3 * 20_186 - 559}
    assert market.books.due_msat(ANNA) == 60_001_500 - 59_999_000


# ----------------------------------------------------------------------------------------------------- owners who leave
def test_owner_bears_what_taking_its_own_money_out_adds() -> None:
    market = OnChain(chain_ppm=40_000).with_client_on_chain(200_000).with_client_on_chain(100_000, MALLORY)
    market.with_workers(ANNA).earned(ANNA, 30_000, MALLORY)
    market.send(CLIENT, RefundEscrow(50_000_000))
    found = check(market.paid())
    (refund,) = [one for one in found.allotted if one.due == "escrow"]
    assert (refund.amount_sat, refund.borne_vb) == (50_000, 31 + INPUT_VB + 43)
    assert drawn(found)[CLIENT] == (1, 50_000, 0, 150_000)
    assert (50_000 - refund.borne_vb, refund.script) in outputs_of(found)
    assert payout.fund_sat(found.planned, found.allotted, 0) == found.planned.fees_sat[0] - refund.borne_vb


def test_owner_whose_account_pays_workers_as_well_bears_an_output() -> None:
    market = OnChain().with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 60_000)
    market.send(CLIENT, RefundEscrow(50_000_000))
    found = check(market.paid())
    (refund,) = [one for one in found.allotted if one.due == "escrow"]
    assert refund.borne_vb == 31


def test_two_owners_share_what_a_payout_has_anyway() -> None:
    market = OnChain().with_client_on_chain(200_000).with_client_on_chain(100_000, MALLORY)
    market.send(CLIENT, RefundEscrow(50_000_000))
    market.send(MALLORY, RefundEscrow(100_000_000))
    found = check(market.paid())
    borne = {one.owner: one.borne_vb for one in found.allotted}
    assert borne == {CLIENT: 27 + 31 + INPUT_VB + 43, MALLORY: 27 + 31 + INPUT_VB}
    assert found.planned.fund_sat == 0
    assert found.planned.fees_sat == tuple(sum(borne.values()) * multiple for multiple in payout.LADDER)


def test_stake_is_taken_out_and_bears_its_fee() -> None:
    market = OnChain().with_workers(ANNA, sat=20_000).left(ANNA, 15_000.5)
    found = check(market.paid())
    (allotted,) = found.allotted
    assert (allotted.due, allotted.owner, allotted.amount_sat) == ("stake", ANNA, 15_000)
    assert drawn(found)[ANNA] == (1, 15_000, 0, 5_000)
    assert market.books.leaving_msat[ANNA] == 500


def test_refund_that_would_be_eaten_by_its_fee_waits() -> None:
    market = OnChain().with_client_on_chain(200_000)
    market.send(CLIENT, RefundEscrow(530_000))
    assert why(market) == "nobody has enough due"
    market.send(CLIENT, RefundEscrow(8_000))
    assert check(market.paid()).allotted[0].amount_sat == 538


def test_rungs_are_those_that_every_owner_can_bear() -> None:
    market = OnChain().with_client_on_chain(200_000)
    market.send(CLIENT, RefundEscrow(800_000))
    assert check(market.paid()).planned.fees_sat == (244, 488)


def test_refund_leaves_a_change_that_is_no_dust() -> None:
    market = OnChain().with_client_on_chain(50_000)
    market.send(CLIENT, RefundEscrow(49_900_000))
    found = check(market.paid())
    assert drawn(found)[CLIENT] == (1, 49_670, 0, CHANGE_MIN_SAT)
    assert market.books.leaving_msat[ESCROW] == 230_000


def test_all_of_an_account_is_taken_out_without_a_change() -> None:
    market = OnChain().with_client_on_chain(50_000)
    market.send(CLIENT, RefundEscrow(50_000_000))
    assert drawn(check(market.paid()))[CLIENT] == (1, 50_000, 0, 0)
    assert market.coins(CLIENT) == []


def test_what_a_job_may_cost_goes_before_its_owner_where_outputs_are_missing() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA).deposited(CLIENT, 50_000).advanced().deposited(CLIENT, 50_000)
    market.with_job(price_msat=58_000_000)
    market.send(CLIENT, RefundEscrow(40_000_000))
    market.reorganised(JOINED)
    assert why(market) == "nobody has enough due"
    market.advanced().deposited(CLIENT, 60_000)
    assert check(market.paid()).allotted[0].amount_sat == 40_000


def test_owner_who_lost_an_output_and_pays_in_again_can_leave() -> None:
    market = OnChain().opened(CLIENT).advanced().deposited(CLIENT, 50_000)
    market.reorganised(JOINED)
    market.advanced().deposited(CLIENT, 50_001)
    market.send(CLIENT, RefundEscrow(50_001_000))
    assert check(market.paid()).allotted[0].amount_sat == 50_001


def test_worker_who_lost_an_output_and_pays_in_again_can_leave() -> None:
    market = OnChain().with_workers(ANNA, sat=0).advanced().deposited(ANNA, 50_000)
    market.reorganised(JOINED)
    market.advanced().deposited(ANNA, 50_001).left(ANNA, 50_001)
    assert check(market.paid()).allotted[0].amount_sat == 50_001


def test_workers_go_before_owners_where_outputs_are_missing() -> None:
    market = OnChain(chain_ppm=40_000).opened(CLIENT).with_workers(ANNA)
    market.deposited(CLIENT, 50_000).advanced().deposited(CLIENT, 50_000).earned(ANNA, 40_000)
    market.send(CLIENT, RefundEscrow(50_000_000))
    market.reorganised(JOINED)
    found = check(market.paid())
    assert rewards(found) == {ANNA: 40_000}
    assert [(one.due, one.amount_sat) for one in found.allotted if one.due == "escrow"] == [("escrow", 8_000)]


# ------------------------------------------------------------------------------------------------- slashes, the reserve
def slashed(sat: int = 15_000, **market: int) -> OnChain:
    """A worker lost so much of its stake, another one earned a little."""
    return OnChain(**market).with_client_on_chain(300_000).with_workers(ANNA, BEN, sat=40_000).slashed(ANNA, sat, BEN)


def test_slashed_stake_moves_to_the_reserve() -> None:
    market = slashed().earned(BEN, 40_000)
    found = check(market.paid())
    assert drawn(found)[ANNA] == (1, 0, 15_000, 25_000)
    assert found.planned.reserve_sat == 15_000
    assert market.books.reserve_sat == 15_000
    (kept,) = [coin for coin in market.books.coins.values() if coin.key == "reserve"]
    assert kept.value_sat == 15_000
    keys = bytes.fromhex(point("market")), bytes.fromhex(point("arbiter"))
    assert kept.term.witness_script == bitcoin.reserve_script(*keys)
    assert market.books.forfeited_msat == 15_000_000


def test_slash_that_is_not_worth_the_moving_waits() -> None:
    market = slashed(5_000).earned(BEN, 40_000)
    assert list(drawn(check(market.paid()))) == [CLIENT]
    assert market.books.slashed_msat[ANNA] == 5_000_000


def test_slash_stays_out_of_its_owners_hands() -> None:
    market = slashed(5_000)
    market.left(ANNA, 35_000)
    found = check(market.paid())
    assert drawn(found)[ANNA] == (1, 35_000, 0, 5_000)


def test_forfeited_money_is_not_moved_again_and_pays_nobody() -> None:
    market = slashed().earned(BEN, 40_000)
    market.paid()
    for _ in range(3):
        market.earned(BEN, 40_000)
        assert list(drawn(check(market.paid()))) == [CLIENT]
    assert market.books.reserve_sat == 15_000


def test_second_slash_gets_an_output_of_its_own_in_the_reserve() -> None:
    market = slashed().earned(BEN, 40_000)
    market.paid()
    market.slashed(ANNA, 11_000, BEN).earned(BEN, 40_000)
    found = check(market.paid())
    assert set(drawn(found)) == {CLIENT, ANNA}
    assert sorted(coin.value_sat for coin in market.books.coins.values() if coin.key == "reserve") == [11_000, 15_000]


# -------------------------------------------------------------------------------------------------------- ends of terms
def lapsing(*sats: float, expires: int = 500, **market: int) -> OnChain:
    """A client whose term is about to end, for whom so many workers earned so much."""
    workers = [key(letter) for letter in "GHIKLNPQST"][: len(sats)]
    found = OnChain(**market).with_client_on_chain(300_000, expires=expires).with_workers(*workers, sat=0)
    for worker, sat in zip(workers, sats, strict=True):
        found.earned(worker, sat)
    return found.advanced(expires - SAFETY_BLOCKS - found.height)


def test_ending_escrow_is_emptied_into_the_reserve() -> None:
    market = lapsing(900, 1_200, 1_500, chain_ppm=100_000)
    found = check(market.paid())
    assert rewards(found) == {}
    (_, _, pool_sat, _) = drawn(found)[CLIENT]
    assert pool_sat == 3_600 + 36 + 360
    assert found.planned.reserve_sat == pool_sat - found.planned.fund_sat
    assert sum(map(market.books.due_msat, market.books.earned_msat)) == 3_600_000


def test_ending_escrow_pays_whom_it_can_and_the_rest_goes_to_the_reserve() -> None:
    market = lapsing(900, 30_000, 1_200)
    found = check(market.paid())
    assert list(rewards(found).values()) == [30_000]
    assert found.planned.reserve_sat > 2_100
    left = found.planned.fees_sat[-1] - found.planned.fees_sat[0]
    assert market.books.undrawn_msat[ESCROW] == left * 1_000


def test_reserve_gets_no_dust() -> None:
    market = lapsing(1_600, 100, chain_ppm=200_000)
    found = check(market.paid(rung=-1))
    assert list(rewards(found).values()) == [1_600]
    assert found.planned.reserve_sat == 0
    assert 0 < market.books.undrawn_msat[ESCROW] < CHANGE_MIN_SAT * 1_000


def test_ending_escrow_that_holds_less_than_moving_it_costs_is_left() -> None:
    market = lapsing(900, chain_ppm=1_000_000)
    assert why(market, 10_000) == "nobody has enough due"


def test_ending_escrow_waits_for_nothing_but_the_fund() -> None:
    market = lapsing(900, 1_200, 1_500)
    assert why(market) == "the fee is 255 sat, and the fund for miners holds 72 sat"


def test_others_are_paid_where_the_fund_cannot_bear_what_is_to_be_emptied() -> None:
    market = lapsing(900, 1_200, 1_500, fee_ppm=0, chain_ppm=15_000)
    market.with_client_on_chain(100_000, MALLORY, expires=2_000).with_workers(ANNA, expires=2_000)
    market.earned(ANNA, 13_000, MALLORY)
    found = check(market.paid())
    assert rewards(found) == {ANNA: 13_195 - found.planned.fund_sat}


def test_reserve_pays_once_what_it_carries_is_worth_it() -> None:
    market = lapsing(1_400, 1_400, 1_400, 1_400, 1_400, 1_400, chain_ppm=100_000)
    market.paid()
    carried = market.books.reserve_sat
    assert carried > 8_000
    market.with_client_on_chain(300_000, MALLORY, expires=5_000)
    workers = list(market.books.earned_msat)
    for worker in workers:
        market.earned(worker, 4_000, MALLORY)
    found = check(market.paid())
    assert set(rewards(found)) == set(workers)
    assert drawn(found)["reserve"] == (1, 0, carried, 0)
    assert found.planned.reserve_sat == 0
    assert drawn(found)[MALLORY][2] == 6 * 5_400 + found.planned.fund_sat - carried
    assert market.books.reserve_sat == 0


def test_reserve_keeps_what_is_forfeited_when_it_pays() -> None:
    market = lapsing(1_400, 1_400, 1_400, 1_400, 1_400, 1_400, chain_ppm=100_000)
    market.with_client_on_chain(300_000, MALLORY, expires=5_000).with_workers(ANNA, BEN, sat=40_000, expires=5_000)
    workers = list(market.books.earned_msat)
    market.slashed(ANNA, 20_000, BEN, MALLORY).paid()
    carried = market.books.reserve_sat - 20_000
    assert carried > 8_000
    assert market.books.forfeited_msat == 20_000_000
    for worker in workers:
        market.earned(worker, 4_000, MALLORY)
    found = check(market.advanced(DEEP_BLOCKS).paid())
    assert set(rewards(found)) == set(workers)
    assert drawn(found)["reserve"] == (1, 0, carried + 20_000, 0)
    assert found.planned.reserve_sat == market.books.reserve_sat == 20_000


def test_free_money_of_an_ending_term_is_paid_back() -> None:
    market = lapsing(30_000)
    market.send(OPERATOR, ReturnLapsed())
    found = check(market.paid())
    assert {one.due for one in found.allotted} == {"reward", "escrow"}
    assert market.books.leaving_msat[ESCROW] < 1_000
    assert sum(coin.value_sat for coin in market.coins(CLIENT)) < 1_000


def test_change_goes_to_the_newest_term() -> None:
    market = OnChain().with_client_on_chain(200_000, expires=600).with_workers(ANNA).opened(CLIENT, term=1)
    market.earned(ANNA, 60_000)
    found = check(market.paid())
    newest = market.books.terms[ESCROW][1]
    assert found.planned.drawn[0].script == newest.script.hex()
    assert [coin.term for coin in market.coins(CLIENT)] == [newest]


def test_outputs_of_an_older_term_come_along() -> None:
    market = OnChain().with_client_on_chain(9_000, expires=600).with_workers(ANNA).opened(CLIENT, term=1)
    market.deposited(CLIENT, 200_000).deposited(CLIENT, 1_000, term=0).earned(ANNA, 60_000)
    found = check(market.paid())
    assert [coin.value_sat for coin in payout.coins(found.planned)] == [9_000, 200_000]
    newest = market.books.terms[ESCROW][1]
    assert {coin.term for coin in market.coins(CLIENT) if coin.value_sat > 1_000} == {newest}


def test_what_is_earned_is_moved_out_of_an_ending_older_term() -> None:
    market = OnChain(chain_ppm=200_000).with_client_on_chain(60_000, expires=500).with_workers(ANNA, sat=0)
    market.earned(ANNA, 1_400).opened(CLIENT, term=1).advanced(500 - SAFETY_BLOCKS - 1 - JOINED)
    assert why(market) == "nobody has enough due"
    market.advanced()
    found = check(market.paid())
    assert found.planned.reserve_sat == 1_400 + 14 + 280 - found.planned.fund_sat
    assert [coin.term for coin in market.coins(CLIENT)] == [market.books.terms[ESCROW][1]]


# -------------------------------------------------------------------------------------------------------------- thieves
def test_worker_is_paid_what_is_there_when_an_output_was_taken() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA).deposited(CLIENT, 30_000).deposited(CLIENT, 25_000)
    market.earned(ANNA, 50_000)
    market.send(OPERATOR, market.theft(market.coins(CLIENT)[0]))
    found = check(market.paid())
    assert rewards(found) == {ANNA: 25_000 - found.planned.fund_sat}
    assert market.books.due_msat(ANNA) == 50_000_000 - rewards(found)[ANNA] * 1_000
    market.deposited(CLIENT, 40_000)
    check(market.paid())
    assert market.books.due_msat(ANNA) == 0


# ----------------------------------------------------------------------------------------------------------------- many
def many(workers: int, jobs: int, *, sat: int = 2_000, script: str = "0014") -> Books:
    """Books of so many workers with so many rewards, folded from events alone."""
    books, chain = Books(), join_chain()
    for event in OnChain().send(OPERATOR, chain):
        fold(books, event)
    keys = point("release"), point("refund"), point("market"), point("arbiter")
    fold(books, EscrowOpened(ESCROW, CLIENT, *keys, EXPIRES, p2wpkh("client")))
    fold(books, EscrowFunded(ESCROW, CLIENT, 10**12, digest("deposit"), 0, JOINED, 0))
    parties = [f"U{number:055d}" for number in range(workers)]
    for number, party in enumerate(parties):
        paid_to = script + f"{number:0{40 if script == '0014' else 64}x}"
        fold(books, StakeOpened(party, *keys, EXPIRES, paid_to))
    for number in range(jobs):
        job, party = f"{number:024x}", parties[number % workers]
        fold(books, EscrowReleased(ESCROW, job, 0, 0, party, sat * 1_000))
        fold(books, FeeCharged(ESCROW, job, sat * 40, sat * 40))
    return books


def plan(books: Books, epoch: int = 1) -> tuple[PayoutPlanned, list[PayoutAllotted]]:
    planned, allotted = planning.plan(books, OPERATOR, epoch=epoch, rate_msat=1_000, size=0, root=digest("root"))
    fold(books, planned)
    for one in allotted:
        fold(books, one)
    return planned, allotted


def vsize_of(planned: PayoutPlanned, allotted: list[PayoutAllotted]) -> int:
    tx = payout.transaction(planned, allotted, 0)
    return bitcoin.payout_vsize([148] * len(tx.inputs), [one.script for one in tx.outputs])


def test_3200_workers_are_paid_at_once() -> None:
    books = many(PAYEES_MAX, 10_000)
    planned, allotted = plan(books)
    assert len(allotted) == PAYEES_MAX
    assert sum(one.amount_sat for one in allotted) == 20_000_000
    assert sum(len(one.paid) for one in allotted) == 10_000
    assert vsize_of(planned, allotted) <= VSIZE_MAX
    assert sum(map(books.due_msat, books.earned_msat)) == 0
    check_pool(books)


def test_worker_beyond_3200_is_paid_by_the_next_payout() -> None:
    books = many(PAYEES_MAX + 1, PAYEES_MAX + 1, sat=20_000)
    _, allotted = plan(books)
    left = list(books.earned_msat)
    assert len(allotted) == PAYEES_MAX
    assert len(left) == 1
    assert left == [f"U{PAYEES_MAX:055d}"]


def test_payout_is_never_larger_than_nodes_relay() -> None:
    books = many(3_000, 3_000, sat=20_000, script="5120")
    planned, allotted = plan(books)
    assert VSIZE_MAX - 100 < vsize_of(planned, allotted) <= VSIZE_MAX
    assert len(books.earned_msat) == 3_000 - len(allotted)
    check_pool(books)


def test_one_payout_pays_one_worker_for_a_bounded_number_of_jobs() -> None:
    books = many(1, JOBS_MAX + 7)
    _, (allotted,) = plan(books)
    assert len(allotted.paid) == JOBS_MAX
    assert len(books.earned_msat[allotted.owner]) == 7


# ---------------------------------------------------------------------------------------------------------- the arbiter
def test_whoever_folds_the_events_of_money_alone_plans_the_same() -> None:
    market = Recording(chain_ppm=60_000, fee_ppm=40_000)
    market.with_client_on_chain(400_000).with_client_on_chain(90_000, MALLORY, expires=700)
    market.with_workers(ANNA, BEN, CARL, sat=30_000).earned(ANNA, 40_000.3).earned(BEN, 12_345.6, MALLORY)
    market.slashed(CARL, 12_000, BEN).left(BEN, 12_000)
    market.posted(price_msat=3_000_000)
    market.send(CLIENT, RefundEscrow(50_000_700))
    market.advanced().deposited(CLIENT, 10_000).reorganised(market.height - 1)
    market.advanced(700 - SAFETY_BLOCKS - market.height)
    books = Books()
    for event in market.told:
        fold(books, event)
    found = check(market.planned())
    planned, allotted = planning.plan(
        books, OPERATOR, epoch=1, rate_msat=1_000, size=found.planned.size, root=found.planned.root
    )
    assert planned == found.planned
    assert allotted == found.allotted
    assert [one.account for one in planned.drawn] == ["escrow", "escrow", "stake", "stake"]
    assert {one.due for one in allotted} == {"reward", "escrow", "stake"}


class Recording(OnChain):
    """A market whose events are kept."""

    def __init__(self, **shares: int) -> None:
        self.told: list[object] = []
        super().__init__(**shares)

    def seen(self, facts):  # type: ignore[no-untyped-def]
        self.told += [fact.event for fact in facts]
        return super().seen(facts)
