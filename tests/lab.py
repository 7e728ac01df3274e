"""Two chains to try the same on: the embedded one, and Bitcoin Core's adapter before a server of documented answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from services.ports import BlockId, Chain, Unspent
from services.settlement.core import BitcoinCore
from services.settlement.errors import TransactionRefused
from services.settlement.regtest import RegtestChain
from services.settlement.rpc import Rpc
from tests.bitcoind import Bitcoind
from tests.chain import MINE, StillClock, a_rich_node, rich_journal


class Lab(Protocol):
    """A chain, and the hand that moves it."""

    chain: Chain

    async def mine(self, blocks: int, script: bytes = MINE) -> BlockId: ...
    async def fork(self, height: int, blocks: int, transactions: Sequence[bytes] = ()) -> BlockId: ...
    async def coins(self) -> list[Unspent]: ...


class EmbeddedLab:
    def __init__(self, chain: RegtestChain) -> None:
        self._chain = chain
        self.chain: Chain = chain

    async def mine(self, blocks: int, script: bytes = MINE) -> BlockId:
        return await self._chain.mine(blocks, script)

    async def fork(self, height: int, blocks: int, transactions: Sequence[bytes] = ()) -> BlockId:
        return await self._chain.fork(height, blocks, MINE, transactions)

    async def coins(self) -> list[Unspent]:
        return await self._chain.coins(MINE)


class CoreLab:
    def __init__(self, bitcoind: Bitcoind, core: BitcoinCore) -> None:
        self._bitcoind, self.chain = bitcoind, core

    async def mine(self, blocks: int, script: bytes = MINE) -> BlockId:
        return await asyncio.to_thread(self._bitcoind.mine, blocks, script)

    async def fork(self, height: int, blocks: int, transactions: Sequence[bytes] = ()) -> BlockId:
        return await asyncio.to_thread(self._bitcoind.fork, height, blocks, MINE, transactions)

    async def coins(self) -> list[Unspent]:
        return await asyncio.to_thread(self._bitcoind.coins, MINE)


@pytest.fixture(params=["embedded", "core"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    """A chain with 120 blocks, 21 coins of which can be spent."""
    if request.param == "embedded":
        (tmp_path / "journal").write_bytes(rich_journal(120))
        chain = await RegtestChain.open(tmp_path, clock=StillClock())
        yield EmbeddedLab(chain)
        await chain.close()
        return
    node = await asyncio.to_thread(a_rich_node, tmp_path)
    with Bitcoind(node) as bitcoind:
        yield CoreLab(bitcoind, await BitcoinCore.open(Rpc(bitcoind.url), "regtest"))
    await asyncio.to_thread(node.close)


async def refused(chain: Chain, raw: bytes) -> str:
    """Why a transaction is neither checked nor sent; both have to say the same."""
    with pytest.raises(TransactionRefused) as checked:
        await chain.check(raw)
    with pytest.raises(TransactionRefused) as sent:
        await chain.send(raw)
    assert sent.value.reason == checked.value.reason
    return checked.value.reason
