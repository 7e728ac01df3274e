"""How fast the log takes and gives events, beside what the same PostgreSQL does without it.

    python -m tests.benchmarks.append

Every figure is for fsync on. The raw limits write the same rows to a table of the same shape.
"""

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from statistics import median, quantiles
from uuid import UUID, uuid4

import asyncpg
import uvloop

from services.ledger.log import COMMIT_EVENTS, Log
from services.ledger.reader import LogReader
from services.ports import Record, SystemClock
from tests.postgres import running_server

CLIENTS = 500
SECONDS = 5.0
RAW_ROWS = 100_000
_DATA, _META = b'{"type":"ResultSubmitted.v1"' + b" " * 251 + b"}", b'{"actor":"U' + b"A" * 138 + b"}"
_COLUMNS = ("pos", "recorded_at", "stream", "ver", "name", "data", "meta")


async def bench(database_url: str, seconds: float = SECONDS) -> dict[str, float]:
    """Measure one log in an empty database."""
    log = await Log.open(database_url, clock=SystemClock())
    reader = await LogReader.open(database_url)
    figures: dict[str, float] = {}
    try:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(log.run())
            single = await _clients(log, 1, min(seconds, 2.0))
            figures["command_p50_ms"] = median(single) * 1e3
            before, started, cpu = log.position, time.perf_counter(), time.process_time()
            waits = await _clients(log, CLIENTS, seconds)
            elapsed = time.perf_counter() - started
            appended = log.position - before
            figures["append_events_per_s"] = appended / elapsed
            figures["append_p50_ms"] = median(waits) * 1e3
            figures["append_p99_ms"] = quantiles(waits, n=100)[98] * 1e3
            figures["append_python_us_per_event"] = (time.process_time() - cpu) / appended * 1e6
            started, before = time.perf_counter(), log.position
            await asyncio.gather(*(log.append([_record() for _ in range(100)]) for _ in range(500)))
            figures["append_of_100_events_per_s"] = (log.position - before) / (time.perf_counter() - started)
            writer.cancel()
        head, started, seen = await reader.head(), time.perf_counter(), 0
        async for page in reader.iterate(0, head):
            seen += len(page)
        figures["read_rows_per_s"] = seen / (time.perf_counter() - started)
    finally:
        await reader.close()
        await log.close()
    return figures | await _raw(database_url)


def _record() -> Record:
    return Record(uuid4().bytes, 1, "ResultSubmitted.v1", _DATA, _META)


async def _clients(log: Log, clients: int, seconds: float) -> list[float]:
    """Seconds that each append took, with every client waiting for its own before the next."""
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        stream = uuid4().bytes
        for version in count(1):
            started = time.perf_counter()
            if started > end:
                return
            await log.append([Record(stream, version, "ResultSubmitted.v1", _DATA, _META)])
            waits.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return waits


async def _raw(database_url: str) -> dict[str, float]:
    """The same rows in groups of the same size, one transaction each, with no rules at all."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE raw (LIKE ledger.event INCLUDING ALL)")
        now, rate = datetime.now(UTC), {}
        insert = f"INSERT INTO raw VALUES ({', '.join(f'${n}' for n in range(1, 8))})"
        for name in ("raw_copy_rows_per_s", "raw_insert_rows_per_s"):
            await connection.execute("TRUNCATE raw")
            rows = [(n, now, UUID(bytes=uuid4().bytes), 1, "ResultSubmitted.v1", _DATA, _META) for n in range(RAW_ROWS)]
            started = time.perf_counter()
            for at in range(0, RAW_ROWS, COMMIT_EVENTS):
                batch = rows[at : at + COMMIT_EVENTS]
                if name == "raw_copy_rows_per_s":
                    await connection.copy_records_to_table("raw", records=batch, columns=_COLUMNS)
                else:
                    await connection.executemany(insert, batch)
            rate[name] = RAW_ROWS / (time.perf_counter() - started)
        return rate
    finally:
        await connection.close()


def main() -> None:
    with running_server() as server, suppress(KeyboardInterrupt):
        figures = uvloop.run(bench(server.url()))
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
