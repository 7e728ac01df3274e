"""How long a client waits for the verified result of one small job on an idle market: ``just bench latency``."""

import asyncio
import time
from statistics import median, quantiles

import numpy as np

import pasar
from domain.kernels import trivial
from services.programs.export import export_program
from tests.benchmarks.desk import Desk, open_desk

JOBS = 50
#: Until both workers have compiled the program.
WARM_UP_JOBS = 10
PAUSE_S = 0.02


async def bench() -> dict[str, float]:
    """Milliseconds from the client's array to the result in its hands; the job computes for microseconds."""
    program = await asyncio.to_thread(export_program, trivial.square_plus_one, None, {"x": np.float32(0)}, ("cpu",))
    async with open_desk() as desk:
        took = [await _one(desk, program, number) for number in range(WARM_UP_JOBS + JOBS)][WARM_UP_JOBS:]
    through_sdk = await asyncio.to_thread(_through_sdk)
    return {
        "job_p50_ms": round(median(took) * 1e3, 1),
        "job_p99_ms": round(quantiles(took, n=100)[98] * 1e3, 1),
        "sdk_latency_p50_ms": round(median(through_sdk) * 1e3, 1),
        "sdk_latency_p99_ms": round(quantiles(through_sdk, n=100)[98] * 1e3, 1),
    }


async def _one(desk: Desk, program: bytes, number: int) -> float:
    await asyncio.sleep(PAUSE_S)
    began = time.perf_counter()
    (outputs,) = await desk.run(program, None, {"x": np.array([number], np.float32)}, 1)
    took = time.perf_counter() - began
    assert outputs["y"] == np.float32(number) ** 2 + 1, "another result than the program's"
    return took


def _through_sdk() -> list[float]:
    """Seconds from ``submit`` to what ``result`` returns, for distinct inputs: priced and posted each time."""
    took = []
    with pasar.connect(ephemeral=True) as market:
        market.fund(pasar.sats(100_000))
        function = market.job(lambda x: x * x + 1)
        for number in range(WARM_UP_JOBS + JOBS):
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            found = function.submit(np.float32(number)).result()
            took.append(time.perf_counter() - began)
            assert found == np.float32(number) ** 2 + 1, "another result than the function's"
    return took[WARM_UP_JOBS:]
