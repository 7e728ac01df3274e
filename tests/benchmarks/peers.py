"""Peers on the same machine: Ray and Dask dispatching a trivial task.

    uv run --group bench python -m tests.benchmarks.peers

Neither peer keeps a task on disk or knows who did it; they are here for the cost of dispatch alone.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

from services.stack.roles import ONE_THREAD

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


def in_process(module: str, asked: object = None) -> Any:
    """What a module of this folder prints last, as JSON, run in a process of its own with one thread to compute with.

    Ray leaves threads and children behind.
    """
    own = {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu", "NPROC": "1"}
    environment = {**os.environ, **ONE_THREAD, **own}
    command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{module}"]
    run = subprocess.run(
        command, input=json.dumps(asked), stdout=subprocess.PIPE, env=environment, text=True, check=True
    )
    return json.loads(run.stdout.strip().splitlines()[-1])


def real_work(**asked: object) -> dict[str, Any]:
    """What ``peer_work`` finds, by peer."""
    found: dict[str, Any] = in_process("peer_work", asked)
    return found


def main() -> dict[str, float]:
    """Every figure of this file."""
    warnings.simplefilter("ignore")
    found = {
        "dask_tasks_per_s": round(dask_tasks_per_s()),
        "ray_tasks_per_s": round(ray_tasks_per_s()),
    }
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
