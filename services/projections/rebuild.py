"""Builds a read model anew beside the live one, compares the two, and lets the new one go live in one transaction.

The live projector goes on meanwhile, in whatever process: its fence no longer finds the old generation, so that it
looks which one is live. The old one is kept, and dropped by the next rebuild.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from msgspec import Struct

from domain.errors import Refused
from services.ledger import codec
from services.ledger.reader import LogReader
from services.projections import generations
from services.projections.compare import Compared, compare, frozen
from services.projections.generations import PROJECTIONS, TRACK, Generation
from services.projections.model import Projection
from services.projections.store import Decode, fold, see, write
from services.replay import History

_SWAP_TRIES: Final = 20
Progress = Callable[[int, int], None]


class UnknownProjection(Refused):
    template = "there is no projection {name}; `pasar projection list` shows those that exist"


class AlreadyRebuilding(Refused):
    template = "projection {name} is being rebuilt already; wait for its end"


class NothingToRollBackTo(Refused):
    template = "projection {name} has no earlier generation; rebuild it instead"


class Rebuilt(Struct, frozen=True):
    """Attributes:
    generation: The one that is live now; ``replaced`` is kept for ``roll_back``.
    compared: Old and new at the same position; absent if the old one was made by another revision.
    """

    name: str
    generation: int
    replaced: int
    position: int
    compared: Compared | None


def named(name: str) -> Projection:
    """The projection of that name.

    Raises:
        UnknownProjection: There is none.
    """
    found = next((projection for projection in PROJECTIONS if projection.name == name), None)
    if found is None:
        raise UnknownProjection(name=name)
    return found


async def rebuild(
    database_url: str,
    name: str,
    *,
    log: History | None = None,
    projection: Projection | None = None,
    decode: Decode = codec.decode,
    progress: Progress | None = None,
) -> Rebuilt:
    """Replace the live generation of a read model by a fresh fold of the log.

    Args:
        progress: Called with events folded so far and those there are.
    Raises:
        UnknownProjection, AlreadyRebuilding: Nothing was changed.
        Corrupt: An event cannot be read; nothing was changed.
    """
    projection = projection or named(name)
    reader = log or await LogReader.open(database_url, connections_max=1)
    try:
        async with _alone(database_url, name) as connection:
            await generations.prepare(connection, [projection])
            builder = _Builder(connection, reader, projection, decode, progress)
            return await builder.replace(database_url)
    finally:
        if isinstance(reader, LogReader):
            await reader.close()


async def roll_back(database_url: str, name: str) -> int:
    """Let the generation before the live one go live again; the projector brings it up to date.

    Raises:
        UnknownProjection, NothingToRollBackTo: Nothing was changed.
    """
    projection = named(name)
    async with _alone(database_url, name) as connection, connection.transaction():
        rows = await connection.fetch(TRACK["lock_rows"], name)
        current = next((row["generation"] for row in rows if row["live"]), 0)
        earlier = [row for row in rows if row["generation"] < current]
        if not earlier:
            raise NothingToRollBackTo(name=name)
        number, position = earlier[-1]["generation"], earlier[-1]["pos"]
        await _go_live(connection, Generation(projection, number, position), current)
    return int(number)


class _Builder:
    """One rebuild on its own connection."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        log: History,
        projection: Projection,
        decode: Decode,
        progress: Progress | None,
    ) -> None:
        self._connection, self._log, self._decode, self._progress = connection, log, decode, progress
        self._projection = projection

    async def replace(self, database_url: str) -> Rebuilt:
        await self._clean()
        async with self._connection.transaction():
            fresh = await generations.create(self._connection, self._projection)
        try:
            fresh, compared = await self._compare(database_url, fresh)
            for attempt in range(1, _SWAP_TRIES + 1):
                fresh = await self._fold(fresh, await self._log.head())
                try:
                    fresh, replaced = await self._swap(fresh)
                    break
                except asyncpg.LockNotAvailableError:  # a long query reads the view: do not hold up the projector
                    if attempt == _SWAP_TRIES:
                        raise
        except BaseException:
            await generations.drop(self._connection, self._projection, fresh.number)
            raise
        await self._clean()
        return Rebuilt(self._projection.name, fresh.number, replaced, fresh.position, compared)

    async def _compare(self, database_url: str, fresh: Generation) -> tuple[Generation, Compared | None]:
        """Fold up to where the live generation is, and compare the two there."""
        (row,) = await self._connection.fetch(TRACK["live"], [self._projection.name])
        fresh = await self._fold(fresh, row["pos"])
        async with frozen(database_url, [self._projection]) as (kept, live):
            found = live.get(self._projection.name)
            if found is None:
                return fresh, None
            fresh = await self._fold(fresh, found.position)
            return fresh, await compare(kept, found, self._connection, fresh.schema)

    async def _fold(self, fresh: Generation, upto: int) -> Generation:
        async for page in self._log.iterate(fresh.position, upto):
            changes = fold(fresh, see(page, self._decode))
            (fresh,) = await write(self._connection, [(fresh, changes)], page[-1].position, live=False)
            if self._progress is not None:
                self._progress(fresh.position, max(upto, fresh.position))
        return fresh

    async def _swap(self, fresh: Generation) -> tuple[Generation, int]:
        """Hold the live generation, fold what it is ahead, and go live in its place."""
        async with self._connection.transaction():
            await self._connection.execute("SET LOCAL lock_timeout = '2s'")
            rows = await self._connection.fetch(TRACK["lock_rows"], self._projection.name)
            current = next(row for row in rows if row["live"])
            fresh = await self._fold(fresh, current["pos"])
            await _go_live(self._connection, fresh, current["generation"])
        return fresh, current["generation"]

    async def _clean(self) -> None:
        """Drop what earlier rebuilds left, but for the generation before the live one."""
        rows = await self._connection.fetch(TRACK["lock_rows"], self._projection.name)
        current = next(row["generation"] for row in rows if row["live"])
        kept = {current, max((row["generation"] for row in rows if row["generation"] < current), default=0)}
        for row in rows:
            if row["generation"] not in kept:
                await generations.drop(self._connection, self._projection, row["generation"])


async def _go_live(connection: asyncpg.Connection, fresh: Generation, current: int) -> None:
    name = fresh.projection.name
    await connection.execute(TRACK["set_live"], name, current, False)
    await connection.execute(TRACK["set_live"], name, fresh.number, True)
    await generations.show(connection, fresh)


@asynccontextmanager
async def _alone(database_url: str, name: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that alone may change the generations of a read model."""
    connection = await asyncpg.connect(database_url, server_settings={"synchronous_commit": "off"})
    try:
        if not await connection.fetchval(TRACK["try_alone"], name):
            raise AlreadyRebuilding(name=name)
        yield connection
    finally:
        await connection.close()
