"""Tasks settled end to end a second, and how long one idle task takes, on the whole embedded market.

    python -m tests.benchmarks.settle [--workers 1 2 4] [--tasks 5000] [--rounds 3]

The clock runs from just before the signed PostJob until the read model shows every task verified and the relay has
published every event. Each task leaves five durable facts; the program is x*x + 1 in JAX, in the sandboxed executor.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg
import numpy as np
import psutil
import uvloop

from services import arrays, bootstrap
from services.bus.events import STREAM, call
from services.bus.wire import Wire
from services.client.session import Session, Work, session
from services.config import Settings
from services.stack.roles import market_services
from services.stack.supervisor import Stack
from services.worker.options import WorkerOptions

STAKE_MSAT = 10_000_000_000
IDLE_TASKS = 100
WARM_UP_TASKS = 30
_SETTLED = "SELECT verified FROM read.jobs WHERE job = $1"


def a_worker(*, slots: int, lanes: int) -> WorkerOptions:
    asks = {"price_msat": 1, "tflop_msat": 0, "gb_msat": 0}
    return WorkerOptions(**asks, slots=slots, lanes=lanes, stake_msat=STAKE_MSAT, measure=False)


LEASES = a_worker(slots=64, lanes=2)
SINGLES = a_worker(slots=1, lanes=64)


def pss_mb(pid: int) -> float:
    """Proportional memory of a process and of those that it started, in MB."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(one.memory_full_info().pss for one in family) / 1e6


class Bench:
    """One running market and a client on it."""

    def __init__(self, client: Session, database: asyncpg.Connection, wire: Wire, program: bytes, pids: Any) -> None:
        self._client, self._database, self._wire, self._program = client, database, wire, program
        self._pids = pids

    async def settle(self, tasks: int, *, poll_s: float) -> float:
        """Seconds from posting a job to its last event relayed and projected."""
        work = Work(
            program=self._program,
            shared=None,
            mapped=arrays.pack({"x": np.arange(tasks, dtype=np.float32)}),
            tasks=tasks,
            price_msat=1,
        )
        began = time.perf_counter()
        job = await self._client.post(work)
        while not await self._settled(job, tasks):  # noqa: ASYNC110  the reader's clock, as a user would poll
            await asyncio.sleep(poll_s)
        return time.perf_counter() - began

    async def _settled(self, job: str, tasks: int) -> bool:
        if (await self._database.fetchval(_SETTLED, job) or 0) < tasks:
            return False
        return await self._published() >= await self._database.fetchval("SELECT pos FROM ledger.head")

    async def _published(self) -> int:
        return int((await call(self._wire, f"STREAM.INFO.{STREAM}"))["state"]["last_seq"])

    async def rate(self, tasks: int, rounds: int) -> dict[str, Any]:
        """Tasks settled a second, and the processor seconds that a thousand of them cost each process."""
        await self.settle(tasks // 4, poll_s=0.02)
        before = self._cpu()
        rates = [tasks / await self.settle(tasks, poll_s=0.02) for _ in range(rounds)]
        spent = {name: self._cpu()[name] - seconds for name, seconds in before.items()}
        per_thousand = {name: round(seconds * 1000 / (tasks * rounds), 3) for name, seconds in spent.items()}
        return {"tasks_per_s": round(median(rates)), "rounds": [round(one) for one in rates], "cpu_s": per_thousand}

    async def idle(self) -> dict[str, float]:
        """Milliseconds for one task on an idle market."""
        for _ in range(WARM_UP_TASKS):  # until every worker has compiled the program
            await self.settle(1, poll_s=0.005)
        seconds = [await self._paused(0.02) or await self.settle(1, poll_s=0.0005) for _ in range(IDLE_TASKS)]
        return {
            "idle_task_p50_ms": round(median(seconds) * 1e3, 1),
            "idle_task_p99_ms": round(quantiles(seconds, n=100)[98] * 1e3, 1),
        }

    async def _paused(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def memory_mb(self) -> dict[str, int]:
        """Proportional memory of the stack once it has come to rest, in MB: of all of it, and of those who settle."""
        await asyncio.sleep(3)
        used = {name: pss_mb(pid) for name, pid in self._pids().items()}
        of_all = {"stack": sum(used.values()), "settlement": used["settlement"], "arbiter": used["arbiter"]}
        return {f"idle_{name}_mb": round(mb) for name, mb in of_all.items()}

    def _cpu(self) -> dict[str, float]:
        spent = {}
        for name, pid in self._pids().items():
            with suppress(psutil.Error):
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                spent[name] = sum(sum(one.cpu_times()[:2]) for one in family)
        return spent


async def run(workers: Mapping[str, WorkerOptions], measure: Any) -> Any:
    """Start a market with these workers and measure on it."""
    from domain.kernels import trivial
    from services.programs.export import export_program

    program = await asyncio.to_thread(export_program, trivial.square_plus_one, None, {"x": np.float32(0)}, ("cpu",))
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as home:
        async with Stack(Settings(home=Path(home)), market_services(workers)) as stack:
            settings = stack.settings
            database = await asyncpg.connect(settings.database_url)
            wire = await bootstrap.wires(settings, "relay", "bench")()
            async with session(settings, "bench") as client:
                for _ in range(5):
                    await client.fund(100_000_000_000)
                pids = {one.name: one.pid for one in stack.status().services if one.pid}
                found = await measure(Bench(client, database, wire, program, lambda: pids))
            wire.close()
            await database.close()
            return found


def named(options: WorkerOptions, count: int) -> dict[str, WorkerOptions]:
    return {f"worker-{number}": options for number in range(1, count + 1)}


async def main(counts: list[int], tasks: int, rounds: int) -> dict[str, Any]:
    """Every figure of this file."""
    found: dict[str, Any] = {}
    for count in counts:
        leases = await run(named(LEASES, count), lambda bench: bench.rate(tasks, rounds))
        found[f"leases_{count}_workers"] = leases
        print(json.dumps({f"leases_{count}_workers": leases}), flush=True)
        singles = await run(named(SINGLES, count), lambda bench: bench.rate(max(1000, tasks // 3), rounds))
        found[f"singles_{count}_workers"] = singles
        print(json.dumps({f"singles_{count}_workers": singles}), flush=True)
    found |= await run(named(LEASES, 2), lambda bench: bench.idle())
    found |= await run({}, lambda bench: bench.memory_mb())
    print(json.dumps({name: value for name, value in found.items() if name.startswith("idle")}), flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    uvloop.run(main(arguments.workers, arguments.tasks, arguments.rounds))
