"""What tests of the sandbox share: a program, batches of it, and what comes back."""

from functools import cache

import numpy as np

from domain.kernels import trivial
from services import arrays
from services.programs.export import export_program
from services.worker.executor import Executor, Limits, Outcome, Success

SCALAR = {"x": np.float32(1)}


@cache
def square() -> bytes:
    """A program that squares its number and adds one."""
    return export_program(trivial.square_plus_one, None, SCALAR)


async def outcomes(executor: Executor, program: bytes, *inputs: float, limits: Limits | None = None) -> list[Outcome]:
    """What the executor makes of these inputs, a task each."""
    mapped = arrays.pack({"x": np.array(inputs, np.float32)})
    return [one async for one in executor.run(program, None, mapped, range(len(inputs)), limits)]


def number(outcome: Outcome) -> float:
    """The result, which has to be there."""
    assert isinstance(outcome, Success), outcome
    return float(arrays.unpack(outcome.result)["y"])
