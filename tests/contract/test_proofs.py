"""Proofs from a log in PostgreSQL are those of the whole tree in memory."""

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.errors import Corrupt
from services.ledger.merkle import Tree, leaf, rebuilt_root, verify_consistency, verify_inclusion
from services.ledger.proofs import Proofs
from services.ledger.reader import LogReader
from tests.ledger import a_record, running_log

#: More than two stored nodes at the lowest level, one above, and an end that is in none.
EVENTS = 1_337


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[LogReader]:
    """A log that was written in commits of many sizes."""
    chance = random.Random(3)
    async with running_log(database_url) as log:
        while log.position < EVENTS:
            size = min(chance.choice((1, 2, 7, 255, 256, 300)), EVENTS - log.position)
            await log.append([a_record(data=chance.randbytes(9)) for _ in range(size)])
    reader = await LogReader.open(database_url)
    yield reader
    await reader.close()


async def test_proofs_hold_at_every_kind_of_size(log: LogReader) -> None:
    proofs = Proofs(log)
    stored = await log.read(0, EVENTS)
    tree = Tree(map(leaf, stored))
    for size in (1, 2, 255, 256, 257, 512, 1_000, 1_280, EVENTS):
        root = await proofs.root(size)
        assert root == tree.root(size)
        for position in {1, size // 2 + 1, size}:
            path = await proofs.inclusion(position, size)
            assert path == tree.inclusion(position - 1, size)
            assert verify_inclusion(leaf(stored[position - 1]), position - 1, size, path, root)
        for old in {1, size // 3 + 1, size}:
            path = await proofs.consistency(old, size)
            assert verify_consistency(old, size, path, tree.root(old), root)
        few = sorted(random.Random(size).sample(range(1, size + 1), min(size, 40)))
        cover = await proofs.cover(few, size)
        assert rebuilt_root([(p - 1, leaf(stored[p - 1])) for p in few], size, cover) == root
    assert await proofs.root(0) == tree.root(0)


async def test_proof_of_a_few_events_reads_no_more_than_their_surroundings(log: LogReader) -> None:
    class Counting(LogReader):
        events = 0

        async def within(self, spans: object) -> object:  # type: ignore[override]
            found = await log.within(spans)  # type: ignore[arg-type]
            self.events += len(found)
            return found

    counting = Counting(log._pool)
    await Proofs(counting).cover([100, 101, 700], 1_280)
    assert counting.events == 254 + 255


async def test_proof_of_what_is_not_there_is_refused(log: LogReader) -> None:
    proofs = Proofs(log)
    with pytest.raises(IndexError):
        await proofs.cover([3, 3], EVENTS)
    with pytest.raises(IndexError):
        await proofs.inclusion(EVENTS + 1, EVENTS)
    with pytest.raises(Corrupt, match="cannot tell the Merkle root"):
        await proofs.root(EVENTS + 1)


async def test_nodes_cannot_be_changed(log: LogReader, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    for change in ("UPDATE ledger.node SET hash = ''", "DELETE FROM ledger.node", "TRUNCATE ledger.node"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(change)
    await connection.close()


async def test_log_from_before_nodes_were_stored_gets_them_when_it_is_opened(log: LogReader, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    before = await connection.fetch("SELECT * FROM ledger.node ORDER BY level, place")
    await connection.execute("ALTER TABLE ledger.node DISABLE TRIGGER append_only; DELETE FROM ledger.node")
    async with running_log(database_url):
        assert await connection.fetch("SELECT * FROM ledger.node ORDER BY level, place") == before
    assert {row["level"] for row in before} == {8, 9, 10}
    await connection.close()
