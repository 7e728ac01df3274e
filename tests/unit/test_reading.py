"""The chain for whoever checks the log against it: read beside the process that writes it, and left as it is."""

from pathlib import Path

import pytest

from domain.errors import Corrupt
from services.config import Settings
from services.ports import SystemClock
from services.settlement.reading import NoBlocks, read_blocks
from services.settlement.regtest import RegtestChain

SCRIPT = bytes.fromhex("0014" + "22" * 20)


async def test_blocks_are_those_of_the_chain_that_another_has_open(tmp_path: Path) -> None:
    chain = await RegtestChain.open(tmp_path / "chain", clock=SystemClock())
    try:
        await chain.mine(5, SCRIPT)
        assert await read_blocks(Settings(home=tmp_path)) == list(await chain.blocks(0, 10))
        assert await read_blocks(Settings(home=tmp_path), start=4) == list(await chain.blocks(4, 10))
    finally:
        await chain.close()


async def test_record_that_is_being_written_is_not_read_and_not_removed(tmp_path: Path) -> None:
    chain = await RegtestChain.open(tmp_path / "chain", clock=SystemClock())
    await chain.mine(2, SCRIPT)
    blocks = list(await chain.blocks(0, 10))
    await chain.mine(1, SCRIPT)
    await chain.close()
    journal = tmp_path / "chain" / "journal"
    torn = journal.read_bytes()[:-1]
    journal.write_bytes(torn)
    assert await read_blocks(Settings(home=tmp_path)) == blocks
    assert journal.read_bytes() == torn


async def test_home_without_a_chain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoBlocks, match="set PASAR_BITCOIN_RPC_URL"):
        await read_blocks(Settings(home=tmp_path))
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "journal").write_bytes(b"something else")
    with pytest.raises(Corrupt, match="no journal"):
        await read_blocks(Settings(home=tmp_path))
