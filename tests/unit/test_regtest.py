"""The embedded node by itself: what a block may not hold, how it mines, and who may open it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domain.bitcoin import OutPoint, p2wsh, parse, parse_header, txid
from domain.errors import Corrupt
from services.ports import Unspent
from services.settlement.errors import BlockRefused, ForkTooShort
from services.settlement.index import Index
from services.settlement.miner import subsidy_sat, template
from services.settlement.node import Node
from tests.chain import AWAY, FEE_SAT, MINE, StillClock, a_node, a_rich_node, build, shown, spend
from tests.spends import DUE, LATER, MATRIX, TIP, Case, Scene

ESCROW_SAT = 1_000_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A chain of 120 blocks."""
    node = a_rich_node(tmp_path / "chain")
    yield node
    node.close()


def block_of(node: Node, *raws: bytes, reward_sat: int | None = None, tag: bytes = b"test") -> bytes:
    """A block with any transactions whatever, the work done."""
    tip = node.tip
    reward_sat = subsidy_sat(tip.height + 1) if reward_sat is None else reward_sat
    times = node.index.times(tip.height)
    return template(tip, times, raws, now=0, script=MINE, reward_sat=reward_sat, tag=tag)


def refusal(node: Node, *raws: bytes, **options: int) -> str:
    """The rule that a block of these breaks; the chain must be as it was."""
    tip, coins = node.tip, dict(node.index.coins)
    with pytest.raises(BlockRefused) as refused:
        node.submit([block_of(node, *raws, **options)])
    assert (node.tip, node.index.coins) == (tip, coins)
    return refused.value.reason.partition(" ")[0]


def scene_on(node: Node) -> Scene:
    first, *coins = node.coins(MINE)
    escrows = [(ESCROW_SAT, p2wsh(LATER)), (ESCROW_SAT, p2wsh(DUE))]
    funding = build([first], [*escrows, (first.value_sat - 2 * ESCROW_SAT - FEE_SAT, MINE)])
    name = node.send(shown(funding))
    node.mine(MINE)
    assert node.tip.height == TIP

    def reward(height: int) -> Unspent:
        (block,) = node.blocks(height, 1)
        return node.index.coins[OutPoint(txid(parse(block.transactions[0])), 0)]

    later, due = (node.index.coins[OutPoint(name, vout)] for vout in (0, 1))
    return Scene(coins, reward(22), reward(23), due, later, node.index.median_time(TIP))


@pytest.mark.parametrize("case", [case for case in MATRIX if case.block], ids=lambda case: case.name.replace(" ", "-"))
def test_block_is_refused_for_one_thing_alone(node: Node, case: Case) -> None:
    scene = scene_on(node)
    assert refusal(node, case.bad(scene)) == case.block
    node.submit([block_of(node, case.good(scene))])
    assert node.tip.height == TIP + 1


def test_coin_is_not_spent_twice_in_one_block_nor_in_a_later_one(node: Node) -> None:
    coin, other, *_ = node.coins(MINE)
    raw, twin = spend(coin), spend(coin, fee_sat=2 * FEE_SAT)
    assert refusal(node, raw, twin) == "bad-txns-inputs-missingorspent"
    node.submit([block_of(node, raw, spend(other))])
    assert refusal(node, twin) == "bad-txns-inputs-missingorspent"


def test_reward_is_subsidy_and_fees_and_not_a_satoshi_more(node: Node) -> None:
    raw = spend(node.coins(MINE)[0])
    most_sat = subsidy_sat(121) + FEE_SAT
    assert refusal(node, raw, reward_sat=most_sat + 1) == "bad-cb-amount"
    node.submit([block_of(node, raw, reward_sat=most_sat)])


def test_node_recovers_from_a_refused_block_and_mines_on(node: Node) -> None:
    coin = node.coins(MINE)[0]
    assert refusal(node, spend(coin, fee_sat=-1)) == "bad-txns-in-belowout"
    node.send(spend(coin))
    assert node.mine(MINE).height == 121
    assert len(node.blocks(121, 1)[0].transactions) == 2


def test_refused_block_is_refused_again(node: Node) -> None:
    raw = block_of(node, spend(node.coins(MINE)[0], fee_sat=-1))
    for reason in ("bad-txns-in-belowout", "duplicate-invalid"):
        with pytest.raises(BlockRefused, match=reason):
            node.submit([raw])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw[:4] + bytes(32) + raw[36:], "prev-blk-not-found|high-hash"),
        (lambda raw: raw[:36] + bytes(32) + raw[68:], "bad-txnmrklroot|high-hash"),
        (lambda raw: raw[:72] + b"\xff\xff\x7f\x1f" + raw[76:], "bad-diffbits|high-hash"),
        (lambda raw: raw[:-1], "unreadable"),
        (lambda raw: raw[:79], "unreadable"),
    ],
)
def test_block_that_is_not_whole_is_refused(node: Node, change: Callable[[bytes], bytes], reason: str) -> None:
    tip = node.tip
    with pytest.raises(BlockRefused, match=reason):
        node.submit([change(block_of(node))])
    assert node.tip == tip


def test_block_from_the_future_is_refused(node: Node) -> None:
    tip = node.tip
    raw = template(tip, node.index.times(tip.height), (), now=2**32 - 1, script=MINE, reward_sat=1)
    with pytest.raises(BlockRefused, match="time-too-new"):
        node.submit([raw])


def test_subsidy_halves_every_150_blocks_and_ends() -> None:
    coin = 100_000_000
    assert [subsidy_sat(height) for height in (1, 149, 150, 299, 300)] == [
        50 * coin,
        50 * coin,
        25 * coin,
        25 * coin,
        12.5 * coin,
    ]
    assert (subsidy_sat(4_949), subsidy_sat(4_950)) == (1, 0)
    assert sum(subsidy_sat(height) for height in range(1, 150)) == 7_450 * coin


def test_fees_go_to_the_miner(node: Node) -> None:
    for coin in node.coins(MINE)[:3]:
        node.send(spend(coin))
    node.mine(AWAY)
    (block,) = node.blocks(121, 1)
    reward = OutPoint(txid(parse(block.transactions[0])), 0)
    assert node.index.coins[reward].value_sat == subsidy_sat(121) + 3 * FEE_SAT


def test_blocks_time_follows_the_clock_and_always_grows(node: Node) -> None:
    times = [parse_header(block.header).time for block in node.blocks(1, 120)]
    assert times[0] == int(StillClock().now().timestamp())
    assert times == sorted(times)
    assert all(late > median(times[:place]) for place, late in enumerate(times) if place > 11)


def median(times: list[int]) -> int:
    return sorted(times[-11:])[5]


def test_fork_has_to_outgrow_the_chain(node: Node) -> None:
    with pytest.raises(ForkTooShort, match="take 3 or more"):
        node.fork(118, 2, MINE)
    with pytest.raises(ForkTooShort):
        node.fork(121, 5, MINE)
    assert node.fork(118, 3, MINE).height == 121


def test_fork_with_a_transaction_that_cannot_stand_there_changes_nothing(node: Node) -> None:
    coin = node.coins(MINE)[0]
    node.send(spend(coin))
    tip = node.mine(MINE)
    with pytest.raises(BlockRefused, match="bad-txns-in-belowout"):
        node.fork(120, 2, MINE, [spend(coin, fee_sat=-1)])
    assert node.tip == tip
    assert node.mine(MINE).height == 122


def test_branch_whose_last_block_is_bad_is_taken_as_far_as_it_outgrew_the_chain(tmp_path: Path, node: Node) -> None:
    twin = a_node(tmp_path / "twin")
    twin.submit([node.index.raw(height) for height in range(1, 121)])
    twin.fork(119, 2, AWAY)
    bad = block_of(twin, reward_sat=subsidy_sat(122) + 1)
    with pytest.raises(BlockRefused, match="bad-cb-amount"):
        node.submit([twin.index.raw(120), twin.index.raw(121), bad])
    assert node.tip == twin.tip
    twin.close()


def test_known_block_and_block_of_a_shorter_branch_are_refused(node: Node, tmp_path: Path) -> None:
    twin = a_node(tmp_path / "twin")
    twin.submit([node.index.raw(height) for height in range(1, 120)])
    twin.submit([block_of(twin)])
    for raw in (node.index.raw(120), twin.index.raw(120)):
        with pytest.raises(BlockRefused, match="not the longest, or it is known"):
            node.submit([raw])
    twin.close()


def test_journal_that_skips_a_block_is_no_journal(tmp_path: Path) -> None:
    node = a_rich_node(tmp_path, 3)
    raws = [node.index.raw(height) for height in (1, 3)]
    node.close()
    index = Index(lambda at, length: b"")
    index.add(raws[0], 0)
    with pytest.raises(Corrupt, match="has no parent"):
        index.add(raws[1], 0)
