"""The single writer of the log: group commit, gapless positions in commit order, Merkle tree, in one transaction.

An append waits only while the commit before it is in flight. What has queued up meanwhile becomes the next commit:

    waiting ──take──▶ in flight ──append()──▶ committed: futures get their positions, on_commit the records
       ▲                 │
       │                 ├─ (stream, version) taken: the appends that lost are refused, the others wait again
       └─────────────────┤─ head moved, not exclusive: learn the new head and wait again
                         └─ anything else: every future fails and ``run`` raises; exit and rebuild from the log
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, NoReturn, Self
from uuid import UUID

import asyncpg
from asyncpg.pgproto.pgproto import UUID as FastUUID

from domain.errors import Corrupt, Unavailable
from services.ledger.errors import Conflict, Fenced, Unconfirmed, rolled_back, translated
from services.ledger.merkle import STORED_LEVEL, CompactRange, Node, leaf, leaves
from services.ledger.reader import LogReader
from services.ledger.schema import SCHEMA, SQL, migrate
from services.ports import Clock, Record, Stored

#: Events in one transaction; a larger append still goes through whole, alone.
COMMIT_EVENTS = 1_000
#: Events that may wait; more than this and the market says no at the door.
WAITING_EVENTS_MAX = 100_000
#: A commit that takes longer means that the database is gone.
COMMIT_TIMEOUT_S = 60.0


class _Append(NamedTuple):
    records: Sequence[Record]
    done: "asyncio.Future[int]"


class Log:
    """The end of the log, and the only way to write there. Satisfies ``services.ports.EventLog``."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        reader: LogReader,
        *,
        clock: Clock,
        exclusive: bool = False,
        on_commit: Callable[[int, list[Record]], None] | None = None,
    ) -> None:
        self.position = 0
        self.tree = CompactRange()
        self.commits = 0
        self.conflicts = 0
        self._connection = connection
        self.reader = reader
        self._clock = clock
        self._exclusive = exclusive
        self._on_commit = on_commit
        self._waiting: deque[_Append] = deque()
        self._in_flight: list[_Append] = []
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closed: str | None = None

    @classmethod
    async def open(
        cls,
        database_url: str,
        *,
        clock: Clock,
        exclusive: bool = False,
        on_commit: Callable[[int, list[Record]], None] | None = None,
        schema: str = SCHEMA,
    ) -> Self:
        """Connect, migrate the schema and learn where the log ends.

        Args:
            exclusive: This process keeps state that only its own appends may change; a second writer ends it.
            on_commit: Called after each commit with the position before it and its records; must not block.
        Raises:
            LogLost: The database cannot be reached.
        """
        settings = {"search_path": schema, "synchronous_commit": "on", "application_name": "pasar log"}
        with translated("connecting"):
            connection = await asyncpg.connect(database_url, server_settings=settings, command_timeout=COMMIT_TIMEOUT_S)
            try:
                await migrate(connection, name=schema)
                reader = await LogReader.open(database_url, schema=schema)
                log = cls(connection, reader, clock=clock, exclusive=exclusive, on_commit=on_commit)
                await log._learn_head()
                await log._complete_nodes()
            except BaseException:
                connection.terminate()
                raise
        return log

    def append(self, records: Sequence[Record]) -> "asyncio.Future[int]":
        """Queue records, all or none of which will be in the log, next to each other.

        They are recorded even if the caller stops waiting for them.

        Returns:
            A future with the position of the last one. It fails with Conflict when a (stream, version) is taken, and
            with Unavailable when the log was lost.
        Raises:
            Unavailable: Too many events are waiting, or the log is closed.
        """
        if self._closed:
            raise Unavailable(reason=self._closed)
        if self._waiting_events >= WAITING_EVENTS_MAX:
            raise Unavailable(reason=f"{self._waiting_events} events are waiting")
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not records:
            done.set_result(self.position)
            return done
        self._waiting.append(_Append(records, done))
        self._waiting_events += len(records)
        self._wake.set()
        return done

    async def run(self) -> NoReturn:
        """Commit what is appended, until cancelled; run it in the TaskGroup of its service.

        Raises:
            Fenced: Another writer moved the head of an exclusive log.
            LogLost: The database failed a commit. Whatever was not acknowledged is told so.
        """
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    with translated("recording"):
                        await self._commit()
        except BaseException as error:
            self._fail(str(error) or "the log is closing", rolled_back=rolled_back(error))
            raise

    async def _commit(self) -> None:
        batch = self._in_flight = self._take()
        records = [record for append in batch for record in append.records]
        at = self._clock.now()
        tree = self.tree.copy()
        nodes = tree.extend(leaves(self.position, at, records))
        streams, versions, names, datas, metas = zip(*records, strict=True)
        try:
            moved = await self._connection.fetchval(
                SQL["append"],
                self.position,
                tree.nodes,
                at,
                list(map(FastUUID, streams)),
                versions,
                names,
                datas,
                metas,
                *_columns(nodes),
            )
        except asyncpg.UniqueViolationError:
            self._put_back(batch)
            await self._refuse_conflicts(batch)
            return
        if not moved:
            if self._exclusive:
                raise Fenced(f"another writer appended behind position {self.position}")
            self._put_back(batch)
            await self._learn_head()
            return
        before, self.position, self.tree = self.position, self.position + len(records), tree
        self.commits += 1
        self._in_flight = []
        self._waiting_events -= len(records)
        last = before
        for append in batch:
            last += len(append.records)
            if not append.done.done():
                append.done.set_result(last)
        if self._on_commit:
            self._on_commit(before, records)

    def _take(self) -> list[_Append]:
        """The next commit: whole appends, in order."""
        waiting = self._waiting
        batch = [waiting.popleft()]
        events = len(batch[0].records)
        while waiting and events + len(waiting[0].records) <= COMMIT_EVENTS:
            append = waiting.popleft()
            batch.append(append)
            events += len(append.records)
        return batch

    def _put_back(self, batch: list[_Append]) -> None:
        self._in_flight = []
        self._waiting.extendleft(reversed(batch))

    async def _refuse_conflicts(self, batch: list[_Append]) -> None:
        """Refuse the appends that lost, and those waiting that build on a version which is now never written."""
        wanted = [(record.stream, record.version) for append in batch for record in append.records]
        rows = await self._connection.fetch(
            SQL["taken"], [UUID(bytes=stream) for stream, _ in wanted], [version for _, version in wanted]
        )
        taken = {(row["stream"], row["ver"]) for row in rows}
        missing: dict[bytes, int] = {}
        kept: deque[_Append] = deque()
        for append in self._waiting:
            lost = _first_lost(append.records, taken, missing)
            if lost is None:
                kept.append(append)
                taken.update((record.stream, record.version) for record in append.records)
                continue
            for record in append.records:
                if (record.stream, record.version) not in taken:
                    missing[record.stream] = min(record.version, missing.get(record.stream, record.version))
            self.conflicts += 1
            self._waiting_events -= len(append.records)
            if not append.done.done():
                append.done.set_exception(Conflict(stream=lost.stream.hex(), version=lost.version))
        if len(kept) == len(self._waiting):
            raise Corrupt(f"the database refuses positions behind {self.position} and no stream's version is taken")
        self._waiting = kept

    async def _learn_head(self) -> None:
        row = await self._connection.fetchrow(SQL["head"])
        if row is None:
            raise Corrupt("the log has no head")
        self.position, self.tree = row["pos"], CompactRange(row["pos"], row["tree"])

    async def _complete_nodes(self) -> None:
        """Store the subtrees of a log that was written before they were kept."""
        if await self._connection.fetchval(SQL["nodes_stored"], STORED_LEVEL) == self.position >> STORED_LEVEL:
            return
        tree = CompactRange()
        async for page in self.reader.iterate(0, self.position):
            await self._connection.execute(SQL["keep_nodes"], *_columns(tree.extend(map(leaf, page))))

    def _fail(self, reason: str, *, rolled_back: bool = False) -> None:
        """Tell everybody who waits that nothing more will be recorded here."""
        self._closed = self._closed or reason
        for append in self._in_flight:
            if not append.done.done():
                append.done.set_exception(Unavailable(reason=reason) if rolled_back else Unconfirmed(reason=reason))
        for append in self._waiting:
            if not append.done.done():
                append.done.set_exception(Unavailable(reason=reason))
        self._in_flight, self._waiting, self._waiting_events = [], deque(), 0

    async def read(self, after: int, limit: int) -> list[Stored]:
        """Up to ``limit`` events behind position ``after``, in order."""
        return await self.reader.read(after, limit)

    async def head(self) -> int:
        """The last position in the database, whoever wrote it."""
        return await self.reader.head()

    async def close(self) -> None:
        """Refuse what still waits and let go of the database; cancel ``run`` first."""
        self._fail("the log is closed")
        await self.reader.close()
        await self._connection.close(timeout=5)


def _columns(nodes: Sequence[Node]) -> tuple[list[int], list[int], list[bytes]]:
    return [node.level for node in nodes], [node.place for node in nodes], [node.hash for node in nodes]


def _first_lost(records: Iterable[Record], taken: set[tuple[bytes, int]], missing: dict[bytes, int]) -> Record | None:
    """The first record that cannot be written: its place is taken, stands twice, or lies behind one never written."""
    own: set[tuple[bytes, int]] = set()
    for record in records:
        key = (record.stream, record.version)
        if key in taken or key in own:
            return record
        own.add(key)
        if record.stream in missing and record.version > missing[record.stream]:
            return record
    return None
