"""How much a block of the embedded chain takes, in weight and in signatures, as the kernel counts them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.bitcoin import OutPoint, p2wsh, parse, txid
from services.ports import Unspent
from services.settlement import policy
from services.settlement.blocks import SIGOPS_COST_MAX, WEIGHT_MAX, sigops_cost
from services.settlement.errors import BlockRefused, TransactionRefused
from services.settlement.miner import subsidy_sat, template
from services.settlement.node import Node
from tests.chain import AWAY, MINE, a_rich_node, build, output_of, shown, spend


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A chain of 120 blocks."""
    node = a_rich_node(tmp_path)
    yield node
    node.close()


def test_block_takes_what_fits_and_leaves_the_rest_with_all_that_spends_it(node: Node) -> None:
    small, large, later = node.coins(MINE)[:3]
    many = [(10_000, AWAY)] * 300
    first = spend(small)
    second = shown(build([large], [*many, (large.value_sat - 4_000_000, MINE)]))
    third = spend(output_of(txid(parse(second)), parse(second), 300))
    fourth = spend(later)
    names = [node.send(raw) for raw in (first, second, third, fourth)]
    limit = sum(policy.read(raw).weight for raw in (first, third, fourth))
    taken = [waiting.txid for waiting in node.pool.select(limit, SIGOPS_COST_MAX)]
    assert taken == [names[0], names[3]]
    taken = [waiting.txid for waiting in node.pool.select(WEIGHT_MAX, SIGOPS_COST_MAX)]
    assert taken == names
    assert list(node.pool.select(WEIGHT_MAX, -1)) == []


def test_many_full_transactions_are_mined_over_several_blocks(node: Node) -> None:
    coins = node.coins(MINE)[:12]
    each_sat = coins[0].value_sat // 2_300 - 100
    raws = [shown(build([coin], [(each_sat, AWAY)] * 2_300)) for coin in coins]
    for raw in raws:
        node.send(raw)
    node.mine(MINE)
    node.mine(MINE)
    first, second = (block.transactions[1:] for block in node.blocks(121, 2))
    assert (first, second) == (tuple(raws[:10]), tuple(raws[10:]))
    assert WEIGHT_MAX - 400_000 < sum(policy.read(raw).weight for raw in raws[:10]) < WEIGHT_MAX


def test_signature_operations_are_counted_as_blocks_count_them() -> None:
    key = b"\x02" + b"\x11" * 32
    multi = b"\x52" + b"".join(b"\x21" + key for _ in range(3)) + b"\x53\xae"
    coin = Unspent(OutPoint("11" * 32, 0), 1, p2wsh(multi), 1, coinbase=False)
    tx = build([coin], [(1, AWAY)])
    assert sigops_cost(tx, [[b"", multi]], [p2wsh(multi)]) == 3
    assert sigops_cost(tx, [[b"sig", key]], [b"\x00\x14" + bytes(20)]) == 1
    assert sigops_cost(tx, [[]], [b"\x51\x20" + bytes(32)]) == 0
    bare = build([coin], [(1, multi), (1, b"\x76\xa9\x14" + bytes(20) + b"\x88\xac"), (1, b"\x4c\x02\xac\xac")])
    assert sigops_cost(bare, [[]], [b""]) == 4 * (20 + 1)
    nested = tx._replace(inputs=(tx.inputs[0]._replace(script=b"\x22" + p2wsh(multi)),))
    assert sigops_cost(nested, [[b"", multi]], [b"\xa9\x14" + bytes(20) + b"\x87"]) == 3
    old = tx._replace(inputs=(tx.inputs[0]._replace(script=b"\x4c" + bytes((len(multi),)) + multi),))
    assert sigops_cost(old, [[]], [b"\xa9\x14" + bytes(20) + b"\x87"]) == 4 * 3
    assert sigops_cost(old, [[]], [b""]) == 0


def demanding(coin: Unspent, multisigs: int, singles: int = 0) -> bytes:
    """A transaction whose outputs cost a block 80 for each of ``multisigs`` and 4 for each of ``singles``."""
    outputs = [(1_000, b"\xae")] * multisigs + [(1_000, b"\xac")] * singles
    return shown(build([coin], [*outputs, (coin.value_sat - 1_000 * len(outputs) - 100_000, AWAY)]))


def test_transaction_with_too_many_signature_operations_is_refused_beside_one_with_just_enough(node: Node) -> None:
    coin = node.coins(MINE)[0]
    with pytest.raises(TransactionRefused, match="16004 of 16000 signature operations"):
        node.check(demanding(coin, 200, 1))
    assert node.check(demanding(coin, 200)).vsize == 16_000 * 20 // 4


def test_pools_signature_operations_are_spread_over_blocks_as_the_kernel_counts_them(node: Node) -> None:
    raws = [demanding(coin, 200) for coin in node.coins(MINE)[:5]]
    one_more = [*raws, demanding(node.coins(MINE)[5], 0, 1)]
    times, reward_sat = node.index.times(120), subsidy_sat(121)
    with pytest.raises(BlockRefused, match="bad-blk-sigops"):
        node.submit([template(node.tip, times, one_more, now=0, script=MINE, reward_sat=reward_sat)])
    for raw in raws:
        node.send(raw)
    node.mine(AWAY)
    node.mine(AWAY)
    assert [len(block.transactions) for block in node.blocks(121, 2)] == [1 + 4, 1 + 1]
