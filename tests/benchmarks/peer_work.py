"""Real work through the peers: Dask (two processes of one thread) and Ray (two CPUs).

    echo '{"spins": [[40000, 64, 3]], "moves": [["input", 1000000, 3]]}' | python -m tests.benchmarks.peer_work

A process of its own, because Ray leaves threads and children behind. Every worker has compiled each function before
the clock runs. Neither peer signs, records or verifies anything.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, Protocol

import numpy as np

from tests.benchmarks import payload, spin

WORKERS = 2


class Peer(Protocol):
    def map(self, function: Callable[[Any], Any], inputs: Iterable[Any]) -> list[Any]:
        """One task for each input; their results, here."""
        ...

    def send(self, function: Callable[[Any], Any], array: Any) -> Any:
        """The array put into the peer's store, and the function's result on it."""
        ...


class Dask:
    def __init__(self) -> None:
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        self._client = Client(self._cluster)

    def map(self, function: Callable[[Any], Any], inputs: Iterable[Any]) -> list[Any]:
        return list(self._client.gather(self._client.map(function, list(inputs), pure=False)))

    def send(self, function: Callable[[Any], Any], array: Any) -> Any:
        return self._client.submit(function, self._client.scatter(array, hash=False), pure=False).result()

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


class Ray:
    def __init__(self) -> None:
        os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        import ray

        self._ray = ray
        ray.init(num_cpus=WORKERS, include_dashboard=False, logging_level="error", log_to_driver=False)
        self._remote = ray.remote(lambda function, argument: function(argument))

    def map(self, function: Callable[[Any], Any], inputs: Iterable[Any]) -> list[Any]:
        named = self._ray.put(function)
        return list(self._ray.get([self._remote.remote(named, one) for one in inputs]))

    def send(self, function: Callable[[Any], Any], array: Any) -> Any:
        return self._ray.get(self._remote.remote(function, self._ray.put(array)))

    def close(self) -> None:
        self._ray.shutdown()


class Spin:
    """The kernel of so many turns, compiled once in each process that calls it."""

    def __init__(self, turns: int) -> None:
        self._turns = turns

    def __call__(self, x: Any) -> Any:
        return spin.compiled(self._turns)(np.float32(x))


class Warm:
    """Has a process ready for a function, and says which process it was."""

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self._function, self._argument = function, argument

    def __call__(self, _: Any) -> int:
        self._function(self._argument)
        time.sleep(0.05)  # long enough for the next one to start elsewhere
        return os.getpid()


def warm(peer: Peer, function: Callable[[Any], Any], argument: Any) -> None:
    """Until every worker has run it."""
    ready: set[int] = set()
    while len(ready) < WORKERS:
        ready |= set(peer.map(Warm(function, argument), range(2 * WORKERS)))


def spins(peer: Peer, turns: int, tasks: int, rounds: int) -> float:
    """Seconds for the tasks, median of the rounds."""
    function, took = Spin(turns), []
    warm(peer, function, np.float32(1))
    for _ in range(rounds):
        began = time.perf_counter()
        found = peer.map(function, spin.inputs(tasks))
        took.append(time.perf_counter() - began)
        spin.check(found, tasks)
    return median(took)


def moves(peer: Peer, direction: str, size: int, rounds: int) -> float:
    """Seconds to bring an array of so many bytes to a worker, or to fetch one from there; median of the rounds."""
    call, took = payload.Call(direction, size), []
    warm(peer, call, payload.argument(direction, size, 0))
    for number in range(1, rounds + 1):
        given = payload.argument(direction, size, number)
        began = time.perf_counter()
        found = peer.send(call, given)
        took.append(time.perf_counter() - began)
        payload.check(direction, size, given, found)
    return median(took)


def main() -> None:
    warnings.simplefilter("ignore")
    asked, found = json.load(sys.stdin), {}
    for name, start in {"dask": Dask, "ray": Ray}.items():
        peer = start()
        try:
            found[name] = {
                "spins": [spins(peer, *one) for one in asked.get("spins", [])],
                "moves": [moves(peer, *one) for one in asked.get("moves", [])],
            }
        finally:
            peer.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
