"""How many events a second are projected, replayed and audited: ``python -m tests.benchmarks.reading [TASKS]``.

The history is that of single-replica tasks, five events each, in leases of 64; the log lies in PostgreSQL.
"""

import sys
import time
from collections.abc import Awaitable

import uvloop

from services.audit import audit, stored_root
from services.ledger.reader import LogReader
from services.projections.runner import Projector
from services.replay import replay
from tests.benchmarks.history import plain_history
from tests.history import MemoryLog, write_log
from tests.postgres import running_server
from tests.system.test_projections import rows_of, running

_ROUNDS = 3


async def rate(what: str, events: int, work: Awaitable[object]) -> None:
    """Print how fast ``work`` went through the events."""
    start, cpu = time.perf_counter(), time.process_time()
    await work
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{what:28} {events / took:9,.0f} events/s  {cpu / events * 1e6:5.1f} us of Python CPU an event")


async def main(tasks: int) -> None:
    records = plain_history(tasks)
    last = len(records)
    with running_server() as server:
        await write_log(server.url(), records)
        log = await LogReader.open(server.url())
        for number, size in enumerate((500, 2000, 4000) * _ROUNDS):
            name = f"offered_{number}"
            await rows_of(server.url(), f"CREATE DATABASE {name}")
            projector = Projector(MemoryLog([]), server.url(name), batch_max=size, queue_max=last)
            for start in range(0, last, size):
                projector.offer(records[start : start + size])
            async with running(projector):
                await rate(f"projected, batches of {size}", last, projector.caught_up(last))
        for _ in range(_ROUNDS):
            await rate("replayed", last, replay(log))
            await rate("audited", last, audit(log, roots=await stored_root(server.url())))
        await log.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
