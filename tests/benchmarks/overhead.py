"""What the market adds to work that takes time: tasks of known length through it, and through its peers.

    just bench overhead

The clock runs from the client's arrays, before the job is posted, until it holds every verified result and the job is
completed. ``overhead`` is what a task takes above its share of the compute on two cores. ``overhead_machine_drift`` is
how fast the machine was at the end over how fast at the start, when the tasks were given their length: far from 1,
others were at work meanwhile, and no figure holds.
"""

import asyncio
import time
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from services.programs.export import export_program
from tests.benchmarks import spin
from tests.benchmarks.desk import WORKERS, Desk, open_desk
from tests.benchmarks.peers import real_work

COMPUTE_MS: Final = (1, 10, 100, 1000)
TASKS: Final = (1, 64, 1024)
#: Time for the rounds of one combination in one system, in seconds; there is at least one, and at most five.
ROUNDS_S: Final = 4.0
#: In this process, one call after another: what takes longer is timed on fewer calls, in seconds.
IN_PROCESS_S_MAX: Final = 5.0


class Case(NamedTuple):
    """So many tasks of so many milliseconds."""

    compute_ms: int
    tasks: int

    @property
    def name(self) -> str:
        return f"{self.compute_ms}_ms_x_{self.tasks}"

    @property
    def ideal_s(self) -> float:
        """Compute alone, on as many cores as there are workers."""
        return -(-self.tasks // WORKERS) * self.compute_ms / 1e3

    @property
    def rounds(self) -> int:
        return max(1, min(5, int(ROUNDS_S / self.ideal_s)))

    def overhead_ms(self, seconds: float) -> float:
        return (seconds - self.ideal_s) / self.tasks * 1e3


CASES: Final = [Case(compute_ms, tasks) for compute_ms in COMPUTE_MS for tasks in TASKS]


async def bench(compute_s_max: float) -> dict[str, Any]:
    """Every case with at most so much compute on two workers, through the market and its peers."""
    turns_per_s = spin.calibrate()
    turns = {ms: round(turns_per_s * ms / 1e3) for ms in COMPUTE_MS}
    cases = [case for case in CASES if case.ideal_s <= compute_s_max]
    found: dict[str, Any] = {case.name: {"left_out": f"{case.ideal_s:.0f} s"} for case in CASES if case not in cases}
    ours = await _market(cases, turns)
    peers = await asyncio.to_thread(
        real_work, spins=[(turns[case.compute_ms], case.tasks, case.rounds) for case in cases]
    )
    for number, case in enumerate(cases):
        seconds = {
            "market": ours[case],
            "in_process": _in_process(case, turns[case.compute_ms]),
            **{peer: of_peer["spins"][number] for peer, of_peer in peers.items()},
        }
        found[case.name] = {
            **{f"{system}_s": round(took, 4) for system, took in seconds.items()},
            **{f"{system}_overhead_ms": round(case.overhead_ms(took), 3) for system, took in seconds.items()},
            **{f"market_over_{peer}": round(ours[case] / seconds[peer], 3) for peer in seconds if peer != "market"},
        }
    return {
        "overhead": {case.name: found[case.name] for case in CASES},
        "overhead_machine_drift": round(spin.calibrate() / turns_per_s, 3),
    }


async def _market(cases: list[Case], turns: dict[int, int]) -> dict[Case, float]:
    found = {}
    async with open_desk() as desk:
        for compute_ms in dict.fromkeys(case.compute_ms for case in cases):
            row = {"x": np.float32(0)}
            program = await asyncio.to_thread(export_program, spin.function(turns[compute_ms]), None, row, ("cpu",))
            await _run(desk, program, 2 * WORKERS * WORKERS)  # both workers have compiled it then
            for case in cases:
                if case.compute_ms == compute_ms:
                    found[case] = median([await _run(desk, program, case.tasks) for _ in range(case.rounds)])
    return found


async def _run(desk: Desk, program: bytes, tasks: int) -> float:
    began = time.perf_counter()
    outputs = await desk.run(program, None, {"x": spin.inputs(tasks)}, tasks)
    took = time.perf_counter() - began
    spin.check([one["y"] for one in outputs], tasks)
    return took


def _in_process(case: Case, turns: int) -> float:
    run = spin.compiled(turns)
    run(np.float32(1))
    calls = max(1, min(case.tasks, int(IN_PROCESS_S_MAX * 1e3 / case.compute_ms)))
    took = spin.seconds(lambda: spin.check([run(x) for x in spin.inputs(calls)], calls))
    return took * case.tasks / calls


def table(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    systems, peers = ("market", "in_process", "dask", "ray"), ("in_process", "dask", "ray")
    lines = [
        f"{'':16}{'seconds':>44}{'overhead, ms a task':>44}{'market over':>33}",
        f"{'':16}" + "".join(f"{name:>11}" for name in (*systems, *systems, *peers)),
    ]
    for case in CASES:
        row, label = found["overhead"][case.name], f"{case.compute_ms} ms x {case.tasks}"
        if "left_out" in row:
            lines.append(f"{label:16}   left out: {row['left_out']} of compute on {WORKERS} workers")
            continue
        values = [row[f"{system}_s"] for system in systems]
        values += [row[f"{system}_overhead_ms"] for system in systems]
        values += [row[f"market_over_{peer}"] for peer in peers]
        lines.append(f"{label:16}" + "".join(f"{value:11.3f}" if value < 100 else f"{value:11.1f}" for value in values))
    return lines
