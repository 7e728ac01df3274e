"""The market's chain for whoever checks the log against it: its blocks, read without asking settlement.

Of the embedded chain they are in its journal, which may be read while settlement writes to it; any other chain has a
node to ask.
"""

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from domain.bitcoin import parse_header
from domain.errors import Refused
from services.config import Settings
from services.ports import Block
from services.settlement.blocks import HEADER_BYTES, split
from services.settlement.index import Index
from services.settlement.journal import Kind, kept, unpack

#: Blocks that are asked for at a time.
_PAGE: Final = 100


class NoBlocks(Refused):
    template: ClassVar[str] = (
        "the market's chain cannot be read here: {home} holds none; "
        "set PASAR_BITCOIN_RPC_URL to a node of your own that follows it"
    )


async def read_blocks(settings: Settings, start: int = 0) -> list[Block]:
    """Blocks of the best chain from the height ``start`` to its end.

    Raises:
        NoBlocks: There is neither a node nor an embedded chain.
        Corrupt: The embedded chain's journal contradicts itself.
        Refused: The node cannot be reached, or is another one.
    """
    if settings.bitcoin_rpc_url is not None:
        return await _from_node(settings, settings.bitcoin_rpc_url.reveal(), start)
    journal = settings.home / "chain" / "journal"
    if not journal.exists():
        raise NoBlocks(home=settings.home)
    return await asyncio.to_thread(_from_journal, journal, start)


async def _from_node(settings: Settings, url: str, start: int) -> list[Block]:
    # here: it loads Bitcoin Core's code, which reading a file does not
    from services.settlement.core import BitcoinCore
    from services.settlement.rpc import Rpc

    chain = await BitcoinCore.open(Rpc(url, cookie=settings.bitcoin_cookie), settings.network)
    blocks = list[Block]()
    while page := await chain.blocks(start + len(blocks), _PAGE):
        blocks += page
    return blocks


def _from_journal(path: Path, start: int) -> list[Block]:
    entries = [entry for entry in kept(path) if entry.kind is Kind.BLOCKS]
    with path.open("rb") as file:

        def read(at: int, length: int) -> bytes:
            file.seek(at)
            return file.read(length)

        index = Index(read)
        for entry in entries:
            for at, raw in unpack(entry):
                index.add(raw, at)
        return [_block(index, height) for height in range(start, index.tip.height + 1)]


def _block(index: Index, height: int) -> Block:
    raw = index.raw(height)
    header = raw[:HEADER_BYTES]
    return Block(index.at(height), parse_header(header).previous[::-1].hex(), header, tuple(split(raw)))
