"""Whether a read model is what the log says: its rows beside those of a fresh fold at the same position."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from msgspec import Struct

from services.ledger import codec
from services.projections.generations import Generation, live
from services.projections.model import FOLDER, Projection, statements
from services.projections.store import Decode, apply, see
from services.replay import History
from services.sql import load_queries

_COMPARE = load_queries(FOLDER / "compare.sql")
#: Differing rows that are shown on each side.
SHOWN_MAX: Final = 5
Progress = Callable[[int, int], None]


class Compared(Struct, frozen=True):
    """Attributes:
    rows: How many the live read model has.
    extra: Rows that it has and the log does not give, the first few.
    missing: Rows that the log gives and it has not, the first few.
    """

    name: str
    position: int
    rows: int
    extra: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        return not self.extra and not self.missing


@asynccontextmanager
async def frozen(
    database_url: str, projections: Sequence[Projection]
) -> AsyncIterator[tuple[asyncpg.Connection, dict[str, Generation]]]:
    """The live read models as they are now, while they go on; each at its position."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection, dict(await live(connection, projections))
    finally:
        await connection.close()


async def compare(
    kept: asyncpg.Connection, found: Generation, fresh: asyncpg.Connection, fresh_schema: str
) -> Compared:
    """Compare a live generation with freshly folded rows at the same position."""
    name = found.projection.name
    left, right = _queries(name, found.schema), _queries(name, fresh_schema)
    (has_sum,) = await kept.fetch(left["checksum"])
    (should_sum,) = await fresh.fetch(right["checksum"])
    count = has_sum["count"]
    if tuple(has_sum) == tuple(should_sum):
        return Compared(name, found.position, count)
    has = Counter(row[0] for row in await kept.fetch(left["hashes"]))
    should = Counter(row[0] for row in await fresh.fetch(right["hashes"]))
    extra, missing = list(has - should)[:SHOWN_MAX], list(should - has)[:SHOWN_MAX]
    return Compared(
        name,
        found.position,
        count,
        tuple(row[0] for row in await kept.fetch(left["shown"], extra, SHOWN_MAX)),
        tuple(row[0] for row in await fresh.fetch(right["shown"], missing, SHOWN_MAX)),
    )


async def check(
    log: History,
    database_url: str,
    projections: Sequence[Projection],
    *,
    decode: Decode = codec.decode,
    progress: Progress | None = None,
) -> list[Compared]:
    """Fold the log again, into tables that nobody else sees, and compare every live read model with them.

    Raises:
        Corrupt: An event cannot be read.
    """
    fresh = await asyncpg.connect(database_url, server_settings={"synchronous_commit": "off"})
    try:
        async with frozen(database_url, projections) as (kept, found):
            compared: list[Compared] = []
            for projection in projections:
                if projection.name not in found:
                    continue
                texts = statements(projection.name, "pg_temp")
                await fresh.execute(texts["create"])
                upto = found[projection.name].position
                async for page in log.iterate(0, upto):
                    await apply(fresh, projection.name, "pg_temp", projection.fold(see(page, decode)))
                    if progress is not None:
                        progress(len(page), upto)
                compared.append(await compare(kept, found[projection.name], fresh, "pg_temp"))
            return compared
    finally:
        await fresh.close()


def _queries(name: str, schema: str) -> dict[str, str]:
    rows = statements(name, schema)["rows"]
    return {key: text.replace("{rows}", rows) for key, text in _COMPARE.items()}
