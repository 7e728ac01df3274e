"""Peers on the same machine: Ray and Dask dispatching a trivial task, and raw JetStream atomic batches.

    uv run --group bench python -m tests.benchmarks.peers

Neither peer keeps a task on disk or knows who did it; they are here for the cost of dispatch alone.
"""

import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import uvloop

from services import bootstrap
from services.bus.events import BATCH_MAX, ensure_stream
from services.bus.relay import publish
from services.config import Settings
from services.ports import Stored, SystemClock
from services.stack.supervisor import Stack

TASKS = 5_000
ROUNDS = 3
WORKERS = 2
EVENTS = 50_000


def _square(number: int) -> int:
    return number * number


def ray_tasks_per_s() -> float:
    """Tasks a second through Ray, two workers."""
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        remote = ray.remote(_square)
        ray.get([remote.remote(number) for number in range(TASKS // 5)])
        rates = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            ray.get([remote.remote(number) for number in range(TASKS)])
            rates.append(TASKS / (time.perf_counter() - began))
        return median(rates)
    finally:
        ray.shutdown()


def dask_tasks_per_s() -> float:
    """Tasks a second through Dask's distributed scheduler, two worker processes."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with cluster, Client(cluster) as client:
        client.gather(client.map(_square, range(TASKS // 5), pure=False))
        rates = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            client.gather(client.map(_square, range(TASKS), pure=False))
            rates.append(TASKS / (time.perf_counter() - began))
        return median(rates)


async def raw_atomic_batches_per_s() -> float:
    """Events a second into the event stream by atomic batches of 1,000, nothing else running; every batch is synced."""
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as home:
        async with Stack(Settings(home=Path(home)), ()) as stack:
            wire = await bootstrap.wires(stack.settings, "relay", "bench")()
            last, at = await ensure_stream(wire), SystemClock().now()
            meta = (
                b'{"actor":"U' + b"A" * 55 + b'","correlation":"' + b"0" * 32 + b'","causation":"' + b"0" * 16 + b'"}'
            )
            began = time.perf_counter()
            while last < EVENTS:
                batch = [
                    Stored(position, bytes(16), position, "ResultVerified.v1", b"{}" * 140, meta, at)
                    for position in range(last + 1, last + 1 + BATCH_MAX)
                ]
                last = await publish(wire, batch, last)
            rate = EVENTS / (time.perf_counter() - began)
            wire.close()
            return rate


def main() -> dict[str, float]:
    """Every figure of this file."""
    warnings.simplefilter("ignore")
    found = {
        "raw_atomic_batch_events_per_s": round(uvloop.run(raw_atomic_batches_per_s())),
        "dask_tasks_per_s": round(dask_tasks_per_s()),
        "ray_tasks_per_s": round(ray_tasks_per_s()),
    }
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
