"""The log as everybody but its writer sees it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Self
from uuid import UUID

import asyncpg

from domain.errors import Corrupt
from services.ledger.errors import translated
from services.ledger.schema import SCHEMA, SQL
from services.ports import Stored

#: Events fetched together: larger pages are no faster and only hold more memory.
PAGE_EVENTS = 4_000
CLOSE_S = 5.0
VERSION_MIN, VERSION_MAX = -(2**31), 2**31 - 1


class LogReader:
    """Reads the log on connections of its own, which cannot write. Satisfies ``services.ports.EventLog``."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, database_url: str, *, schema: str = SCHEMA, connections_max: int = 4) -> Self:
        """Connect to a log that its writer has migrated."""
        settings = {
            "search_path": schema,
            "default_transaction_read_only": "on",
            "application_name": "pasar reader",
        }
        with translated("connecting"):
            pool = await asyncpg.create_pool(
                database_url, min_size=1, max_size=connections_max, server_settings=settings
            )
        return cls(pool)

    async def close(self) -> None:
        """Let go of the database; one that does not answer is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()  # ends the connections when its time is over

    async def head(self) -> int:
        """The last position; 0 when the log is empty."""
        with translated("reading"):
            return int(await self._pool.fetchval(SQL["head"]))

    async def read(self, after: int, limit: int) -> list[Stored]:
        """Up to ``limit`` events behind position ``after``, in order.

        Raises:
            Corrupt: Positions have a gap.
        """
        found = await self._fetch(SQL["page"], after, after + limit)
        if found and (found[0].position != after + 1 or found[-1].position != after + len(found)):
            raise Corrupt(f"positions behind {after} have a gap")
        return found

    async def iterate(self, after: int, upto: int) -> AsyncIterator[list[Stored]]:
        """Every event behind position ``after`` up to ``upto``, in pages; the next one is fetched meanwhile.

        Raises:
            Corrupt: Positions have a gap, or the log ends before ``upto``.
        """
        upcoming = self._fetch_ahead(after, upto)
        try:
            while after < upto:
                page = await upcoming
                if not page:
                    raise Corrupt(f"the log ends at {after}, before {upto}")
                after = page[-1].position
                upcoming = self._fetch_ahead(after, upto)
                yield page
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    def _fetch_ahead(self, after: int, upto: int) -> "asyncio.Future[list[Stored]]":
        if after < upto:
            return asyncio.ensure_future(self.read(after, min(PAGE_EVENTS, upto - after)))
        return asyncio.get_running_loop().create_future()

    async def select(self, after: int, upto: int, names: Sequence[str], limit: int) -> list[Stored]:
        """Up to ``limit`` events of these names behind ``after`` up to ``upto``, in order; no name means all."""
        if not names:
            return await self.read(after, max(0, min(limit, upto - after)))
        return await self._fetch(SQL["named"], after, upto, names, limit)

    async def at(self, positions: Sequence[int]) -> list[Stored]:
        """The events at these positions, in order."""
        return await self._fetch(SQL["at"], positions)

    async def within(self, spans: Sequence[tuple[int, int]]) -> list[Stored]:
        """The events of several ranges, each behind its first and up to its second position."""
        return await self._fetch(SQL["within"], [after for after, _ in spans], [upto for _, upto in spans])

    async def nodes(self, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Roots of complete subtrees by level and place, as far as they are stored."""
        with translated("reading"):
            levels, places = [level for level, _ in wanted], [place for _, place in wanted]
            rows = await self._pool.fetch(SQL["nodes"], levels, places)
        return {(row["level"], row["place"]): row["hash"] for row in rows}

    async def stream(
        self,
        stream: bytes,
        *,
        after: int = VERSION_MIN,
        upto: int = VERSION_MAX,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[Stored]:
        """Events of one stream with versions behind ``after`` up to ``upto``."""
        query = SQL["stream_backward" if newest_first else "stream_forward"]
        return await self._fetch(query, UUID(bytes=stream), after, upto, limit)

    async def stream_named(self, stream: bytes, name: str) -> list[Stored]:
        """Events of one stream that are stored under ``name``."""
        return await self._fetch(SQL["stream_named"], UUID(bytes=stream), name)

    async def _fetch(self, query: str, *arguments: Any) -> list[Stored]:
        with translated("reading"):
            return list(map(Stored._make, await self._pool.fetch(query, *arguments)))
