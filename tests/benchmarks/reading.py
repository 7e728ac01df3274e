"""How many events a second are projected, replayed and audited: ``python -m tests.benchmarks.reading [TASKS]``.

The history is that of single-replica tasks, five events each, in leases of 64; the log lies in PostgreSQL.
"""

import json
import sys
import time
from collections.abc import Awaitable
from statistics import median

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
_BATCH = 2_000


async def rate(events: int, work: Awaitable[object]) -> float:
    """Events a second that ``work`` goes through."""
    began = time.perf_counter()
    await work
    return events / (time.perf_counter() - began)


async def bench(tasks: int) -> dict[str, float]:
    """Medians of the rates on a history of so many settled tasks."""
    records = plain_history(tasks)
    last = len(records)
    found: dict[str, list[float]] = {}
    with running_server() as server:
        await write_log(server.url(), records)
        log = await LogReader.open(server.url())
        for number in range(_ROUNDS):
            name = f"offered_{number}"
            await rows_of(server.url(), f"CREATE DATABASE {name}")
            projector = Projector(MemoryLog([]), server.url(name), batch_max=_BATCH, queue_max=last)
            for start in range(0, last, _BATCH):
                projector.offer(records[start : start + _BATCH])
            async with running(projector):
                projected = await rate(last, projector.caught_up(last))
            found.setdefault("projection_events_per_s", []).append(projected)
            found.setdefault("replay_events_per_s", []).append(await rate(last, replay(log)))
            audited = rate(last, audit(log, roots=await stored_root(server.url())))
            found.setdefault("audit_events_per_s", []).append(await audited)
        await log.close()
    return {name: median(rates) for name, rates in found.items()}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(bench(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))))
