"""A payout as a transaction, and every state that it can be in."""

import hashlib

import pytest

from domain import bitcoin, payout
from domain.bitcoin import RBF
from domain.books import DEEP_BLOCKS, NO_ANCHOR, TIPS, State
from domain.errors import BadTerms, Unauthorised
from domain.escrow import RefundEscrow
from domain.events import (
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    LogAnchored,
    Paid,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutReorged,
)
from domain.ids import escrow_id
from domain.merkle import EMPTY_ROOT, hash_leaf, hash_node
from domain.settlement import (
    AbandonPayout,
    ConfirmPayout,
    ContestPayout,
    NotDeepEnough,
    NotInBlock,
    NotOfPayout,
    PayoutSettled,
    RecordBroadcast,
    StillPayable,
    UnknownOutput,
    UnknownPayout,
)
from domain.worker import PlaceAsk, RegisterWorker
from tests.onchain import ARBITER, OnChain, digest, fee_of, outputs_of, p2wpkh
from tests.spec import ANNA, BEN, CARL, CLIENT, MALLORY, OPERATOR, key

ESCROW = escrow_id(CLIENT)


def a_market() -> OnChain:
    """Two workers have earned enough to be paid at every rung, and the market its fee."""
    market = OnChain(fee_ppm=40_000).with_client_on_chain(400_000).with_workers(ANNA, BEN)
    return market.earned(ANNA, 60_000).earned(BEN, 50_000)


# ------------------------------------------------------------------------------------------------------ the transaction
def test_transaction_pays_in_the_order_that_its_events_say() -> None:
    market = a_market()
    market.send(CLIENT, RefundEscrow(20_000_000))
    market.slashed(ANNA, 15_000, BEN)
    found = market.planned()
    planned = found.planned
    tx = payout.transaction(planned, found.allotted, 0)
    spent = [(bitcoin.reference(one.outpoint), one.sequence) for one in tx.inputs]
    assert spent == [(coin.outpoint, RBF) for drawn in planned.drawn for coin in drawn.coins]
    owners = sorted((one.amount_sat, one.script) for one in found.allotted)
    scripts = [one.script.hex() for one in tx.outputs]
    assert scripts[: len(owners)] == [script for _, script in owners]
    changes = [drawn.script for drawn in planned.drawn if drawn.change_sat]
    anchor = bitcoin.op_return(bytes.fromhex(planned.anchor)).hex()
    assert scripts[len(owners) :] == [p2wpkh("market"), anchor, planned.reserve_script, *changes]
    assert (planned.market_sat, planned.reserve_sat) == (4_400, 15_000)


def test_rungs_spend_the_same_and_differ_by_the_fee_alone() -> None:
    market = a_market()
    market.send(CLIENT, RefundEscrow(20_000_000))
    found = market.planned()
    assert len(found.planned.fees_sat) == 3
    rungs = [payout.transaction(found.planned, found.allotted, rung) for rung in range(3)]
    assert len({rung.inputs for rung in rungs}) == 1
    assert [fee_of(found, rung) for rung in range(3)] == list(found.planned.fees_sat)
    assert [bitcoin.txid(rung) for rung in rungs] == list(found.txids)
    assert len(set(found.txids)) == 3
    (leaving,) = [one for one in found.allotted if one.due == "escrow"]
    kept = [dict(map(reversed, outputs_of(found, rung))) for rung in range(3)]  # type: ignore[arg-type]
    net = [one[leaving.script] for one in kept]
    assert [leaving.amount_sat - sat for sat in net] == [leaving.borne_vb * multiple for multiple in payout.LADDER]
    change = [one[found.planned.drawn[0].script] for one in kept]
    assert change[2] == found.planned.drawn[0].change_sat
    assert [sat - change[2] for sat in change] == [
        payout.saved(found.planned, found.allotted, fee) for fee in found.planned.fees_sat
    ]


def test_signed_size_is_what_the_fee_is_for() -> None:
    found = a_market().planned(rate_msat=1_500)
    lengths = [148]
    outputs = [bytes.fromhex(script) for _, script in outputs_of(found)]
    vsize = bitcoin.payout_vsize(lengths, outputs)
    assert found.planned.fees_sat[0] == -(-vsize * 1_500 // 1_000)


def test_anchor_is_a_tagged_hash_over_what_it_binds() -> None:
    said = b"M\n3\n17\nroot\nreceipts\nprevious\n"
    tag = hashlib.sha256(b"pasar/anchor/1").digest()
    assert payout.anchor("M", 3, 17, "root", "receipts", "previous") == hashlib.sha256(tag + tag + said).hexdigest()
    other = [("N", 3, 17), ("M", 4, 17), ("M", 3, 18)]
    found = {payout.anchor(*one, "root", "receipts", "previous") for one in [("M", 3, 17), *other]}
    assert len(found) == 4


def test_receipts_root_is_a_merkle_root_over_every_share() -> None:
    shares = (("a" * 24, 3_000), ("b" * 24, 2_000))
    allotted = [
        PayoutAllotted(1, "reward", ANNA, 5, 0, "", tuple(Paid(job, msat) for job, msat in shares)),
        PayoutAllotted(1, "reward", BEN, 7, 0, "", (Paid("a" * 24, 7_000),)),
        PayoutAllotted(1, "escrow", CLIENT, 9, 31, ""),
    ]
    leaves = [hash_leaf(f"{job} {who} {msat}".encode()) for job, who, msat in [
        ("a" * 24, ANNA, 3_000), ("a" * 24, BEN, 7_000), ("b" * 24, ANNA, 2_000),
    ]]  # fmt: skip
    root = hash_node(hash_node(leaves[0], leaves[1]), leaves[2]).hex()
    assert payout.receipts_root(allotted) == root
    assert payout.receipts_root(reversed(allotted)) == root
    assert payout.receipts_root([]) == EMPTY_ROOT.hex()


# ---------------------------------------------------------------------------------------------------------- its states
def test_payout_is_planned_sent_and_confirmed() -> None:
    market = a_market()
    found = market.planned()
    assert found.state is State.PLANNED
    assert market.whenever(market.sending(1)).then(PayoutBroadcast) == [PayoutBroadcast(1, found.txids[0], 305)]
    assert (found.state, found.sent) == (State.SENT, found.txids[0])
    assert market.whenever(market.sending(1, 2)).then(PayoutBroadcast)
    assert found.sent == found.txids[2]
    market.advanced()
    told = market.whenever(market.confirmation(1, 2)).then(PayoutConfirmed, LogAnchored)
    assert found.state is State.CONFIRMED
    confirmed, anchored = told
    assert isinstance(confirmed, PayoutConfirmed)
    assert (confirmed.txid, confirmed.fee_sat) == (found.txids[2], found.planned.fees_sat[2])
    assert confirmed.block == bitcoin.block_hash(bytes.fromhex(confirmed.header))
    planned = found.planned
    bound = (planned.size, planned.root, planned.anchor)
    assert anchored == LogAnchored(1, *bound, confirmed.txid, market.height)
    assert market.books.due_msat(ANNA) == market.books.due_msat(BEN) == 0
    assert market.books.open_payouts == []


def test_payout_that_was_never_said_to_be_sent_confirms() -> None:
    market = a_market()
    market.planned()
    assert market.advanced().whenever(market.confirmation(1)).then(PayoutConfirmed, LogAnchored)


def test_change_goes_back_to_the_account_with_what_a_cheaper_rung_left() -> None:
    market = a_market()
    found = market.paid(rung=0)
    planned = found.planned
    (change,) = market.coins(CLIENT)
    assert change.value_sat == planned.drawn[0].change_sat + planned.fees_sat[2] - planned.fees_sat[0]
    assert change.outpoint == f"{found.txids[0]}{4:08x}"
    assert market.books.undrawn_msat[ESCROW] == market.books.fund_msat
    assert market.books.fund_msat == 2_200_000 - planned.fees_sat[0] * 1_000


@pytest.mark.parametrize("state", [State.PLANNED, State.SENT])
def test_payout_is_not_given_up_while_it_can_confirm(state: State) -> None:
    market = a_market()
    found = market.planned()
    if state is State.SENT:
        market.sent(1)
    market.advanced(500)
    market.whenever(AbandonPayout(1)).refused(StillPayable)
    assert found.state is state


def test_arbiter_contests_a_payout_which_is_given_up_then() -> None:
    market = a_market()
    due_msat = market.books.due_msat(ANNA)
    fund_msat, fees_msat = market.books.fund_msat, market.books.fees_msat
    found = market.planned()
    for party in (OPERATOR, MALLORY):
        market.when(party, ContestPayout(1, "plan")).refused(Unauthorised)
    assert market.when(ARBITER, ContestPayout(1, "root")).then(PayoutContested)
    assert market.when(ARBITER, ContestPayout(1, "root")).then() == []
    assert found.state is State.CONTESTED
    market.whenever(market.sending(1)).refused(PayoutSettled)
    assert market.whenever(AbandonPayout(1)).then(PayoutAbandoned)
    assert found.state is State.ABANDONED
    assert market.books.due_msat(ANNA) == due_msat
    assert (market.books.fund_msat, market.books.fees_msat) == (fund_msat, fees_msat)
    assert market.books.anchor == NO_ANCHOR
    assert [coin.epoch for coin in market.coins(CLIENT)] == [0]
    for command in (AbandonPayout(1), market.sending(1), market.confirmation(1)):
        market.whenever(command).refused(PayoutSettled)
    market.when(ARBITER, ContestPayout(1, "plan")).refused(PayoutSettled)
    again = market.planned()
    assert again.planned.epoch == 2
    assert again.planned.previous == NO_ANCHOR


def test_payout_that_confirms_is_confirmed_whatever_the_arbiter_said() -> None:
    market = a_market()
    market.planned()
    market.contested(1).advanced()
    assert market.whenever(market.confirmation(1)).then(PayoutConfirmed, LogAnchored)


def test_payout_that_was_sent_is_not_contested() -> None:
    market = a_market()
    market.planned()
    market.sent(1).when(ARBITER, ContestPayout(1, "plan")).refused(PayoutSettled)


def test_payout_that_does_not_exist_is_unknown() -> None:
    market = a_market()
    market.whenever(AbandonPayout(1)).refused(UnknownPayout)
    market.whenever(RecordBroadcast(1, digest("x"))).refused(UnknownPayout)
    market.when(ARBITER, ContestPayout(1, "plan")).refused(UnknownPayout)
    market.planned()
    market.whenever(AbandonPayout(2)).refused(UnknownPayout)


def test_transaction_of_something_else_is_no_payout() -> None:
    market = a_market()
    market.planned()
    market.whenever(RecordBroadcast(1, digest("else"))).refused(NotOfPayout)
    market.advanced().whenever(market.confirmation(1, txid=digest("else"))).refused(NotOfPayout)


def test_payout_is_confirmed_by_a_proof_alone() -> None:
    market = a_market()
    market.planned()
    market.sent(1).advanced()
    right = market.confirmation(1)
    elsewhere = market.confirmation(1, index=0), market.confirmation(1, branch=right.branch[::-1])
    for wrong in (*elsewhere, market.confirmation(1, header=right.header, branch=market.confirmation(1).branch)):
        market.whenever(wrong).refused(NotInBlock)
    market.whenever(market.confirmation(1, branch=())).refused(bitcoin.BadBranch)
    assert market.whenever(right).then(PayoutConfirmed, LogAnchored)


def test_header_without_work_proves_nothing() -> None:
    market = a_market()
    market.planned()
    market.advanced()
    right = market.confirmation(1)
    for nonce in range(64):
        header = right.header[:-8] + nonce.to_bytes(4, "little").hex()
        if not bitcoin.has_work(bytes.fromhex(header)):
            command = ConfirmPayout(1, right.txid, right.height, header, right.index, right.branch)
            market.whenever(command).refused(NotInBlock)
            return
    raise AssertionError("every other nonce has no work")


def test_payout_confirms_as_deep_as_the_market_waits() -> None:
    market = OnChain(confirmations=2).opened(CLIENT).advanced(2)
    market.deposited(CLIENT, 200_000, height=market.height - 1).with_workers(ANNA, sat=0).earned(ANNA, 30_000)
    market.planned()
    market.sent(1).advanced()
    market.whenever(market.confirmation(1)).refused(NotDeepEnough)
    seen = market.height
    market.advanced()
    assert market.whenever(market.confirmation(1, height=seen)).then(PayoutConfirmed, LogAnchored)


# ------------------------------------------------------------------------------------------------------ reorganisations
def test_payout_that_leaves_the_chain_is_sent_and_not_planned_again() -> None:
    market = a_market()
    found = market.planned()
    before = market.snapshot()["books"]
    market.sent(1).confirmed(1, 1)
    told = market.whenever(market.reorganisation(market.height - 1)).then(ChainReorganised, PayoutReorged)
    assert told[1] == PayoutReorged(1, found.txids[1])
    assert (found.state, found.confirmed, found.sent) == (State.SENT, None, found.txids[0])
    after = market.snapshot()["books"]
    for name in ("coins", "undrawn_msat", "fund_msat", "fees_msat", "earned_msat", "reserve_sat", "anchor"):
        assert after[name] == before[name], name  # type: ignore[index]
    market.confirmed(1, 2)
    assert found.confirmed is not None
    assert found.confirmed.fee_sat == found.planned.fees_sat[2]
    assert market.books.due_msat(ANNA) == 0


def test_payout_and_the_deposit_that_it_spent_leave_the_chain_and_come_back() -> None:
    market = OnChain().opened(CLIENT).with_workers(ANNA).advanced().deposited(CLIENT, 200_000)
    market.earned(ANNA, 30_000)
    (deposit,) = market.coins(CLIENT)
    found = market.paid()
    told = market.whenever(market.reorganisation(deposit.height - 1)).then(
        ChainReorganised, PayoutReorged, DepositReorged
    )
    assert told[2] == DepositReorged("escrow", CLIENT, deposit.outpoint, 200_000_000)
    assert market.coins(CLIENT) == []
    market.advanced(3)
    market.whenever(market.confirmation(1)).refused(UnknownOutput)
    market.restored(deposit.outpoint)
    assert [coin.epoch for coin in market.coins(CLIENT)] == [1]
    market.confirmed(1, 1)
    assert found.state is State.CONFIRMED


def chained() -> OnChain:
    """The second payout spends the change of the first."""
    market = a_market()
    market.paid()
    market.earned(ANNA, 30_000)
    found = market.paid()
    assert payout.coins(found.planned)[0].outpoint.startswith(market.books.payouts[1].txids[0])
    return market


def test_chained_payouts_are_undone_the_newest_first_and_confirm_again() -> None:
    market = chained()
    before = market.coins(CLIENT)
    told = market.reorganised(market.height - 2)
    assert [type(event) for event in told] == [ChainReorganised, PayoutReorged, PayoutReorged]
    assert [event.epoch for event in told[1:]] == [2, 1]  # type: ignore[union-attr]
    assert market.books.open_payouts == [1, 2]
    market.whenever(market.confirmation(2)).refused(UnknownOutput)
    market.confirmed(1).confirmed(2)
    assert [(coin.outpoint, coin.value_sat) for coin in market.coins(CLIENT)] == [
        (coin.outpoint, coin.value_sat) for coin in before
    ]


def test_payout_waits_for_the_one_whose_change_it_spends() -> None:
    market = chained()
    market.reorganised(market.height - 2)
    market.advanced(50).whenever(AbandonPayout(2)).refused(StillPayable)


def test_payout_whose_predecessor_confirms_by_another_rung_is_given_up() -> None:
    market = chained()
    paid_msat = market.books.payouts[2].allotted[-1].amount_sat * 1_000
    market.reorganised(market.height - 2)
    market.confirmed(1, 2)
    market.whenever(market.confirmation(2)).refused(UnknownOutput)
    market.advanced(DEEP_BLOCKS - 1).whenever(AbandonPayout(2)).refused(StillPayable)
    assert market.advanced().whenever(AbandonPayout(2)).then(PayoutAbandoned)
    assert market.books.due_msat(ANNA) == paid_msat
    assert market.books.anchor == market.books.payouts[1].planned.anchor
    third = market.paid()
    assert third.planned.previous == market.books.payouts[1].planned.anchor


def test_payout_whose_predecessor_confirms_by_the_same_rung_finds_its_input() -> None:
    market = chained()
    market.reorganised(market.height - 2)
    market.confirmed(1, 0)
    assert [coin.epoch for coin in market.coins(CLIENT)] == [2]
    market.advanced(50).whenever(AbandonPayout(2)).refused(StillPayable)


def test_payout_whose_input_somebody_else_spent_is_given_up_once_that_is_deep() -> None:
    market = a_market()
    found = market.planned()
    market.sent(1).advanced()
    (coin,) = market.coins(CLIENT)
    assert market.whenever(market.theft(coin)).then(CoinTaken)
    market.whenever(market.confirmation(1)).refused(UnknownOutput)
    market.advanced(DEEP_BLOCKS - 1).whenever(AbandonPayout(1)).refused(StillPayable)
    assert market.advanced().whenever(AbandonPayout(1)).then(PayoutAbandoned)
    assert market.books.due_msat(ANNA) == 60_000_000
    assert found.state is State.ABANDONED


def test_payout_whose_input_is_there_again_confirms() -> None:
    market = a_market()
    market.planned()
    market.sent(1).advanced(2)
    market.send(OPERATOR, market.theft(market.coins(CLIENT)[0]))
    told = market.reorganised(market.height - 1)
    assert [type(event) for event in told] == [ChainReorganised, DepositRestored]
    market.confirmed(1)
    assert market.books.due_msat(ANNA) == 0


def test_change_that_was_taken_is_forgotten_with_the_payout_that_made_it() -> None:
    market = a_market()
    found = market.paid()
    (change,) = market.coins(CLIENT)
    market.send(OPERATOR, market.theft(change))
    assert market.world.escrows[ESCROW].missing_msat == change.value_sat * 1_000
    told = market.reorganised(market.height - 1)
    assert [type(event) for event in told] == [ChainReorganised, DepositRestored, PayoutReorged]
    assert market.world.escrows[ESCROW].missing_msat == 0
    assert found.state is State.SENT
    market.confirmed(1, 1)


def reorged() -> OnChain:
    """A payout is planned that spends a deposit which left the chain."""
    market = OnChain().opened(CLIENT).with_workers(ANNA).advanced().deposited(CLIENT, 200_000)
    market.earned(ANNA, 30_000).planned()
    market.reorganised(market.height - 1)
    return market


def test_payout_waits_for_a_deposit_that_left_the_chain() -> None:
    market = reorged().advanced(TIPS - 1)
    market.whenever(AbandonPayout(1)).refused(StillPayable)
    assert market.advanced().whenever(AbandonPayout(1)).then(PayoutAbandoned)


def test_payout_whose_deposit_can_never_come_back_is_given_up() -> None:
    market = reorged()
    (coin,) = market.books.reorged.values()
    market.advanced(3).send(OPERATOR, market.theft(coin))
    market.advanced(DEEP_BLOCKS - 1).whenever(AbandonPayout(1)).refused(StillPayable)
    assert market.advanced().whenever(AbandonPayout(1)).then(PayoutAbandoned)
    assert market.books.due_msat(ANNA) == 30_000_000


# --------------------------------------------------------------------------------------------------------- what is kept
def test_payouts_that_no_reorganisation_reaches_keep_only_how_they_ended() -> None:
    market = OnChain().with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 30_000)
    first = market.paid()
    txid, version = first.txids[0], first.version
    market.earned(ANNA, 30_000).planned()
    market.contested(2).abandoned(2)
    height = first.confirmed.height  # type: ignore[union-attr]
    market.advanced(143)
    assert not first.buried
    assert market.reorganised(market.height - 1)
    market.advanced(2)
    assert first.buried
    assert (first.state, first.version, first.txids, first.allotted, first.spent) == (
        State.CONFIRMED, version, (txid,), [], [],
    )  # fmt: skip
    assert market.books.payouts[2].buried
    assert market.books.payouts[2].state is State.ABANDONED
    assert market.books.floor == height
    market.whenever(market.reorganisation(height - 1)).refused(BadTerms)
    assert market.whenever(market.reorganisation(height)).then(ChainReorganised)
    market.whenever(AbandonPayout(1)).refused(PayoutSettled)
    third = market.paid()
    assert third.planned.epoch == 3
    assert third.planned.previous == first.planned.anchor


def test_payouts_beyond_the_last_144_are_not_kept_either() -> None:
    market = OnChain().with_client_on_chain(4_000_000).with_workers(CARL)
    market.advanced()
    found = []
    for number in range(150):
        market.earned(CARL, 15_000).send(OPERATOR, market.planning(size=number))
        epoch = len(market.books.payouts)
        market.send(OPERATOR, market.confirmation(epoch))
        found.append(market.books.payouts[epoch])
    assert [one.buried for one in found] == [True] * 5 + [False] * 145
    assert {one.state for one in found} == {State.CONFIRMED}
    assert {one.version for one in found} == {4}


def test_a_worker_without_a_script_is_not_paid_and_loses_nothing() -> None:
    market = OnChain().with_client_on_chain(200_000).with_workers(ANNA)
    nobody = key("N")
    market.send(nobody, RegisterWorker("cpu", 2, 4096, "0.10.2"))
    market.send(nobody, PlaceAsk(100, 8, 2048))
    market.earned(nobody, 30_000).earned(ANNA, 30_000)
    found = market.paid()
    assert [one.owner for one in found.allotted] == [ANNA]
    assert market.books.due_msat(nobody) == 30_000_000
