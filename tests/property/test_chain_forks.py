"""However a chain grows and forks: its index equals one made anew, its money adds up, and it opens as it was closed."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.bitcoin import OutPoint, parse, txid
from services.settlement.errors import TransactionRefused
from services.settlement.index import Index
from services.settlement.miner import subsidy_sat
from services.settlement.node import Node
from tests.chain import AWAY, MINE, a_node, a_rich_node, output_of, spend
from tests.crashing import state

BLOCKS = 108
#: Send what spends one of the coins or of what waits, at a fee; mine; or fork from some blocks below by some more.
send = st.tuples(st.just("send"), st.integers(0, 30), st.integers(1_000, 20_000))
mine = st.tuples(st.just("mine"), st.integers(1, 3), st.just(0))
fork = st.tuples(st.just("fork"), st.integers(0, 6), st.integers(1, 3))
steps = st.lists(st.one_of(send, send, mine, fork), max_size=25)


def take(node: Node, what: str, first: int, second: int) -> None:
    if what == "mine":
        for _ in range(first):
            node.mine(MINE)
    elif what == "fork":
        node.fork(node.tip.height - first, first + second, AWAY)
    else:
        coins = [*list(node.index.coins.values())[:8]]
        coins += [output_of(waiting.txid, waiting.tx) for waiting in node.pool.waiting.values()]
        try:
            node.send(spend(coins[first % len(coins)], MINE, fee_sat=second))
        except TransactionRefused:
            return  # spent by something better paid, immature, or nobody's


def rebuilt(node: Node) -> Index:
    """An index of the active branch alone, block by block."""
    raws = [node.index.raw(height) for height in range(1, node.tip.height + 1)]
    index = Index(lambda at, length: raws[at])
    for place, raw in enumerate(raws):
        index.add(raw, place)
    return index


def verify_pool(node: Node) -> None:
    """What waits can be mined: every input is there, and none is spent twice."""
    spent = list[OutPoint]()
    for waiting in node.pool.waiting.values():
        assert node.check(waiting.raw).fee_sat == waiting.fee_sat
        for source in waiting.tx.inputs:
            parent = node.pool.waiting.get(source.outpoint.txid)
            assert source.outpoint in node.index.coins or parent is not None
            spent.append(source.outpoint)
        assert waiting.txid not in node.index.confirmed
    assert len(spent) == len(set(spent))


@settings(max_examples=40, deadline=None)
@given(steps)
def test_index_is_what_the_active_branch_alone_makes_and_opens_as_it_was(steps: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as directory:
        node = a_rich_node(Path(directory) / "chain", BLOCKS)
        for step in steps:
            take(node, *step)
        verify_pool(node)
        anew = rebuilt(node)
        assert (anew.coins, anew.confirmed, anew.tip) == (node.index.coins, node.index.confirmed, node.tip)
        minted_sat = sum(subsidy_sat(height) for height in range(1, node.tip.height + 1))
        burnt_sat = minted_sat - sum(coin.value_sat for coin in node.index.coins.values())
        assert burnt_sat == 0
        closed = state(node)
        node.close()
        shutil.rmtree(Path(directory) / "chain" / "kernel")
        node = a_node(Path(directory) / "chain")
        assert state(node) == closed
        node.close()


def test_forks_transactions_come_back_in_the_order_in_which_they_can_be_mined(tmp_path: Path) -> None:
    node = a_rich_node(tmp_path, BLOCKS)
    raws = [spend(node.coins(MINE)[0], MINE)]
    for _ in range(4):
        node.send(raws[-1])
        node.mine(MINE)
        parent = parse(raws[-1])
        raws.append(spend(output_of(txid(parent), parent), MINE))
    node.send(raws[-1])
    node.fork(BLOCKS, 6, AWAY)
    assert [waiting.raw for waiting in node.pool.waiting.values()] == raws
    node.mine(MINE)
    assert list(node.blocks(node.tip.height, 1)[0].transactions[1:]) == raws
    node.close()
