"""Settlement that counts what is three blocks deep, on a chain that changes its mind and a node that fails."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from domain.books import State
from services.ports import Block, Chain
from services.settlement.errors import NodeUnreachable
from tests.settling import Settling, settling
from tests.spec import ANNA, BEN, CLIENT


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Settling]:
    """A client with 200,000 sat in escrow, and two workers; three blocks make a transaction count."""
    async with settling(tmp_path, confirmations=3) as found:
        await found.funded("escrow", CLIENT, 200_000)
        for worker in (ANNA, BEN):
            await found.funded("stake", worker, 10_000)
        yield found


def usable_msat(market: Settling) -> int:
    (escrow,) = market.world.escrows.values()
    return escrow.usable_msat


async def test_deposit_counts_in_its_third_block_and_not_before(market: Settling) -> None:
    await market.pay("escrow", CLIENT, 70_000)
    for blocks in (1, 1):
        await market.treasury.mine(blocks)
        await market.agent.turn()
        assert usable_msat(market) == 200_000_000
    await market.treasury.mine(1)
    await market.agent.turn()
    assert usable_msat(market) == 270_000_000


async def test_payout_is_sent_until_it_is_three_blocks_deep_and_pays_once(market: Settling) -> None:
    market.earned([ANNA, BEN], 10, 5_000_000)
    states = []
    for _ in range(4):
        market.agent = market.new_agent()
        await market.agent.turn()
        await market.agent.turn()
        states.append(market.world.books.payouts[1].state)
        await market.treasury.mine(1)
    assert states == [State.SENT, State.SENT, State.SENT, State.CONFIRMED]
    await market.settle(4)
    assert len(market.world.books.payouts) == 1
    assert await market.unspent_sat(ANNA) == await market.unspent_sat(BEN) == [25_000]


async def test_reorganisation_of_what_did_not_count_yet_undoes_nothing(market: Settling) -> None:
    market.earned([ANNA], 4, 5_000_000)
    await market.settle(2)
    assert market.world.books.payouts[1].state is State.SENT
    sent, height = market.world.books.payouts[1].sent, (await market.chain.tip()).height
    await market.chain.fork(height - 2, 3, market.treasury.script)
    await market.settle(3)
    assert "PayoutReorged.v1" not in {stored.name for stored in market.records}
    assert "DepositReorged.v1" not in {stored.name for stored in market.records}
    assert (market.world.books.payouts[1].state, market.world.books.payouts[1].sent) == (State.CONFIRMED, sent)
    assert await market.unspent_sat(ANNA) == [20_000]


async def test_reorganisation_of_a_payout_that_counted_brings_it_back_once(market: Settling) -> None:
    market.earned([ANNA], 4, 5_000_000)
    await market.settle(4)
    confirmed = market.world.books.payouts[1].confirmed
    assert confirmed is not None
    tip = await market.chain.tip()
    await market.chain.fork(confirmed.height - 1, tip.height - confirmed.height + 2, market.treasury.script)
    await market.agent.turn()
    assert market.world.books.payouts[1].state is State.SENT
    await market.settle(4)
    again = market.world.books.payouts[1].confirmed
    assert again is not None
    assert again.height > confirmed.height
    assert len(market.world.books.payouts) == 1
    assert await market.unspent_sat(ANNA) == [20_000]


class Failing:
    """A node that tells its tip, but no block from this height on except the one that was told last."""

    def __init__(self, market: Settling, height: int) -> None:
        self._market, self._height = market, height

    def __getattr__(self, name: str) -> object:
        return getattr(self._market.chain, name)

    async def blocks(self, start: int, limit: int) -> Sequence[Block]:
        if start >= self._height and start != self._market.world.books.height:
            raise NodeUnreachable(address="node", reason="it is busy")
        return await self._market.chain.blocks(start, min(limit, max(1, self._height - start)))


@pytest.mark.parametrize("mined", [1, 3])
async def test_deposit_is_found_after_a_crash_when_the_node_failed_for_several_blocks(
    market: Settling, mined: int
) -> None:
    await market.pay("escrow", CLIENT, 70_000)
    await market.treasury.mine(3)
    held_at = (await market.chain.tip()).height - 2
    market.agent = market.new_agent(cast("Chain", Failing(market, held_at)))
    for _ in range(4):
        with pytest.raises(NodeUnreachable):
            await market.agent.turn()
        await market.treasury.mine(mined)
    market.agent = market.new_agent()
    await market.settle(0)
    assert usable_msat(market) == 270_000_000


async def test_fork_below_the_block_at_which_the_market_first_looked_is_followed(tmp_path: Path) -> None:
    async with settling(tmp_path) as market:
        first = (await market.chain.tip()).height
        await market.chain.fork(first - 3, 5, market.treasury.script)
        await market.agent.turn()
        assert market.world.books.tips[-1] == tuple(await market.chain.tip())
