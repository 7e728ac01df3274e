"""The embedded chain as the market sees it: ``services.ports.Chain`` over a node in this process, without a socket.

One thread does all that blocks, so there is one writer, and calls are served in the order in which they came.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from domain.bitcoin import OutPoint
from services.ports import Block, BlockId, Checked, Clock, Proof, Unspent
from services.settlement import policy
from services.settlement.journal import Journal
from services.settlement.node import Node

T = TypeVar("T")


class RegtestChain:
    """Made by ``open``."""

    def __init__(self, node: Node, thread: ThreadPoolExecutor, floor_msat: int) -> None:
        self._node, self._thread, self._floor_msat = node, thread, floor_msat

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        clock: Clock,
        floor_msat: int = policy.FLOOR_MSAT,
        cap_msat: int = policy.CAP_MSAT,
        journal: Callable[[Path], Journal] = Journal,
    ) -> "RegtestChain":
        """Open the chain in ``directory``, or begin one. The process must not fork from here on.

        Args:
            floor_msat, cap_msat: Least and most that a transaction may pay for each virtual byte.
        Raises:
            ChainInUse: Another process has it open.
            Corrupt: Its journal is damaged.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="regtest")
        opening = partial(Node, directory, clock=clock, floor_msat=floor_msat, cap_msat=cap_msat, journal=journal)
        try:
            node = await asyncio.get_running_loop().run_in_executor(thread, opening)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(node, thread, floor_msat)

    async def close(self) -> None:
        await self._run(self._node.close)
        self._thread.shutdown()

    async def tip(self) -> BlockId:
        return await self._run(lambda: self._node.tip)

    async def blocks(self, start: int, limit: int) -> Sequence[Block]:
        return await self._run(partial(self._node.blocks, start, limit))

    async def utxo(self, outpoint: OutPoint) -> Unspent | None:
        return await self._run(partial(self._node.index.coins.get, outpoint))

    async def check(self, raw: bytes) -> Checked:
        return await self._run(partial(self._node.check, raw))

    async def send(self, raw: bytes) -> str:
        return await self._run(partial(self._node.send, raw))

    async def fee_rate(self, target: int) -> int:
        """The floor: blocks are never full here."""
        return self._floor_msat

    async def proof(self, txid: str, height: int) -> Proof:
        return await self._run(partial(self._node.proof, txid, height))

    async def coins(self, script: bytes) -> list[Unspent]:
        """Outputs to ``script`` that can be spent now, oldest first."""
        return await self._run(partial(self._node.coins, script))

    async def mine(self, blocks: int, script: bytes) -> BlockId:
        """Mine what waits, and more blocks on it; rewards go to ``script``. Other calls are served in between.

        Returns:
            The new tip.
        """
        tip = await self.tip()
        for _ in range(blocks):
            tip = await self._run(partial(self._node.mine, script))
        return tip

    async def fork(self, height: int, blocks: int, script: bytes, transactions: Sequence[bytes] = ()) -> BlockId:
        """Have another branch take over from ``height`` on; see ``Node.fork``."""
        return await self._run(partial(self._node.fork, height, blocks, script, transactions))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
