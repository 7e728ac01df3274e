"""What a block means for the market, in the order in which it stands there."""

from collections.abc import Sequence

from domain.bitcoin import OutPoint, Tx, TxIn, TxOut, outpoint, serialize, txid
from domain.events import CoinTaken, EscrowFunded, PayoutConfirmed
from domain.payout import transaction
from domain.settlement import ConfirmDeposit, ReportTaken
from services.ports import Block, BlockId
from services.settlement.watch import DEPOSIT_MIN_SAT, Found, Rungs, Settled, look
from tests.onchain import OnChain, digest, p2wpkh
from tests.spec import ANNA, CLIENT, OPERATOR

ELSEWHERE = bytes.fromhex(p2wpkh("elsewhere"))


def a_tx(inputs: Sequence[OutPoint], *outputs: tuple[int, bytes]) -> Tx:
    return Tx(tuple(TxIn(one, 0) for one in inputs), tuple(TxOut(*one) for one in outputs))


def purse(name: str) -> OutPoint:
    return OutPoint(digest("purse", name), 3)


def seen(market: OnChain, *txs: Tx, funding: Found | None = None) -> Found:
    block = Block(BlockId(market.height, digest("block")), digest("previous"), b"", tuple(map(serialize, txs)))
    return look(block, market.books, Rungs().of(market.books), funding.funding if funding else None)


def script_of(market: OnChain) -> bytes:
    return market.books.terms[market.key(CLIENT)][-1].script


def test_block_of_strangers_means_nothing() -> None:
    market = OnChain().opened(CLIENT)
    assert seen(market, a_tx([purse("a")], (9_000, ELSEWHERE))) == Found([], {})


def test_outputs_to_an_account_are_deposits_and_small_ones_are_not() -> None:
    market = OnChain().opened(CLIENT)
    script = script_of(market)
    tx = a_tx([purse("a"), purse("b")], (9_000, script), (5, ELSEWHERE), (DEPOSIT_MIN_SAT - 1, script), (2_000, script))
    found = seen(market, tx)
    name = txid(tx)
    assert found.told == [
        ConfirmDeposit("escrow", CLIENT, sat * 1_000, name, vout, market.height, script.hex())
        for vout, sat in ((0, 9_000), (3, 2_000))
    ]
    assert set(found.funding.values()) == {(purse("a"), purse("b"))}
    for one in found.told:
        market.send(OPERATOR, one)  # type: ignore[arg-type]
    assert seen(market, tx).told == []


def test_output_that_is_made_and_spent_in_one_block_is_counted_and_gone() -> None:
    market = OnChain().opened(CLIENT)
    deposit = a_tx([purse("a")], (9_000, script_of(market)))
    theft = a_tx([OutPoint(txid(deposit), 0)], (8_000, ELSEWHERE))
    told = seen(market, deposit, theft).told
    assert [type(market.send(OPERATOR, one)[0]) for one in told] == [EscrowFunded, CoinTaken]  # type: ignore[arg-type]
    assert told[1] == ReportTaken(txid(deposit), 0, txid(theft), market.height)


def payable() -> OnChain:
    market = OnChain().with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 40_000)
    market.planned()
    return market.sent(1).advanced()


def test_payout_is_settled_by_any_of_its_rungs() -> None:
    market = payable()
    found = market.books.payouts[1]
    for rung, name in enumerate(found.txids):
        assert seen(market, transaction(found.planned, found.allotted, rung)).told == [Settled(1, name)]


def test_change_that_is_spent_in_the_payouts_own_block_is_gone() -> None:
    market = payable()
    found = market.books.payouts[1]
    paid = transaction(found.planned, found.allotted, 0)
    change = OutPoint(txid(paid), len(paid.outputs) - 1)
    theft = a_tx([change, OutPoint(txid(paid), 0)], (8_000, ELSEWHERE))
    told = seen(market, paid, theft).told
    assert told == [Settled(1, txid(paid)), ReportTaken(change.txid, change.vout, txid(theft), market.height)]
    assert type(market.send(OPERATOR, market.confirmation(1))[0]) is PayoutConfirmed
    assert type(market.send(OPERATOR, told[1])[0]) is CoinTaken  # type: ignore[arg-type]


def test_payout_that_is_confirmed_is_not_told_again() -> None:
    market = payable()
    found = market.books.payouts[1]
    paid = transaction(found.planned, found.allotted, 0)
    market.send(OPERATOR, market.confirmation(1))
    assert seen(market, paid).told == []


def test_payout_that_was_given_up_is_a_strangers_transaction() -> None:
    market = OnChain().with_client_on_chain(200_000).with_workers(ANNA).earned(ANNA, 40_000)
    found = market.planned()
    market.contested(1)
    paid = transaction(found.planned, found.allotted, 0)
    assert seen(market, paid).told == [Settled(1, txid(paid))]
    market.abandoned(1)
    told = seen(market, paid).told
    (coin,) = market.coins(CLIENT)
    spent = outpoint(coin.outpoint)
    assert told[0] == ReportTaken(spent.txid, spent.vout, txid(paid), market.height)
    assert [type(one) for one in told] == [ReportTaken, ConfirmDeposit]
    for one in told:
        market.send(OPERATOR, one)  # type: ignore[arg-type]
    assert market.world.escrows[market.key(CLIENT)].missing_msat == 200_000_000


def test_deposit_that_left_the_chain_is_gone_when_something_else_spends_what_it_spent() -> None:
    market = OnChain().opened(CLIENT).advanced()
    deposit = a_tx([purse("a"), purse("b")], (9_000, script_of(market)))
    first = seen(market, deposit)
    market.send(OPERATOR, first.told[0])  # type: ignore[arg-type]
    market.reorganised(market.height - 1)
    market.advanced(2)
    other = a_tx([purse("b")], (1_000, ELSEWHERE))
    assert seen(market, other).told == []
    assert seen(market, other, funding=first).told == [ReportTaken(txid(deposit), 0, txid(other), market.height)]
    back = seen(market, deposit, funding=first).told
    assert [type(one) for one in back] == [ConfirmDeposit]
