"""The asynchronous log in a thread of its own, for callers that block."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from eventsourcing.persistence import IntegrityError, OperationalError

from domain.errors import Unavailable
from services.ledger.errors import LogLost, translated
from services.ledger.log import Log
from services.ledger.schema import SCHEMA, SQL
from services.ports import Record, Stored, SystemClock

#: How long a commit of another process stays unnoticed. A NOTIFY would take a lock on the whole database instead.
POLL_S = 0.02

T = TypeVar("T")


class BackgroundLog:
    """A shared (not exclusive) log, its reader and a pool for snapshots, on an event loop in a daemon thread."""

    def __init__(self, database_url: str, *, schema: str = SCHEMA) -> None:
        self._url, self._schema = database_url, schema
        self._listeners: frozenset[Event] = frozenset()
        self._running = True
        ready: Future[None] = Future()
        self._thread = Thread(target=self._main, args=(ready,), name="pasar log", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except LogLost as error:
            raise OperationalError(str(error)) from error

    def close(self) -> None:
        """End the thread; whoever waits gets OperationalError. Closing twice does nothing."""
        if self._running:
            self._running = False
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    # ------------------------------------------------------------------------------------------- from any other thread
    def append(self, records: list[Record]) -> int:
        """Append and wait for the commit; returns the position of the last record."""

        async def append() -> int:
            return await self._log.append(records)

        return self._call(append)

    def head(self) -> int:
        return self._call(lambda: self._log.reader.head())

    def select(self, after: int, upto: int, names: Sequence[str], limit: int) -> list[Stored]:
        return self._call(lambda: self._log.reader.select(after, upto, names, limit))

    def stream(self, stream: bytes, *, after: int, upto: int, newest_first: bool, limit: int | None) -> list[Stored]:
        return self._call(
            lambda: self._log.reader.stream(stream, after=after, upto=upto, newest_first=newest_first, limit=limit)
        )

    def insert_snapshots(self, snapshots: Sequence[tuple[UUID, int, str, bytes]]) -> None:
        columns: list[Sequence[Any]] = list(zip(*snapshots, strict=True)) or [[], [], [], []]

        async def insert() -> None:
            try:
                with translated("keeping a snapshot"):
                    await self._pool.execute(SQL["snapshot_insert"], *columns)
            except LogLost as lost:
                if isinstance(lost.__cause__, asyncpg.UniqueViolationError):
                    raise IntegrityError(str(lost)) from lost
                raise

        self._call(insert)

    def select_snapshots(
        self, stream: UUID, after: int, upto: int, *, newest_first: bool, limit: int | None
    ) -> Sequence[tuple[int, str, bytes]]:
        query = SQL["snapshot_backward" if newest_first else "snapshot_forward"]

        async def select() -> Sequence[tuple[int, str, bytes]]:
            with translated("reading a snapshot"):
                return [tuple(row) for row in await self._pool.fetch(query, stream, after, upto, limit)]

        return self._call(select)

    def listen(self, woken: Event) -> None:
        """Set ``woken`` after each commit, and once now."""
        self._listeners |= {woken}
        woken.set()

    def unlisten(self, woken: Event) -> None:
        self._listeners -= {woken}

    def _call(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._running:
            raise OperationalError("the log is closed")
        try:
            return asyncio.run_coroutine_threadsafe(start(), self._loop).result()
        except (Unavailable, LogLost, CancelledError) as error:
            raise OperationalError(str(error) or "the log was closed") from error

    # ------------------------------------------------------------------------------------------------- in the thread
    def _main(self, ready: "Future[None]") -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseExceptionGroup as errors:
            if others := errors.split(LogLost)[1]:  # of a lost log every caller was told already
                raise others from None
        finally:
            self._running = False
            self._wake()

    async def _serve(self, ready: "Future[None]") -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        settings = {"search_path": self._schema, "application_name": "pasar snapshots"}
        try:
            self._log = await Log.open(
                self._url, clock=SystemClock(), schema=self._schema, on_commit=lambda *_: self._wake()
            )
            self._pool = await asyncpg.create_pool(self._url, min_size=0, max_size=2, server_settings=settings)
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._log.run()), group.create_task(self._watch())]
                await self._closing.wait()
                for task in tasks:
                    task.cancel()
        finally:
            self._running = False
            await self._log.close()
            await self._pool.close()

    async def _watch(self) -> None:
        """Wake the listeners when another process has committed."""
        seen = 0
        while True:
            await asyncio.sleep(POLL_S)
            if self._listeners and (head := await self._log.reader.head()) != seen:
                seen = head
                self._wake()

    def _wake(self) -> None:
        for woken in self._listeners:
            woken.set()
