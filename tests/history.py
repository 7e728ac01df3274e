"""Histories in a log, as a market would have left them, and a log in memory."""

from collections.abc import AsyncIterator, Sequence

import asyncpg

from services.ledger import merkle
from services.ledger.schema import SQL, migrate
from services.ports import Stored

_INSERT = """
INSERT INTO ledger.event (pos, stream, ver, name, data, meta, recorded_at)
SELECT p, encode(s, 'hex')::uuid, v, n, d, m, t
FROM unnest($1::bigint[], $2::bytea[], $3::int[], $4::text[], $5::bytea[], $6::bytea[], $7::timestamptz[])
  AS u (p, s, v, n, d, m, t)
"""


def tree_of(records: Sequence[Stored]) -> merkle.CompactRange:
    """The Merkle tree over the records."""
    tree = merkle.CompactRange()
    tree.extend(map(merkle.leaf, records))
    return tree


async def write_log(database_url: str, records: Sequence[Stored], *, after: int = 0) -> None:
    """Append what stands behind ``after``."""
    connection = await asyncpg.connect(database_url)
    try:
        await migrate(connection)
        await connection.execute("SET search_path TO ledger")
        for start in range(after, len(records), 10_000):
            await connection.execute(_INSERT, *zip(*records[start : start + 10_000], strict=True))
        tree = merkle.CompactRange()
        nodes = tree.extend(map(merkle.leaf, records))
        await connection.execute("UPDATE ledger.head SET pos = $1, tree = $2", tree.size, tree.nodes)
        if nodes:
            await connection.execute(SQL["keep_nodes"], *zip(*nodes, strict=True))
    finally:
        await connection.close()


class MemoryLog:
    """An ``EventLog`` over a list; ``reads`` tells what was asked of it."""

    def __init__(self, records: Sequence[Stored]) -> None:
        self.records = list(records)
        self.reads: list[int] = []

    async def read(self, after: int, limit: int) -> list[Stored]:
        self.reads.append(after)
        return self.records[after : after + limit]

    async def head(self) -> int:
        return len(self.records)

    async def iterate(self, after: int, upto: int) -> AsyncIterator[list[Stored]]:
        for start in range(after, upto, 1000):
            yield self.records[start : min(start + 1000, upto)]
