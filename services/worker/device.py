"""What this machine is and how fast it computes, as a worker declares it."""

import importlib.metadata
import os
from typing import Final

import numpy as np
import psutil

from domain.events import Platform
from domain.kernels.probe_size import BYTES, FLOPS
from services import arrays
from services.worker.executor import Executor, Failure, Limits, Success

#: Runs of each probe; the fastest counts, because other programs can only slow one down.
RUNS: Final = 3
_LIMITS: Final = Limits(wall_s=30.0, memory_mb=1024)


class Unmeasured(Exception):
    """The probe program did not run; the worker cannot offer this device."""


def platform() -> Platform:
    """The kind of device that programs run on here."""
    for kind, package in (("cuda", "jax-cuda12-plugin"), ("cuda", "jax-cuda13-plugin"), ("tpu", "libtpu")):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return "cuda" if kind == "cuda" else "tpu"
    return "cpu"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1


def memory_mb() -> int:
    """Main memory."""
    return int(psutil.virtual_memory().total) >> 20


def jax_version() -> str:
    """Version of the jax that the sandbox loads, found without loading it."""
    return importlib.metadata.version("jax")


async def measure(executor: Executor) -> tuple[int, int]:
    """Floating-point operations and bytes moved a second, by the probe programs.

    Raises:
        Unmeasured: A probe failed.
    """
    return int(FLOPS / await _fastest(executor, "products")), int(BYTES / await _fastest(executor, "copies"))


async def _fastest(executor: Executor, kernel: str) -> float:
    program = await executor.export(kernel)
    mapped = arrays.pack({"start": np.ones(RUNS, np.float32)})
    outcomes = [outcome async for outcome in executor.run(program, None, mapped, range(RUNS), _LIMITS)]
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise Unmeasured(f"probe {kernel} failed: {outcome.reason}, {outcome.detail}")
    return min(outcome.seconds for outcome in outcomes if isinstance(outcome, Success))
