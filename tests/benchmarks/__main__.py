"""Every benchmark in one run: a table on the terminal and ``build/bench.json``.

    uv run --group bench python -m tests.benchmarks [--quick]

All figures are taken with fsync on and nats-server at ``sync_interval: always``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import uvloop

BUILD = Path(__file__).parents[2] / "build"
_RATIOS = (("tasks_settled_per_s", "ray"), ("tasks_settled_single_per_s", "ray"), ("tasks_settled_per_s", "dask"))


def machine() -> dict[str, object]:
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


def settling(counts: list[int], tasks: int, rounds: int) -> dict[str, object]:
    from tests.benchmarks import settle

    found = uvloop.run(settle.main(counts, tasks, rounds))
    most = max(counts, key=lambda count: found[f"leases_{count}_workers"]["tasks_per_s"])
    single = max(counts, key=lambda count: found[f"singles_{count}_workers"]["tasks_per_s"])
    return {
        "tasks_settled_per_s": found[f"leases_{most}_workers"]["tasks_per_s"],
        "tasks_settled_single_per_s": found[f"singles_{single}_workers"]["tasks_per_s"],
        **found,
    }


def peers() -> dict[str, float]:
    """In a process of its own: Ray leaves threads and children behind."""
    run = subprocess.run([sys.executable, "-m", "tests.benchmarks.peers"], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="two workers only, one round, a third of the tasks")
    quick = parser.parse_args().quick
    found: dict[str, object] = {"machine": machine()}
    found |= append()
    found |= relaying(4_000 if quick else 10_000)
    found |= reading(6_000 if quick else 20_000)
    found |= peers()
    found |= settling([2], 2_000, 1) if quick else settling([1, 2, 4], 6_000, 3)
    for name, peer in _RATIOS:
        found[f"{name}_over_{peer}"] = round(float(str(found[name])) / float(str(found[f"{peer}_tasks_per_s"])), 2)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps(found, indent=2))
    for name, value in found.items():
        shown = f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else json.dumps(value)
        print(f"{name:36} {shown}")


if __name__ == "__main__":
    main()
