"""Walks along the chain for the market: tells it of the chain's end, and looks at every block that is deep enough."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from domain.books import Books
from domain.commands import Command
from domain.settlement import AdvanceChain, ConfirmPayout, ReorganiseChain
from services.ports import BlockId, Chain
from services.settlement.errors import ForeignChain
from services.settlement.follower import Follower
from services.settlement.funding import Funding
from services.settlement.watch import Rungs, Settled, look

#: Blocks that are read at a time.
PAGE: Final = 10
#: The market joins so far below the tip, and is told of such a block after a long way up, to fall back to in a fork.
NEAR_BLOCKS: Final = 100


class Walk:
    """Where settlement is on the chain."""

    def __init__(
        self,
        chain: Chain,
        follower: Follower,
        tell: Callable[[Sequence[Command]], Awaitable[list[str]]],
        funding: Funding,
        mine: Callable[[], None],
    ) -> None:
        """Args:
        tell: Has the market record commands; the names of the refusals.
        """
        self._chain, self._follower, self._tell = chain, follower, tell
        self._funding, self._mine = funding, mine
        self._rungs = Rungs()
        self._scanned: int | None = None

    async def beginning(self) -> BlockId:
        """The block at which a market that has joined no chain joins this one.

        Raises:
            ForeignChain: The node is reorganising, or lost its blocks.
        """
        tip = await self._chain.tip()
        for below in await self._chain.blocks(max(0, tip.height - NEAR_BLOCKS), 1):
            return below.id
        raise ForeignChain(blocks=len(self._follower.books.tips))

    async def follow(self) -> None:
        """Tell the market of the chain's new end, then look at what is deep enough."""
        books, tip = self._follower.books, await self._chain.tip()
        if self._scanned is None:  # what was told last may not have been looked at
            self._scanned = self._deep(books, books.tips[-2][0] if len(books.tips) > 1 else books.height)
        if tip != BlockId(*books.tips[-1]):
            await self._go_on_from(await self._fork(), tip)
        await self._look(self._deep(books, books.height))

    async def _go_on_from(self, fork: BlockId, tip: BlockId) -> None:
        """Tell of the fork, of a block below the tip that later forks will hardly reach, and of the tip.

        Raises:
            ForeignChain: The market does not go back as far as the fork.
        """
        books = self._follower.books
        if fork != BlockId(*books.tips[-1]):
            if await self._tell([ReorganiseChain(*fork)]):
                raise ForeignChain(blocks=books.height - fork.height)
            self._scanned = min(self._scanned or 0, self._deep(books, fork.height))
            self._mine()  # what left the chain waits to be mined again
        await self._look(self._deep(books, books.height))  # now: a restart looks no further back than one block told
        if tip.height - NEAR_BLOCKS > fork.height:
            for below in await self._chain.blocks(tip.height - NEAR_BLOCKS, 1):
                await self._tell([AdvanceChain(*below.id)])
                await self._look(self._deep(books, books.height))
        if tip.height > fork.height:
            await self._tell([AdvanceChain(*tip)])

    async def _fork(self) -> BlockId:
        """The newest block that the market was told of and that is still in the chain.

        Raises:
            ForeignChain: None is.
        """
        for height, name in reversed(self._follower.books.tips):
            found = await self._chain.blocks(height, 1)
            if found and found[0].id.hash == name:
                return found[0].id
        raise ForeignChain(blocks=len(self._follower.books.tips))

    def _deep(self, books: Books, height: int) -> int:
        """The highest block that is deep enough when the chain ends at ``height``."""
        assert books.chain is not None
        return height - books.chain.confirmations + 1

    async def _look(self, upto: int) -> None:
        """Find deposits, payouts and spent outputs in the blocks up to this one."""
        assert self._scanned is not None
        while self._scanned < upto:
            start = self._scanned + 1
            blocks = await self._chain.blocks(start, min(PAGE, upto - self._scanned))
            books = self._follower.books
            for block in blocks:
                found = look(block, books, self._rungs.of(books), self._funding.known)
                self._funding.put(found.funding, block.id.height)
                items = [
                    await self._confirmation(*one, block.id.height) if isinstance(one, Settled) else one
                    for one in found.told
                ]
                if items:
                    await self._tell(items)
            self._scanned += len(blocks)
            if not blocks:
                return

    async def _confirmation(self, epoch: int, name: str, height: int) -> ConfirmPayout:
        proof = await self._chain.proof(name, height)
        branch = tuple(one.hex() for one in proof.branch)
        return ConfirmPayout(epoch, name, height, proof.header.hex(), proof.index, branch)
