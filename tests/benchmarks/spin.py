"""A kernel that takes a known time on one core, in every system the same: a counted loop of fixed length.

The length is part of the program, because the market runs no loop without a bound; so each duration is a program.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np

#: Turns of the loop with which a turn is timed.
_TRIAL = 2_000_000
_TRIALS = 15


def function(turns: int) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """``2 * x`` as the limit of ``v / 2 + x``, which no compiler finds out, after so many turns."""

    def spin(shared: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        return {"y": jax.lax.fori_loop(0, turns, lambda _, v: 0.5 * v + row["x"], row["x"])}

    return spin


@cache
def compiled(turns: int) -> Callable[[np.float32], np.ndarray[Any, Any]]:
    """The function compiled for this process."""
    jitted = jax.jit(function(turns)).lower({}, {"x": np.float32(0)}).compile()
    return lambda x: np.asarray(jitted({}, {"x": x})["y"])


def inputs(tasks: int) -> np.ndarray[Any, Any]:
    return np.arange(1, tasks + 1, dtype=np.float32)


def check(found: list[Any], tasks: int) -> None:
    """Raises:
    AssertionError: The outputs are not those of ``inputs(tasks)``.
    """
    np.testing.assert_allclose(np.array(found), 2 * inputs(tasks), rtol=1e-5)


def calibrate() -> float:
    """Turns a second on this core, in the best of some trials: others may be at work meanwhile."""
    run = compiled(_TRIAL)
    run(np.float32(1))
    return _TRIAL / min(seconds(lambda: run(np.float32(1))) for _ in range(_TRIALS))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
