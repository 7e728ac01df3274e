"""What was acknowledged is in the log, whatever dies."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import count
from uuid import uuid4

import asyncpg
import pytest

from domain.errors import Unavailable
from services.ledger.errors import LogLost
from services.ledger.log import Log
from services.ledger.merkle import CompactRange, leaf
from services.ledger.reader import LogReader
from tests.ledger import StepClock, a_record, running_log
from tests.postgres import running_server

CLIENTS, ENOUGH = 50, 2_000


class WatchedClock(StepClock):
    """Tells when a commit begins: it looks at the clock once."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = asyncio.Event()

    def now(self) -> datetime:
        self.looked_at.set()
        return super().now()


async def append_until_it_is_lost(
    database_url: str, kill: Callable[[Log], None]
) -> tuple[dict[int, tuple[bytes, int]], set[str]]:
    """Fifty clients append until the log is lost; ``kill`` is called in the middle of it.

    Returns:
        What was acknowledged, by position, and the names of the refusals that the others got.
    """
    log = await Log.open(database_url, clock=StepClock())
    acknowledged: dict[int, tuple[bytes, int]] = {}
    refusals: set[str] = set()

    async def client() -> None:
        stream = uuid4().bytes
        for version in count(1):
            acknowledged[await log.append([a_record(version, stream)])] = (stream, version)
            if len(acknowledged) == ENOUGH:
                kill(log)

    async def client_until_refused() -> None:
        try:
            await client()
        except Unavailable as refused:
            refusals.add(refused.name)

    with pytest.raises(ExceptionGroup) as errors:  # noqa: PT012 - clients and writer end together
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client_until_refused())
            group.create_task(log.run())
    assert errors.group_contains(LogLost)
    with pytest.raises(Unavailable):
        log.append([a_record()])
    await log.close()
    return acknowledged, refusals


async def assert_recorded(database_url: str, acknowledged: dict[int, tuple[bytes, int]]) -> None:
    """The log holds all that was acknowledged, without gap, under its own tree, and goes on."""
    reader = await LogReader.open(database_url)
    head = await reader.head()
    rows = [stored async for page in reader.iterate(0, head) for stored in page]
    await reader.close()
    stored = {row.position: (row.stream, row.version) for row in rows}
    assert len(acknowledged) >= ENOUGH
    assert acknowledged.items() <= stored.items()
    assert list(stored) == list(range(1, head + 1))
    async with running_log(database_url) as log:
        assert log.tree == CompactRange().grown(map(leaf, rows))
        assert await log.append([a_record()]) == head + 1


async def test_nothing_acknowledged_is_lost_when_the_connection_is_killed(database_url: str) -> None:
    killer = await asyncpg.connect(database_url)
    killing: list[asyncio.Future[str]] = []

    def kill(_: Log) -> None:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pasar log'"
        killing.append(asyncio.ensure_future(killer.execute(query)))

    acknowledged, refusals = await append_until_it_is_lost(database_url, kill)
    await asyncio.gather(*killing)
    await killer.close()
    assert refusals <= {"Unavailable", "Unconfirmed"}
    await assert_recorded(database_url, acknowledged)


async def test_nothing_acknowledged_is_lost_when_the_server_crashes() -> None:
    with running_server() as server:
        crashing: list[asyncio.Future[None]] = []

        def kill(_: Log) -> None:
            crashing.append(asyncio.ensure_future(asyncio.to_thread(server.stop, "immediate")))

        acknowledged, refusals = await append_until_it_is_lost(server.url(), kill)
        await asyncio.gather(*crashing)
        server.start()
        assert refusals <= {"Unavailable", "Unconfirmed"}
        await assert_recorded(server.url(), acknowledged)


async def test_writer_that_is_cancelled_tells_everybody_who_waits(database_url: str) -> None:
    clock = WatchedClock()
    log = await Log.open(database_url, clock=clock)
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE ledger.head")
        writer = asyncio.ensure_future(log.run())
        in_flight = log.append([a_record()])
        await clock.looked_at.wait()
        waiting = log.append([a_record()])
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        with pytest.raises(Unavailable, match="look whether it was recorded"):
            await in_flight
        with pytest.raises(Unavailable, match="nothing was changed"):
            await waiting
    await blocker.close()
    await log.close()
