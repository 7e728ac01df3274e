"""The single writer: what it promises to those who append and to those who read."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from domain.errors import Corrupt, Unavailable
from services.ledger import log as log_module
from services.ledger.errors import Conflict, Fenced, LogLost
from services.ledger.log import COMMIT_EVENTS, Log
from services.ledger.merkle import CompactRange, leaf
from services.ledger.reader import LogReader
from services.ledger.schema import migrate
from services.ports import Record
from tests.ledger import StepClock, a_record, running_log


async def run_until_it_fails(log: Log) -> BaseException:
    return (await asyncio.gather(log.run(), return_exceptions=True))[0]


async def test_appends_get_positions_in_order_without_gap(database_url: str) -> None:
    async with running_log(database_url) as log:
        sizes = [1, 3, 1, 2]
        appended = [log.append([a_record() for _ in range(size)]) for size in sizes]
        assert await asyncio.gather(*appended) == [1, 4, 5, 7]
        assert [stored.position for stored in await log.read(0, 100)] == [1, 2, 3, 4, 5, 6, 7]
        assert (log.position, await log.head()) == (7, 7)


async def test_log_gives_back_exactly_what_was_appended(database_url: str) -> None:
    async with running_log(database_url) as log:
        record = Record(uuid4().bytes, 3, "Tested.v1", b"\x00\xff data", b"\x00 meta")
        await log.append([record])
        (stored,) = await log.read(0, 10)
        assert stored[1:6] == record
        assert stored.recorded_at == StepClock().now()


async def test_appends_that_wait_together_share_a_commit(database_url: str) -> None:
    async with running_log(database_url) as log:
        await asyncio.gather(*(log.append([a_record()]) for _ in range(COMMIT_EVENTS)))
        assert log.commits == 1
        await asyncio.gather(*(log.append([a_record()]) for _ in range(COMMIT_EVENTS + 1)))
        assert log.commits == 3


async def test_large_append_goes_through_whole(database_url: str) -> None:
    commits: list[int] = []
    async with running_log(database_url, on_commit=lambda _, records: commits.append(len(records))) as log:
        large = [a_record() for _ in range(2 * COMMIT_EVENTS + 5)]
        await asyncio.gather(log.append([a_record()]), log.append(large), log.append([a_record()]))
        assert commits == [1, len(large), 1]
        assert await log.head() == len(large) + 2


async def test_empty_append_is_done_at_once(database_url: str) -> None:
    async with running_log(database_url) as log:
        await log.append([a_record()])
        assert await log.append([]) == 1


async def test_conflict_is_refused_alone_while_its_neighbours_commit(database_url: str) -> None:
    async with running_log(database_url) as log:
        stream = uuid4().bytes
        await log.append([a_record(1, stream)])
        before, lost, after = (
            log.append([a_record()]),
            log.append([a_record(), a_record(1, stream)]),
            log.append([a_record(2, stream)]),
        )
        assert (await before, await after) == (2, 3)
        with pytest.raises(Conflict, match=stream.hex()) as refused:
            await lost
        assert refused.value.facts == {"stream": stream.hex(), "version": 1}
        assert [stored.position for stored in await log.read(0, 10)] == [1, 2, 3]
        assert log.conflicts == 1


async def test_first_of_two_that_want_the_same_version_wins(database_url: str) -> None:
    async with running_log(database_url) as log:
        stream = uuid4().bytes
        first, second = log.append([a_record(1, stream, b"1")]), log.append([a_record(1, stream, b"2")])
        assert await first == 1
        with pytest.raises(Conflict):
            await second
        assert [stored.data for stored in await log.read(0, 10)] == [b"1"]


async def test_append_that_names_a_version_twice_is_refused(database_url: str) -> None:
    async with running_log(database_url) as log:
        stream = uuid4().bytes
        with pytest.raises(Conflict):
            await log.append([a_record(1, stream), a_record(1, stream)])
        assert await log.head() == 0


async def test_append_is_refused_when_it_builds_on_a_refused_one(database_url: str) -> None:
    async with running_log(database_url) as log:
        taken, stream = uuid4().bytes, uuid4().bytes
        await log.append([a_record(1, taken)])
        refused = log.append([a_record(1, stream), a_record(1, taken)])
        dependent = log.append([a_record(2, stream)])
        for lost in (refused, dependent):
            with pytest.raises(Conflict):
                await lost
        assert await log.append([a_record(1, stream)]) == 2


async def test_append_is_recorded_when_its_caller_stops_waiting(database_url: str) -> None:
    async with running_log(database_url) as log:
        log.append([a_record()]).cancel()
        assert await log.append([a_record()]) == 2


async def test_on_commit_gets_every_record_in_order_behind_its_position(database_url: str) -> None:
    seen: list[tuple[int, bytes]] = []

    def collect(after: int, records: list[Record]) -> None:
        seen.extend((after + n, record.stream) for n, record in enumerate(records, 1))

    async with running_log(database_url, on_commit=collect) as log:
        await log.append([a_record(), a_record()])
        await asyncio.gather(*(log.append([a_record()]) for _ in range(5)))
        assert seen == [(stored.position, stored.stream) for stored in await log.read(0, 100)]


async def test_tree_is_that_of_the_stored_rows_and_survives_a_restart(database_url: str) -> None:
    async with running_log(database_url) as log:
        for size in (1, 2, 4, 9):
            await log.append([a_record() for _ in range(size)])
        rebuilt = CompactRange().grown(map(leaf, await log.read(0, 100)))
        assert log.tree == rebuilt
    async with running_log(database_url) as again:
        assert (again.position, again.tree) == (16, rebuilt)
        assert await again.append([a_record()]) == 17


async def test_second_writer_shares_a_log_that_is_not_exclusive(database_url: str) -> None:
    async with running_log(database_url) as one, running_log(database_url) as two:
        appended = [log.append([a_record()]) for _ in range(50) for log in (one, two)]
        assert sorted(await asyncio.gather(*appended)) == list(range(1, 101))
        tree = CompactRange().grown(map(leaf, await one.read(0, 1000)))
        assert tree in (one.tree, two.tree)


async def test_second_writer_fences_an_exclusive_log(database_url: str) -> None:
    market = await Log.open(database_url, clock=StepClock(), exclusive=True)
    async with running_log(database_url) as intruder:
        await intruder.append([a_record()])
        waiting = market.append([a_record()])
        assert isinstance(await run_until_it_fails(market), Fenced)
        with pytest.raises(Unavailable):
            await waiting
        assert await intruder.head() == 1
    await market.close()


async def test_append_is_unavailable_when_too_much_waits(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "WAITING_EVENTS_MAX", 3)
    log = await Log.open(database_url, clock=StepClock())
    waiting = log.append([a_record() for _ in range(3)])
    with pytest.raises(Unavailable, match="3 events are waiting"):
        log.append([a_record()])
    await log.close()
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed"):
        log.append([a_record()])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger.event SET data = 'x'",
        "UPDATE ledger.event SET data = 'x' WHERE pos = 99",
        "DELETE FROM ledger.event",
        "TRUNCATE ledger.event",
        "DELETE FROM ledger.head",
        "TRUNCATE ledger.head",
        "INSERT INTO ledger.head (one, pos, tree) VALUES (true, 0, '{}')",
        "SET session_replication_role = replica; DELETE FROM ledger.event",
    ],
)
async def test_database_refuses_to_change_the_log(database_url: str, change: str) -> None:
    async with running_log(database_url) as log:
        await log.append([a_record()])
        connection = await asyncpg.connect(database_url)
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await connection.execute(change)
        await connection.close()
        assert len(await log.read(0, 10)) == 1


async def test_full_disk_loses_nothing_and_says_so(database_url: str) -> None:
    log = await Log.open(database_url, clock=StepClock())
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """
        CREATE FUNCTION ledger.fill() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER fill AFTER INSERT ON ledger.event EXECUTE FUNCTION ledger.fill();
        """
    )
    waiting = log.append([a_record()])
    assert isinstance(await run_until_it_fails(log), LogLost)
    with pytest.raises(Unavailable, match=r"could not extend file.*nothing was changed"):
        await waiting
    with pytest.raises(Unavailable, match="could not extend file"):
        log.append([a_record()])
    assert await log.head() == 0
    await connection.close()
    await log.close()


async def test_head_behind_its_events_is_corrupt(database_url: str) -> None:
    log = await Log.open(database_url, clock=StepClock())
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO ledger.event VALUES (1, now(), $1, 1, 'Forged.v1', '', '')", UUID(bytes=uuid4().bytes)
    )
    log.append([a_record()])
    assert isinstance(await run_until_it_fails(log), Corrupt)
    await connection.close()
    await log.close()


async def test_log_cannot_be_opened_without_a_database(tmp_path: Any) -> None:
    with pytest.raises(LogLost, match="connecting"):
        await Log.open(f"postgresql://postgres@/none?host={tmp_path}", clock=StepClock())


# ------------------------------------------------------------------------------------------------------------- reading
async def test_reader_iterates_over_any_range_in_pages(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ledger.reader.PAGE_EVENTS", 4)
    async with running_log(database_url) as log:
        await log.append([a_record() for _ in range(11)])
        reader = await LogReader.open(database_url)
        pages = [[stored.position for stored in page] async for page in reader.iterate(2, 11)]
        assert pages == [[3, 4, 5, 6], [7, 8, 9, 10], [11]]
        assert [page async for page in reader.iterate(11, 11)] == []
        with pytest.raises(Corrupt, match="ends at 11"):
            assert [page async for page in reader.iterate(0, 12)]
        await reader.close()


async def test_reader_cannot_write(database_url: str) -> None:
    async with running_log(database_url):
        reader = await LogReader.open(database_url)
        with pytest.raises(LogLost, match="read-only"):
            await reader._fetch("INSERT INTO event VALUES (1, now(), gen_random_uuid(), 1, '', '', '')")
        await reader.close()


async def test_reader_refuses_a_gap(database_url: str) -> None:
    async with running_log(database_url) as log:
        await log.append([a_record(), a_record(), a_record()])
        connection = await asyncpg.connect(database_url)
        await connection.execute("ALTER TABLE ledger.event DISABLE TRIGGER append_only")
        await connection.execute("DELETE FROM ledger.event WHERE pos = 2")
        await connection.close()
        with pytest.raises(Corrupt, match="gap"):
            await log.read(0, 10)


# ---------------------------------------------------------------------------------------------------------- migrations
async def test_migration_runs_once_whoever_comes_first(database_url: str, tmp_path: Any) -> None:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE thing (n int); INSERT INTO thing VALUES (1);")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO thing VALUES (2);")
    connections = [await asyncpg.connect(database_url) for _ in range(4)]
    applied = await asyncio.gather(*(migrate(connection, tmp_path, "room") for connection in connections))
    assert sorted(applied) == [0, 0, 0, 2]
    assert await connections[0].fetchval("SELECT array_agg(n ORDER BY n) FROM room.thing") == [1, 2]
    (tmp_path / "0003_third.sql").write_text("INSERT INTO thing VALUES (3); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connections[0], tmp_path, "room")
    assert await connections[0].fetchval("SELECT count(*) FROM room.thing") == 2
    for connection in connections:
        await connection.close()


async def test_migration_that_was_edited_afterwards_is_corrupt(database_url: str, tmp_path: Any) -> None:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE thing (n int)")
    connection = await asyncpg.connect(database_url)
    await migrate(connection, tmp_path, "room")
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE thing (n bigint)")
    with pytest.raises(Corrupt, match="0001"):
        await migrate(connection, tmp_path, "room")
    with pytest.raises(ValueError, match="cannot name a schema"):
        await migrate(connection, tmp_path, "room; DROP TABLE thing")
    await connection.close()
