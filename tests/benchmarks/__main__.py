"""Every benchmark in one run: a table on the terminal and ``build/bench.json``.

    just bench [--quick] [--longest SECONDS] [PART ...]

Some parts alone go to a file of their own, such as ``build/bench-overhead.json``.
All figures are taken with fsync on and nats-server at ``sync_interval: always``.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop

from services.stack.roles import ONE_THREAD

#: Cases of ``overhead`` with more compute on two workers are left out: all of it should take under four minutes.
LONGEST_S = 40.0
BUILD = Path(__file__).parents[2] / "build"
_RATIOS = (("tasks_settled_per_s", "ray"), ("tasks_settled_single_per_s", "ray"), ("tasks_settled_per_s", "dask"))


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ": ?")
    return {
        "cpu": model.partition(": ")[2],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "fsync": "on",
        "nats_sync_interval": "always",
    }


def append() -> dict[str, float]:
    from tests.benchmarks import append as appending
    from tests.postgres import running_server

    with running_server() as server:
        return uvloop.run(appending.bench(server.url()))


def relaying(tasks: int) -> dict[str, float]:
    from tests.benchmarks import relaying as relay

    return uvloop.run(relay.bench(tasks))


def reading(tasks: int) -> dict[str, float]:
    from tests.benchmarks import reading as reader

    return uvloop.run(reader.bench(tasks))


def tasks(counts: list[int], number: int, rounds: int) -> dict[str, Any]:
    from tests.benchmarks import settle

    found = uvloop.run(settle.main(counts, number, rounds))
    most = max(counts, key=lambda count: found[f"leases_{count}_workers"]["tasks_per_s"])
    single = max(counts, key=lambda count: found[f"singles_{count}_workers"]["tasks_per_s"])
    return {
        "tasks_settled_per_s": found[f"leases_{most}_workers"]["tasks_per_s"],
        "tasks_settled_single_per_s": found[f"singles_{single}_workers"]["tasks_per_s"],
        **found,
    }


def settling(quick: bool) -> dict[str, Any]:
    from tests.benchmarks import settling as payouts

    return uvloop.run(payouts.bench(payees=payouts.PAYEES[:3], rounds=1) if quick else payouts.bench())


def overhead(compute_s_max: float) -> dict[str, Any]:
    from tests.benchmarks import overhead as work

    return uvloop.run(work.bench(compute_s_max))


def latency() -> dict[str, Any]:
    from tests.benchmarks import latency as waiting

    return uvloop.run(waiting.bench())


def moving() -> dict[str, Any]:
    from tests.benchmarks import moving as arrays

    return uvloop.run(arrays.bench())


def viewing(quick: bool) -> dict[str, Any]:
    from tests.benchmarks import viewing as page

    return page.bench(events=20, tasks=400) if quick else page.bench()


def peers() -> dict[str, Any]:
    from tests.benchmarks.peers import in_process

    found: dict[str, Any] = in_process("peers")
    return found


def parts(quick: bool, longest_s: float | None = None) -> dict[str, Callable[[], dict[str, Any]]]:
    """What can be measured, in the order in which it is."""
    return {
        "append": append,
        "relaying": lambda: relaying(4_000 if quick else 10_000),
        "reading": lambda: reading(6_000 if quick else 20_000),
        "peers": peers,
        "tasks": lambda: tasks([2], 2_000, 1) if quick else tasks([1, 2, 4], 6_000, 3),
        "settling": lambda: settling(quick),
        "latency": latency,
        "moving": moving,
        "viewing": lambda: viewing(quick),
        "overhead": lambda: overhead(longest_s or (2.0 if quick else LONGEST_S)),
    }


def tables(found: dict[str, Any]) -> Iterator[str]:
    """The figures as text: plain ones a line each, then those that compare."""
    from tests.benchmarks import moving, overhead, settling

    tabled = {"moving": moving, "settling": settling, "overhead": overhead}
    for name, value in found.items():
        if name in tabled:
            continue
        shown = f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else json.dumps(value)
        yield f"{name:36} {shown}"
    for name, module in tabled.items():
        if name in found:
            yield from ("", *module.table(found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("parts", nargs="*", choices=[[], *parts(False)], help="which to take; all of them if none")
    parser.add_argument("--quick", action="store_true", help="less of everything: for a look, not for figures")
    parser.add_argument("--longest", type=float, help=f"compute of one case of overhead, in seconds: {LONGEST_S:.0f}")
    asked = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.update(ONE_THREAD)
    found: dict[str, Any] = {"machine": machine()}
    for name, part in parts(asked.quick, asked.longest).items():
        if not asked.parts or name in asked.parts:
            found |= part()
    for name, peer in _RATIOS:
        if name in found and f"{peer}_tasks_per_s" in found:
            found[f"{name}_over_{peer}"] = round(found[name] / found[f"{peer}_tasks_per_s"], 2)
    BUILD.mkdir(exist_ok=True)
    file = "-".join(["bench", *asked.parts]) + ".json"
    (BUILD / file).write_text(json.dumps(found, indent=2))
    print("\n".join(tables(found)))


if __name__ == "__main__":
    main()
