"""What waits for a block: who may replace whom, how much fits, and locks to the very second and block."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.bitcoin import OutPoint, block_hash, parse, txid, vsize
from services.settlement import mempool, policy
from services.settlement.errors import BlockRefused, TransactionRefused
from services.settlement.index import GENESIS, Index, Move
from services.settlement.miner import subsidy_sat, template
from services.settlement.node import Node
from tests.chain import AWAY, FEE_SAT, MINE, a_rich_node, build, output_of, shown, spend


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A chain of 120 blocks."""
    node = a_rich_node(tmp_path / "chain")
    yield node
    node.close()


def conflict(node: Node, raw: bytes) -> str:
    with pytest.raises(TransactionRefused) as refused:
        node.send(raw)
    assert refused.value.reason == "mempool-conflict"
    return str(refused.value)


def test_replacement_pays_for_all_that_it_pushes_out_and_for_its_own_way(node: Node) -> None:
    coin = node.coins(MINE)[0]
    first = spend(coin, MINE)
    child = spend(output_of(txid(parse(first)), parse(first)), fee_sat=5_000)
    for raw in (first, child):
        node.send(raw)
    own_sat = node.check(spend(node.coins(MINE)[1])).vsize
    assert f"of at least {6_000 + own_sat} sat" in conflict(node, spend(coin, fee_sat=6_000 + own_sat - 1))
    node.send(spend(coin, fee_sat=6_000 + own_sat))
    assert len(node.pool.waiting) == 1


def test_replacement_has_a_better_rate_and_not_only_a_higher_fee(node: Node) -> None:
    coin, *others = node.coins(MINE)[:6]
    node.send(spend(coin, fee_sat=2_000))
    wide = [(each.value_sat, AWAY) for each in others]

    def larger(fee_sat: int) -> bytes:
        return shown(build([coin, *others], [*wide, (coin.value_sat - fee_sat, AWAY)]))

    same_sat = 2_000 * vsize(larger(1)) / vsize(spend(coin))
    assert "fee rate is not above" in conflict(node, larger(int(same_sat)))
    node.send(larger(int(same_sat) + 1))


def test_replacement_does_not_spend_what_it_replaces(node: Node) -> None:
    coin, other, *_ = node.coins(MINE)
    first = build([coin], [(coin.value_sat - FEE_SAT, MINE)])
    made = output_of(node.send(shown(first)), first)
    fee_sat = 50_000
    both = shown(build([coin, made], [(coin.value_sat + made.value_sat - fee_sat, AWAY)]))
    assert "spends an output of what it would replace" in conflict(node, both)
    node.send(shown(build([coin, other], [(coin.value_sat + other.value_sat - fee_sat, AWAY)])))


@pytest.mark.parametrize(("children", "taken"), [(99, True), (100, False)])
def test_replacement_pushes_out_a_hundred_transactions_at_most(node: Node, children: int, taken: bool) -> None:
    coin = node.coins(MINE)[0]
    each_sat = coin.value_sat // 101
    first = build([coin], [(each_sat, MINE)] * 100 + [(each_sat - 20_000, MINE)])
    name = node.send(shown(first))
    for vout in range(children):
        node.send(spend(output_of(name, first, vout), fee_sat=150))
    better = spend(coin, fee_sat=60_000)
    if taken:
        assert node.send(better) == next(iter(node.pool.waiting))
    else:
        assert "replace 101 transactions" in conflict(node, better)


def test_pool_takes_no_more_than_it_can_hold_but_better_paid_ones_in_their_place(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = node.coins(MINE)
    weight = node.pool.examine(policy.read(spend(first))).weight
    monkeypatch.setattr(mempool, "WEIGHT_MAX", weight)
    node.send(spend(first))
    with pytest.raises(TransactionRefused) as refused:
        node.send(spend(second))
    assert refused.value.reason == "mempool-full"
    node.send(spend(first, fee_sat=3 * FEE_SAT))
    node.mine(MINE)
    node.send(spend(second))


class MovableClock:
    def __init__(self) -> None:
        self.time = datetime(2024, 1, 1, 0, 2, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.mark.parametrize(("lock", "leap_s"), [(1 << 22 | 1, 430), (1 << 22 | 2, 940), (7, 0)])
def test_relative_locks_end_when_the_kernel_says_so_and_not_a_block_sooner_or_later(
    tmp_path: Path, lock: int, leap_s: int
) -> None:
    clock = MovableClock()
    a_rich_node(tmp_path, 110).close()
    node = Node(tmp_path, clock=clock)
    for _ in range(12):  # so that the median times of neighbours differ
        clock.time += timedelta(seconds=10)
        node.mine(MINE)
    name = node.send(spend(node.coins(MINE)[0], MINE))
    node.mine(MINE)
    coin = node.index.coins[OutPoint(name, 0)]
    raw = shown(build([coin], [(coin.value_sat - FEE_SAT, AWAY)], sequence=lock))
    locked = 0
    while is_locked(node, raw):
        with pytest.raises(BlockRefused, match="bad-txns-nonfinal"):
            node.submit([block_with(node, raw)])
        node.mine(MINE)
        clock.time += timedelta(seconds=1 if locked else leap_s)
        locked += 1
    node.submit([block_with(node, raw)])
    assert locked > 5
    node.close()


def is_locked(node: Node, raw: bytes) -> bool:
    try:
        node.check(raw)
    except TransactionRefused as refused:
        return refused.reason == "non-BIP68-final"
    return False


def block_with(node: Node, raw: bytes) -> bytes:
    tip = node.tip
    reward_sat = subsidy_sat(tip.height + 1)
    return template(tip, node.index.times(tip.height), [raw], now=0, script=AWAY, reward_sat=reward_sat, tag=b"probe")


def test_branch_that_is_as_long_waits_for_one_block_more() -> None:
    blocks = list[bytes]()
    index = Index(lambda at, length: blocks[at])

    def add(previous: str, tag: bytes) -> tuple[str, Move]:
        place = index.place(previous)
        raw = template(place, [0], (), now=place.height + 1, script=AWAY, reward_sat=1, tag=tag)
        blocks.append(raw)
        move = index.add(raw, len(blocks) - 1)
        return block_hash(raw[:80]), move

    genesis = index.tip.hash
    assert index.raw(0) == GENESIS
    first, _ = add(genesis, b"first")
    rival, move = add(genesis, b"rival")
    assert (index.tip.hash, move) == (first, Move())
    assert list(index.branch(rival)) == [blocks[0]]
    longer, _ = add(rival, b"rival")
    assert index.tip.hash == longer
    assert index.add(blocks[0], 0) == Move()
    assert not index.is_active(index.place(first))
    assert {coin.height for coin in index.coins.values()} == {1, 2}
