"""Accounts on the chain: opened, paid into, reorganised, robbed and at the end of their term."""

import pytest

from domain import bitcoin, errors
from domain.accounts import RESERVE, SAFETY_BLOCKS
from domain.bitcoin import OutPoint, reference
from domain.deposits import TERM_MAX, TERM_MIN, TERMS_MAX
from domain.errors import AlreadyCredited, BadTerms, TermEnding, Unauthorised, UnknownWorker
from domain.escrow import RefundEscrow
from domain.events import (
    ChainAdvanced,
    ChainJoined,
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReserved,
    JobPosted,
    StakeDeposited,
    StakeOpened,
    StakeWithdrawn,
)
from domain.ids import escrow_id
from domain.settlement import (
    AdvanceChain,
    ConfirmDeposit,
    IsPayout,
    NoChain,
    NotDeepEnough,
    NotOnChain,
    NotOpened,
    OpenStake,
    OtherKeys,
    ReportTaken,
    ReturnLapsed,
    TermOver,
    UnknownOutput,
)
from domain.stake import WithdrawStake
from domain.worker import PlaceAsk, RegisterWorker
from services.ledger import codec
from tests.blocks import digest, p2wpkh, point
from tests.onchain import ARBITER, EXPIRES, JOINED, OnChain, join_chain
from tests.spec import ANNA, BEN, CARL, CLIENT, MALLORY, OPERATOR, Market, a_job

ESCROW = escrow_id(CLIENT)


# ------------------------------------------------------------------------------------------------------------ the chain
def test_market_joins_a_chain_and_says_so_at_every_start() -> None:
    market = Market()
    assert market.when(OPERATOR, join_chain()).then(ChainJoined)
    assert market.world.books.tips == [(JOINED, digest("block", JOINED))]
    market.send(OPERATOR, AdvanceChain(JOINED + 5, digest("tip")))
    again = market.when(OPERATOR, join_chain(arbiter_key=point("another"))).then(ChainJoined)
    assert isinstance(again[0], ChainJoined)
    assert (again[0].height, again[0].block) == (JOINED + 5, digest("tip"))
    assert market.world.books.tips[-1] == (JOINED + 5, digest("tip"))
    assert len(market.world.books.tips) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"market_key": point("arbiter")},
        {"market_key": "02" + "ff" * 32},
        {"market_script": "6a20" + "00" * 32},
        {"market_script": "5220" + "00" * 32},
    ],
    ids=["one key", "no point", "unspendable", "a witness of tomorrow"],
)
def test_market_joins_with_two_keys_and_a_script_that_can_be_paid(changes: dict[str, object]) -> None:
    Market().when(OPERATOR, join_chain(**changes)).refused(BadTerms)


def test_market_does_not_join_another_chain() -> None:
    OnChain().whenever(join_chain(network="main")).refused(BadTerms)


@pytest.mark.parametrize("key", ["market_key", "arbiter_key"])
def test_market_keeps_the_keys_that_its_accounts_were_opened_with(key: str) -> None:
    market = OnChain().with_client_on_chain()
    assert market.whenever(join_chain(market_script=p2wpkh("elsewhere"), arbiter=MALLORY)).then(ChainJoined)
    market.whenever(join_chain(**{key: point("another")})).refused(OtherKeys)


def test_market_that_counted_money_which_no_chain_holds_joins_none() -> None:
    Market().with_client().when(OPERATOR, join_chain()).refused(NotOnChain)


def test_only_settlement_says_what_the_chain_does() -> None:
    market = OnChain().with_client_on_chain()
    for command in (join_chain(), AdvanceChain(200, digest("x")), market.deposit(CLIENT, 500), ReturnLapsed()):
        market.when(MALLORY, command).refused(Unauthorised)


def test_nothing_is_known_of_a_chain_that_was_not_joined() -> None:
    market = Market().with_worker(ANNA, stake_msat=0)
    for command in (AdvanceChain(1, digest("x")), ReportTaken(digest("x"), 0, digest("y"))):
        market.when(OPERATOR, command).refused(NoChain)
    keys = point("a"), point("b")
    market.when(ANNA, OpenStake(*keys, EXPIRES, p2wpkh("anna"))).refused(NoChain)
    script = bitcoin.p2wsh(b"nobody's").hex()
    market.when(OPERATOR, ConfirmDeposit("escrow", CLIENT, 1_000, digest("x"), 0, 5, script)).refused(NotOpened)


def test_chain_goes_up_and_is_forgotten_above_a_fork() -> None:
    market = OnChain().advanced(5).advanced(5)
    assert market.whenever(AdvanceChain(JOINED + 11, digest("tip"))).then(ChainAdvanced)
    market.whenever(AdvanceChain(JOINED + 11, digest("tip"))).refused(BadTerms)
    assert market.whenever(market.reorganisation(JOINED + 5)).then(ChainReorganised)
    assert [height for height, _ in market.books.tips] == [JOINED, JOINED + 5]
    market.whenever(market.reorganisation(JOINED + 5)).refused(BadTerms)


def test_a_fork_at_the_tip_is_none() -> None:
    market = OnChain().advanced()
    height, block = market.books.tips[-1]
    command = market.reorganisation(height)
    assert market.whenever(type(command)(height, block)).then() == []


# -------------------------------------------------------------------------------------------------------------- opening
def test_client_opens_an_escrow_with_the_keys_of_market_and_arbiter() -> None:
    market = OnChain()
    (opened,) = market.when(CLIENT, market.opening(CLIENT)).then(EscrowOpened)
    assert isinstance(opened, EscrowOpened)
    assert (opened.escrow, opened.client) == (ESCROW, CLIENT)
    assert (opened.market_key, opened.arbiter_key) == (point("market"), point("arbiter"))
    term = market.books.term_of(ESCROW)
    assert term is not None
    keys = bytes.fromhex(opened.release_key), bytes.fromhex(point("market")), bytes.fromhex(point("arbiter"))
    assert term.witness_script == bitcoin.escrow_script(keys, bytes.fromhex(opened.refund_key), EXPIRES)
    assert market.world.escrows[ESCROW].free_msat == 0


def test_worker_opens_a_stake_once_it_is_registered() -> None:
    market = OnChain()
    stake = OpenStake(point("a"), point("b"), EXPIRES, p2wpkh("anna"))
    market.when(ANNA, stake).refused(UnknownWorker)
    market.send(ANNA, RegisterWorker("cpu", 2, 4096, "0.10.2"))
    assert market.when(ANNA, stake).then(StakeOpened)
    assert market.books.term_of(ANNA) is not None


def test_account_that_is_open_is_not_opened_again() -> None:
    market = OnChain().opened(CLIENT)
    assert market.when(CLIENT, market.opening(CLIENT)).then() == []


def test_new_term_has_a_script_of_its_own() -> None:
    market = OnChain().opened(CLIENT)
    assert market.when(CLIENT, market.opening(CLIENT, term=1)).then(EscrowOpened)
    assert len(market.books.terms[ESCROW]) == 2
    again = market.opening(CLIENT, term=0)
    assert "keys that no term had before" in str(market.when(CLIENT, again).refused(BadTerms))
    elsewhere = market.opening(CLIENT, term=1, refund_script=p2wpkh("elsewhere"))
    market.when(CLIENT, elsewhere).refused(BadTerms)
    foreign = market.opening(CLIENT, term=1)
    market.when(MALLORY, foreign).refused(BadTerms)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_height": JOINED + TERM_MIN - 1},
        {"expires_height": JOINED + TERM_MAX + 1},
        {"release_key": point("market")},
        {"refund_key": point("arbiter")},
        {"release_key": point("same"), "refund_key": point("same")},
        {"release_key": "02" + "ff" * 32},
        {"refund_script": "6a20" + "00" * 32},
        {"refund_script": "5214" + "00" * 20},
        {"refund_script": "0014" + "00" * 32},
    ],
    ids=["short", "long", "market's key", "arbiter's key", "one key", "no point", "unspendable", "tomorrow", "length"],
)
def test_term_is_refused_when_it_could_not_be_kept(changes: dict[str, object]) -> None:
    market = OnChain()
    market.when(CLIENT, market.opening(CLIENT, **changes)).refused(BadTerms)


@pytest.mark.parametrize("height", [JOINED + TERM_MIN, JOINED + TERM_MAX])
def test_term_is_as_short_or_as_long_as_it_may_be(height: int) -> None:
    market = OnChain()
    assert market.when(CLIENT, market.opening(CLIENT, expires=height)).then(EscrowOpened)


def test_account_has_a_bounded_number_of_terms() -> None:
    market = OnChain()
    for term in range(TERMS_MAX):
        market.opened(CLIENT, term=term)
    market.when(CLIENT, market.opening(CLIENT, term=TERMS_MAX)).refused(BadTerms)


# ------------------------------------------------------------------------------------------------------------- deposits
def test_deposit_is_counted_once_and_to_whom_its_script_belongs() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA, sat=0)
    (funded,) = market.whenever(market.deposit(CLIENT, 5_000, "first")).then(EscrowFunded)
    assert isinstance(funded, EscrowFunded)
    assert (funded.amount_msat, funded.vout, funded.height, funded.term) == (5_000_000, 0, JOINED, 0)
    assert market.whenever(market.deposit(ANNA, 700)).then(StakeDeposited)
    assert market.world.escrows[ESCROW].free_msat == 5_000_000
    market.whenever(market.deposit(CLIENT, 5_000, "first")).refused(AlreadyCredited)
    assert market.whenever(market.deposit(CLIENT, 5_000, "first", vout=1)).then(EscrowFunded)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"owner": MALLORY}, NotOpened),
        ({"account": "stake"}, NotOpened),
        ({"script": bitcoin.p2wsh(b"a stranger's").hex()}, NotOpened),
        ({"amount_msat": 5_000_001}, BadTerms),
        ({"vout": None}, BadTerms),
        ({"height": None}, BadTerms),
        ({"script": None}, BadTerms),
        ({"reference": "5a" * 16}, BadTerms),
        ({"height": JOINED + 1}, NotDeepEnough),
    ],
    ids=["owner", "account", "script", "fraction", "no output", "no block", "no script", "no id", "above the tip"],
)
def test_deposit_is_refused_when_it_is_none_of_that_account(changes: dict[str, object], reason: type) -> None:
    market = OnChain().opened(CLIENT)
    market.whenever(market.deposit(CLIENT, 5_000, **changes)).refused(reason)


def test_deposit_counts_as_deep_as_the_market_waits() -> None:
    market = OnChain(confirmations=3).opened(CLIENT).advanced(2)
    too_early = market.whenever(market.deposit(CLIENT, 5_000, height=JOINED + 1)).refused(NotDeepEnough)
    assert too_early.facts == {"height": JOINED + 1, "needed": JOINED + 3, "tip": JOINED + 2}
    assert market.whenever(market.deposit(CLIENT, 5_000, height=JOINED)).then(EscrowFunded)


def test_deposit_to_an_older_term_is_counted_until_that_ends() -> None:
    market = OnChain().opened(CLIENT, expires=500).opened(CLIENT, term=1)
    (funded,) = market.whenever(market.deposit(CLIENT, 5_000, term=0)).then(EscrowFunded)
    assert isinstance(funded, EscrowFunded)
    assert funded.term == 0
    market.advanced(500 - SAFETY_BLOCKS - market.height)
    market.whenever(market.deposit(CLIENT, 5_000, term=0)).refused(TermOver)
    assert market.whenever(market.deposit(CLIENT, 5_000, term=1)).then(EscrowFunded)


def test_change_of_a_payout_is_no_deposit() -> None:
    market = OnChain().with_client_on_chain().with_workers(ANNA).earned(ANNA, 30_000)
    change = market.planned().txids[1]
    told = market.whenever(market.deposit(CLIENT, 5_000, reference=change, vout=3)).refused(IsPayout)
    assert told.facts == {"txid": change, "epoch": 1}
    market.sent(1).confirmed(1, 1)
    market.whenever(market.deposit(CLIENT, 5_000, reference=change, vout=3)).refused(IsPayout)


# ------------------------------------------------------------------------------------------------------- reorganisation
def test_deposit_that_leaves_the_chain_cannot_be_used_until_it_is_back() -> None:
    market = OnChain().opened(CLIENT).deposited(CLIENT, 30_000).advanced().deposited(CLIENT, 10_000, "late")
    late = reference(OutPoint(digest("deposit", "late"), 0))
    told = market.whenever(market.reorganisation(JOINED)).then(ChainReorganised, DepositReorged)
    assert told[1] == DepositReorged("escrow", CLIENT, late, 10_000_000)
    escrow = market.world.escrows[ESCROW]
    assert (escrow.free_msat, escrow.missing_msat, escrow.usable_msat) == (40_000_000, 10_000_000, 30_000_000)
    market.when(CLIENT, RefundEscrow(30_000_001)).refused(errors.EscrowTooSmall)
    market.when(CLIENT, a_job(price_msat=35_000_000)).refused(errors.EscrowTooSmall)
    market.advanced(2)
    wrong = market.deposit(CLIENT, 10_001, "late")
    market.whenever(wrong).refused(BadTerms)
    (back,) = market.whenever(market.deposit(CLIENT, 10_000, "late")).then(DepositRestored)
    assert back == DepositRestored("escrow", CLIENT, late, 10_000_000, market.height)
    assert market.world.escrows[ESCROW].usable_msat == 40_000_000
    market.whenever(market.deposit(CLIENT, 10_000, "late")).refused(AlreadyCredited)


def test_stake_that_leaves_the_chain_is_no_stake() -> None:
    market = OnChain().with_client_on_chain().advanced().with_workers(ANNA, sat=5_000)
    posted = market.send(CLIENT, a_job(stake_msat=4_000_000))[0]
    assert isinstance(posted, JobPosted)
    assert market.world.may_work(ANNA, posted)
    market.reorganised(JOINED)
    assert market.world.free_stake_msat(ANNA) == 0
    assert not market.world.may_work(ANNA, posted)
    market.when(ANNA, WithdrawStake(1_000)).refused(errors.StakeTooSmall)


def test_job_gives_out_no_tasks_while_its_escrow_lacks_what_they_cost() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA).advanced().deposited(CLIENT, 30_000)
    posted = market.send(CLIENT, a_job(price_msat=20_000_000))[0]
    assert isinstance(posted, JobPosted)
    assert market.world.may_work(ANNA, posted)
    market.reorganised(JOINED)
    assert not market.world.may_work(ANNA, posted)
    market.advanced().deposited(CLIENT, 31_000)
    assert market.world.may_work(ANNA, posted)


# -------------------------------------------------------------------------------------------------------------- thieves
def test_output_that_somebody_else_spent_is_missing() -> None:
    market = OnChain().opened(CLIENT).deposited(CLIENT, 30_000, "one")
    (coin,) = market.coins(CLIENT)
    (taken,) = market.whenever(market.theft(coin)).then(CoinTaken)
    assert taken == CoinTaken("escrow", CLIENT, coin.outpoint, 30_000_000, digest("taken", coin.outpoint), JOINED)
    assert market.world.escrows[ESCROW].usable_msat == 0
    market.whenever(market.theft(coin)).refused(UnknownOutput)
    market.whenever(market.deposit(CLIENT, 30_000, "one")).refused(AlreadyCredited)
    market.whenever(ReportTaken(digest("nobody's"), 0, digest("x"), JOINED)).refused(UnknownOutput)


def test_output_of_the_reserve_that_was_taken_is_the_markets_own_loss() -> None:
    market = OnChain().with_client_on_chain(300_000).with_workers(ANNA, BEN, sat=40_000).slashed(ANNA, 15_000, BEN)
    market.earned(BEN, 40_000).paid()
    (kept,) = [coin for coin in market.books.coins.values() if coin.key == RESERVE]
    (taken,) = market.advanced().whenever(market.theft(kept)).then(CoinTaken)
    assert taken == CoinTaken("reserve", OPERATOR, kept.outpoint, 15_000_000, digest("taken", kept.outpoint), 112)
    assert codec.decode("CoinTaken.v1", codec.encode(taken)) == taken
    assert market.books.missing_msat[RESERVE] == 15_000_000
    assert market.whenever(market.reorganisation(111)).then(ChainReorganised, DepositRestored)
    assert market.books.missing_msat[RESERVE] == 0


def test_payout_is_no_theft() -> None:
    market = OnChain().with_client_on_chain().with_workers(ANNA).earned(ANNA, 30_000)
    txid = market.planned().txids[0]
    market.whenever(market.theft(market.coins(CLIENT)[0], txid)).refused(IsPayout)


def test_theft_is_counted_as_deep_as_the_market_waits() -> None:
    market = OnChain(confirmations=2).opened(CLIENT).deposited(CLIENT, 30_000, height=JOINED - 1).advanced()
    (coin,) = market.coins(CLIENT)
    market.whenever(market.theft(coin, height=market.height)).refused(NotDeepEnough)
    assert market.whenever(market.theft(coin, height=market.height - 1)).then(CoinTaken)


def test_output_is_there_again_when_what_took_it_leaves_the_chain() -> None:
    market = OnChain().opened(CLIENT).deposited(CLIENT, 30_000).advanced(2)
    (coin,) = market.coins(CLIENT)
    market.send(OPERATOR, market.theft(coin))
    assert market.whenever(market.reorganisation(JOINED + 1)).then(ChainReorganised, DepositRestored)
    assert market.world.escrows[ESCROW].usable_msat == 30_000_000
    assert market.coins(CLIENT) == [coin]


def test_output_stays_taken_when_only_later_blocks_leave_the_chain() -> None:
    market = OnChain().opened(CLIENT).deposited(CLIENT, 30_000).advanced()
    market.send(OPERATOR, market.theft(market.coins(CLIENT)[0]))
    market.advanced(2)
    assert market.whenever(market.reorganisation(JOINED + 1)).then(ChainReorganised)
    assert market.world.escrows[ESCROW].usable_msat == 0


def test_output_that_was_taken_and_then_never_made_is_reorged() -> None:
    market = OnChain().opened(CLIENT).advanced().deposited(CLIENT, 30_000, "one").advanced()
    (coin,) = market.coins(CLIENT)
    market.send(OPERATOR, market.theft(coin))
    assert market.whenever(market.reorganisation(JOINED)).then(ChainReorganised, DepositRestored, DepositReorged)
    assert market.world.escrows[ESCROW].missing_msat == 30_000_000
    market.advanced().restored(coin.outpoint)
    assert market.world.escrows[ESCROW].usable_msat == 30_000_000


def test_deposit_that_can_never_come_back_is_taken() -> None:
    market = OnChain().opened(CLIENT).advanced().deposited(CLIENT, 30_000, "one")
    (coin,) = market.coins(CLIENT)
    market.reorganised(JOINED)
    market.advanced(3)
    assert market.whenever(market.theft(coin, height=market.height)).then(CoinTaken)
    assert market.world.escrows[ESCROW].missing_msat == 30_000_000
    assert market.books.reorged == {}
    told = market.whenever(market.reorganisation(JOINED)).then(ChainReorganised, DepositRestored, DepositReorged)
    assert told[1] == DepositRestored("escrow", CLIENT, coin.outpoint, 30_000_000, JOINED)
    assert market.world.escrows[ESCROW].missing_msat == 30_000_000


# --------------------------------------------------------------------------------------------------------- a term's end
def ending(expires: int = 500) -> OnChain:
    """A market whose client's and worker's terms are about to end."""
    market = OnChain().with_client_on_chain(60_000, expires=expires).with_workers(ANNA, sat=9_000, expires=expires)
    return market.advanced(expires - SAFETY_BLOCKS - market.height)


def test_client_posts_nothing_when_its_term_is_about_to_end() -> None:
    market = ending()
    told = market.when(CLIENT, a_job()).refused(TermEnding)
    assert told.facts == {"escrow": ESCROW, "expires_height": 500, "height": 500 - SAFETY_BLOCKS}
    assert market.books.lapsed == {ESCROW, ANNA}


def test_client_posts_until_its_term_is_about_to_end() -> None:
    market = ending()
    market.reorganised(500 - SAFETY_BLOCKS - 1)
    assert market.books.lapsed == set()
    assert market.when(CLIENT, a_job()).then(JobPosted, EscrowReserved)


def test_job_gives_out_no_tasks_when_its_term_is_about_to_end() -> None:
    market = OnChain().with_client_on_chain(expires=500).with_workers(ANNA, BEN)
    posted = market.send(CLIENT, a_job(stake_msat=0))[0]
    assert isinstance(posted, JobPosted)
    market.advanced(500 - SAFETY_BLOCKS - 1 - market.height)
    assert market.world.may_work(ANNA, posted)
    market.advanced()
    assert not market.world.may_work(ANNA, posted)


def test_worker_whose_term_is_about_to_end_takes_only_what_locks_no_stake() -> None:
    market = OnChain().with_client_on_chain().with_workers(ANNA, expires=500)
    staked, free = (market.send(CLIENT, a_job(stake_msat=msat))[0] for msat in (400, 0))
    market.advanced(500 - SAFETY_BLOCKS - market.height)
    assert isinstance(staked, JobPosted)
    assert isinstance(free, JobPosted)
    assert not market.world.may_work(ANNA, staked)
    assert market.world.may_work(ANNA, free)


def test_new_term_does_not_make_money_safe_that_is_still_in_the_old_one() -> None:
    market = ending().opened(CLIENT, term=1, expires=2_000)
    market.when(CLIENT, a_job()).refused(errors.EscrowTooSmall)
    market.deposited(CLIENT, 10_000)
    assert market.when(CLIENT, a_job(price_msat=9_000_000)).then(JobPosted, EscrowReserved)
    market.when(CLIENT, a_job(price_msat=2_000_000)).refused(errors.EscrowTooSmall)


def test_stake_in_an_ending_term_is_not_staked_anew() -> None:
    market = ending().opened(ANNA, term=1, expires=2_000)
    assert market.world.free_stake_msat(ANNA) == 0
    market.deposited(ANNA, 4_000)
    assert market.world.free_stake_msat(ANNA) == 4_000_000


def test_free_money_of_ending_terms_goes_back() -> None:
    market = ending()
    told = market.whenever(ReturnLapsed()).then(EscrowRefunded, StakeWithdrawn)
    assert told == [EscrowRefunded(ESCROW, 60_000_000), StakeWithdrawn(ANNA, 9_000_000)]
    assert market.whenever(ReturnLapsed()).then() == []


def test_money_that_a_job_or_an_assignment_needs_does_not_go_back_yet() -> None:
    market = OnChain().with_client_on_chain(60_000, expires=500).with_workers(ANNA, sat=9_000, expires=500)
    market.with_job(price_msat=1_000_000).assigned(ANNA)
    market.advanced(500 - SAFETY_BLOCKS - market.height)
    assert market.whenever(ReturnLapsed()).then() == []
    market.committed(ANNA).submitted(ANNA)
    told = market.whenever(ReturnLapsed()).then(EscrowRefunded, StakeWithdrawn)
    assert told == [EscrowRefunded(ESCROW, 58_970_000), StakeWithdrawn(ANNA, 9_000_000)]


def test_fractions_of_a_satoshi_do_not_go_back() -> None:
    market = OnChain().with_client_on_chain(60_000, expires=500).with_workers(CARL).earned(CARL, 10.001)
    market.advanced(500 - SAFETY_BLOCKS - market.height)
    (told,) = market.whenever(ReturnLapsed()).then(EscrowRefunded)
    assert isinstance(told, EscrowRefunded)
    assert told.amount_msat % 1_000 == 0
    assert 0 < market.world.escrows[ESCROW].free_msat < 1_000


def test_worker_that_never_opened_an_account_works_without_stake() -> None:
    market = OnChain().with_client_on_chain()
    market.send(BEN, RegisterWorker("cpu", 2, 4096, "0.10.2"))
    market.send(BEN, PlaceAsk(100, 8, 2048))
    free, staked = (market.send(CLIENT, a_job(stake_msat=msat))[0] for msat in (0, 400))
    assert isinstance(free, JobPosted)
    assert isinstance(staked, JobPosted)
    assert market.world.may_work(BEN, free)
    assert not market.world.may_work(BEN, staked)


def test_arbiter_is_no_settlement() -> None:
    market = OnChain()
    market.when(ARBITER, AdvanceChain(200, digest("x"))).refused(Unauthorised)
