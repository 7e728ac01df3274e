"""The embedded chain's treasury pays faster than blocks come, and says when it has no more."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from domain.bitcoin import TxOut
from services.settlement.treasury import TreasuryEmpty
from tests.settling import Settling, settling


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Settling]:
    async with settling(tmp_path) as found:
        yield found


async def test_treasury_pays_more_draws_between_two_blocks_than_it_has_coins(market: Settling) -> None:
    coins, script = await market.chain.coins(market.treasury.script), market.market.payout_script()
    paid = [await market.treasury.pay(TxOut(10_000, script), lambda name, raw: None) for _ in range(len(coins) + 2)]
    await market.treasury.mine(1)
    assert {coin.outpoint.txid for coin in await market.chain.coins(script)} == set(paid)


async def test_treasury_that_has_too_little_says_how_much_it_has(market: Settling) -> None:
    kept: list[str] = []
    held_sat = sum(coin.value_sat for coin in await market.chain.coins(market.treasury.script))
    with pytest.raises(TreasuryEmpty) as refused:
        await market.treasury.pay(TxOut(100 * held_sat, market.treasury.script), lambda name, raw: kept.append(name))
    assert refused.value.facts["held_sat"] >= held_sat
    assert kept == []
