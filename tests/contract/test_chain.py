"""Both chains do the same: the embedded one, and Bitcoin Core's adapter against a server of documented answers."""

import pytest

from domain.bitcoin import OutPoint, block_hash, merkle_root_from, parse, parse_header, txid
from services.ports import Block, Unspent
from services.settlement.errors import NotInBlock, TransactionRefused
from tests.chain import AWAY, FEE_SAT, MINE, build, output_of, shown, spend
from tests.lab import Lab, lab, refused

__all__ = ["lab"]

NEVER = OutPoint("ab" * 32, 0)


async def test_chain_tells_its_blocks_each_the_parent_of_the_next(lab: Lab) -> None:
    tip = await lab.chain.tip()
    blocks = list(await lab.chain.blocks(0, 1_000))
    assert (tip.height, blocks[-1].id) == (120, tip)
    assert [block.id.height for block in blocks] == list(range(121))
    assert [block.previous for block in blocks[1:]] == [block.id.hash for block in blocks[:-1]]
    assert all(block_hash(block.header) == block.id.hash for block in blocks)
    assert all(holds(block, transaction) for block in blocks for transaction in block.transactions)


def holds(block: Block, transaction: bytes) -> bool:
    """Whether a block of one transaction holds this one, by its header's root."""
    return bytes.fromhex(txid(parse(transaction)))[::-1] == parse_header(block.header).merkle_root


@pytest.mark.parametrize(
    ("start", "limit", "heights"), [(118, 2, [118, 119]), (120, 9, [120]), (121, 9, []), (5, 0, [])]
)
async def test_chain_tells_no_more_blocks_than_it_has_or_is_asked_for(
    lab: Lab, start: int, limit: int, heights: list[int]
) -> None:
    assert [block.id.height for block in await lab.chain.blocks(start, limit)] == heights


async def test_coin_is_known_until_a_block_spends_it(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raw = spend(coin)
    assert await lab.chain.utxo(coin.outpoint) == coin
    assert (coin.height, coin.coinbase, coin.value_sat) == (1, True, 50 * 100_000_000)
    name = await lab.chain.send(raw)
    assert await lab.chain.utxo(coin.outpoint) == coin
    assert await lab.chain.utxo(OutPoint(name, 0)) is None
    await lab.mine(1)
    assert await lab.chain.utxo(coin.outpoint) is None
    assert await lab.chain.utxo(OutPoint(name, 0)) == Unspent(
        OutPoint(name, 0), coin.value_sat - FEE_SAT, AWAY, 121, coinbase=False
    )
    assert await lab.chain.utxo(OutPoint(name, 1)) is await lab.chain.utxo(NEVER) is None


async def test_transaction_is_checked_without_being_sent(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raw = spend(coin)
    checked = await lab.chain.check(raw)
    assert checked == (txid(parse(raw)), FEE_SAT, checked.vsize)
    assert checked.vsize == (3 * 94 + len(raw) + 3) // 4
    assert coin in await lab.coins()


async def test_transaction_is_sent_as_often_as_one_likes(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raw = spend(coin)
    checked = await lab.chain.check(raw)
    assert {await lab.chain.send(raw), await lab.chain.send(raw)} == {checked.txid}
    assert await lab.chain.check(raw) == checked
    await lab.mine(1)
    assert await lab.chain.send(raw) == checked.txid
    with pytest.raises(TransactionRefused, match="a block holds it already"):
        await lab.chain.check(raw)
    assert len((await lab.chain.blocks(121, 1))[0].transactions) == 2


async def test_twin_with_other_witnesses_does_not_displace_what_waits(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raw = spend(coin)
    twin = shown(parse(raw), script=b"\x00")
    assert await refused(lab.chain, twin) == "script-verify"
    assert await lab.chain.send(raw) == await lab.chain.send(twin)
    await lab.mine(1)
    assert (await lab.chain.blocks(121, 1))[0].transactions[1] == raw


async def test_chain_of_waiting_transactions_is_mined_in_one_block(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raws = [spend(coin, MINE)]
    for _ in range(5):
        parent = parse(raws[-1])
        await lab.chain.send(raws[-1])
        raws.append(spend(output_of(txid(parent), parent), MINE))
    await lab.chain.send(raws[-1])
    await lab.mine(1)
    (block,) = await lab.chain.blocks(121, 1)
    assert list(block.transactions[1:]) == raws


async def test_higher_fee_and_rate_replace_what_waits_with_all_that_spends_it(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    first = spend(coin, MINE)
    child = spend(output_of(txid(parse(first)), parse(first)))
    for raw in (first, child):
        await lab.chain.send(raw)
    assert await refused(lab.chain, spend(coin, fee_sat=FEE_SAT)) == "mempool-conflict"
    assert await refused(lab.chain, spend(coin, fee_sat=2 * FEE_SAT)) == "mempool-conflict"
    better = spend(coin, fee_sat=3 * FEE_SAT)
    await lab.chain.send(better)
    assert await refused(lab.chain, child) == "missing-or-spent"
    await lab.mine(1)
    assert (await lab.chain.blocks(121, 1))[0].transactions[1:] == (better,)


async def test_proof_leads_to_the_header_of_the_block_and_of_no_other(lab: Lab) -> None:
    names = [await lab.chain.send(spend(coin)) for coin in (await lab.coins())[:6]]
    await lab.mine(2)
    header = (await lab.chain.blocks(121, 1))[0].header
    for place, name in enumerate(names, 1):
        proof = await lab.chain.proof(name, 121)
        assert (proof.header, proof.index) == (header, place)
        assert merkle_root_from(name, proof.index, proof.branch) == parse_header(header).merkle_root
    for name, height in ((names[0], 120), (names[0], 122), (names[0], 123), ("cd" * 32, 121)):
        with pytest.raises(NotInBlock):
            await lab.chain.proof(name, height)


async def test_fork_takes_the_chain_back_and_its_transactions_wait_again(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raw = spend(coin)
    await lab.chain.send(raw)
    left = await lab.mine(2)
    tip = await lab.fork(120, 3)
    assert await lab.chain.tip() == tip == (123, tip.hash)
    assert left.hash not in {block.id.hash for block in await lab.chain.blocks(100, 100)}
    assert await lab.chain.utxo(coin.outpoint) == coin
    assert (await lab.chain.check(raw)).fee_sat == FEE_SAT
    await lab.mine(1)
    assert (await lab.chain.blocks(124, 1))[0].transactions[1:] == (raw,)


async def test_fork_that_holds_a_rival_makes_a_confirmed_transaction_impossible(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    raw, rival = spend(coin), spend(coin, MINE)
    name = await lab.chain.send(raw)
    await lab.mine(1)
    await lab.fork(120, 2, [rival])
    assert await lab.chain.utxo(OutPoint(name, 0)) is None
    assert await lab.chain.utxo(OutPoint(txid(parse(rival)), 0)) is not None
    assert await refused(lab.chain, raw) == "missing-or-spent"


async def test_fee_rate_is_never_below_what_nodes_relay(lab: Lab) -> None:
    assert [await lab.chain.fee_rate(target) >= 1_000 for target in (0, 1, 6, 10**6)] == [True] * 4


async def test_bytes_that_are_no_transaction_are_refused(lab: Lab) -> None:
    raw = spend((await lab.coins())[0])
    for broken in (b"", raw[:-1], raw + b"\x00", b"\xff" * 100):
        assert await refused(lab.chain, broken) == "unreadable"


async def test_two_coins_may_be_spent_but_none_twice(lab: Lab) -> None:
    one, other, *_ = await lab.coins()
    outputs = [(2 * one.value_sat - FEE_SAT, AWAY)]
    assert (await lab.chain.check(shown(build([one, other], outputs)))).fee_sat == FEE_SAT
    assert await refused(lab.chain, shown(build([one, one], outputs))) == "duplicate-inputs"
