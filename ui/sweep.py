"""The demo's work: a sweep over learning rate, weight decay and seed; each point trains a classifier of digits."""

import itertools
from typing import Final, NamedTuple

import numpy as np

from services import arrays
from services.client.session import Work

LEARNING_RATES: Final = (0.003, 0.03, 0.1, 0.3)
WEIGHT_DECAYS: Final = (0.0, 1e-4, 1e-2)
SEEDS: Final = (0, 1)
PRICE_MSAT: Final = 1_000_000
STAKE_MSAT: Final = 4_000_000
#: The hasty worker trains for this share of the steps.
HASTE: Final = 4


class Point(NamedTuple):
    learning_rate: float
    weight_decay: float
    seed: int


POINTS: Final = tuple(Point(*point) for point in itertools.product(LEARNING_RATES, WEIGHT_DECAYS, SEEDS))


class Outcome(NamedTuple):
    """What one point of the sweep returned; accuracies are in 0 to 1."""

    point: Point
    validation_accuracy: float
    test_accuracy: float


def programs() -> tuple[bytes, bytes]:
    """The honest program, and the one that a hasty worker runs in its place."""
    import functools

    from domain.kernels import digits, mlp
    from services.programs.export import export_program

    shared = digits.load().arrays()
    row = {name: column[0] for name, column in _columns().items()}
    hasty = functools.partial(mlp.sweep, steps=mlp.STEPS // HASTE)
    return export_program(mlp.sweep, shared, row), export_program(hasty, shared, row)


def work(program: bytes) -> Work:
    """The sweep as a job: every point run by two different workers."""
    from domain.kernels import digits

    return Work(
        program=program,
        shared=arrays.pack(digits.load().arrays()),
        mapped=arrays.pack(_columns()),
        tasks=len(POINTS),
        price_msat=PRICE_MSAT,
        stake_msat=STAKE_MSAT,
        replicas=2,
        timeout_s=30,
    )


def outcome(index: int, result: bytes) -> Outcome:
    """What the packed result of task ``index`` says."""
    found = arrays.unpack(result)
    return Outcome(POINTS[index], float(found["validation_accuracy"]), float(found["test_accuracy"]))


def best(outcomes: list[Outcome]) -> Outcome:
    """Chosen on the validation images alone, so that the test accuracy stays held out."""
    return max(outcomes, key=lambda one: (one.validation_accuracy, one.point))


def _columns() -> dict[str, "np.ndarray[tuple[int], np.dtype[np.generic]]"]:
    rates, decays, seeds = zip(*POINTS, strict=True)
    return {
        "learning_rate": np.array(rates, np.float32),
        "weight_decay": np.array(decays, np.float32),
        "seed": np.array(seeds, np.uint32),
    }
