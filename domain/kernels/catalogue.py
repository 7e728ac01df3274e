"""Programs to be had by name: for a first job, a page's menu, a notebook or a benchmark.

``build`` gives a function of ``(shared, row)``, what its inputs look like, and inputs to run it on.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from domain.kernels import digits, heat, linear, lorenz, mandelbrot, menu, mlp, option, spectrum, transformer, trivial
from domain.kernels.menu import MENU, Number, Parameter

Arrays = Mapping[str, Any]


class Program(NamedTuple):
    """A function that can be exported, and what to run it on.

    Attributes:
        function: Of ``(shared, row)``; returns a tree of arrays.
        shared, row: Its inputs as shapes (``jax.ShapeDtypeStruct``).
        inputs: ``inputs(seed, tasks)`` gives arrays for ``shared``, and for the rows of so many tasks with a leading
            axis for the task.
    """

    function: Callable[[dict[str, Any], dict[str, Any]], Any]
    shared: Arrays
    row: Arrays
    inputs: Callable[[int, int], tuple[Arrays, Arrays]]


class Entry(NamedTuple):
    summary: str
    parameters: tuple[Parameter, ...]
    build: Callable[..., Program]


def build(name: str, **chosen: Number) -> Program:
    """A program of the catalogue.

    Args:
        chosen: Its parameters; those left out have their defaults.
    Raises:
        ValueError: There is no such program or parameter, or a value is of the wrong type or outside its range.
    """
    whole = menu.complete(name, chosen)
    return CATALOGUE[name].build(**whole)


def _program(
    function: Callable[[dict[str, Any], dict[str, Any]], Any], inputs: Callable[[np.random.Generator, int], Any]
) -> Program:
    """A program whose inputs are drawn; their shapes are those of a single task's."""

    def seeded(seed: int, tasks: int) -> tuple[Arrays, Arrays]:
        shared, mapped = inputs(np.random.default_rng(seed), tasks)
        return shared, mapped

    shared, mapped = seeded(0, 1)
    return Program(function, _shapes(shared), _shapes({name: array[0] for name, array in mapped.items()}), seeded)


def _shapes(arrays: Arrays) -> Arrays:
    return {name: jax.ShapeDtypeStruct(np.shape(array), array.dtype) for name, array in arrays.items()}


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return random.standard_normal(shape, dtype=np.float32)


def _uniform(random: np.random.Generator, low: float, high: float, tasks: int) -> Any:
    return random.uniform(low, high, tasks).astype(np.float32)


def _trivial() -> Program:
    return _program(trivial.square_plus_one, lambda random, tasks: ({}, {"x": _normal(random, tasks)}))


def _product(side: int) -> Program:
    return _program(
        lambda shared, row: {"product": linear.product(shared["left"], row["right"])},
        lambda random, tasks: ({"left": _normal(random, side, side)}, {"right": _normal(random, tasks, side, side)}),
    )


def _solve(side: int, sides: int) -> Program:
    def inputs(random: np.random.Generator, tasks: int) -> tuple[Arrays, Arrays]:
        # The diagonal keeps the matrix well away from singular.
        matrix = _normal(random, side, side) + 2 * np.sqrt(side).astype(np.float32) * np.eye(side, dtype=np.float32)
        return {"matrix": matrix}, {"sides": _normal(random, tasks, side, sides)}

    def function(shared: dict[str, Any], row: dict[str, Any]) -> Any:
        found, _ = linear.solve(shared["matrix"], row["sides"])
        return {"solution": found}  # the residual is rounding noise, on which honest machines differ

    return _program(function, inputs)


def _spectrum(samples: int) -> Program:
    return _program(
        lambda shared, row: {"power": spectrum.power(row["signal"])},
        lambda random, tasks: ({}, {"signal": _normal(random, tasks, 2 * (samples // 2))}),
    )


def _option(paths: int) -> Program:
    def inputs(random: np.random.Generator, tasks: int) -> tuple[Arrays, Arrays]:
        return {}, {
            "spot": np.full(tasks, 100, np.float32),
            "strike": _uniform(random, 80, 120, tasks),
            "rate": _uniform(random, 0.0, 0.05, tasks),
            "volatility": _uniform(random, 0.1, 0.4, tasks),
            "maturity": _uniform(random, 0.25, 2, tasks),
            "seed": random.integers(1 << 32, size=tasks, dtype=np.uint32),
        }

    def function(shared: dict[str, Any], row: dict[str, Any]) -> Any:
        terms = option.Terms(**{name: row[name] for name in option.Terms._fields})
        return option.call_price(terms, row["seed"], paths=paths)._asdict()

    return _program(function, inputs)


def _mlp(steps: int) -> Program:
    def inputs(random: np.random.Generator, tasks: int) -> tuple[Arrays, Arrays]:
        rows = {
            "learning_rate": _uniform(random, 0.01, 0.3, tasks),
            "weight_decay": _uniform(random, 0, 1e-3, tasks),
            "seed": random.integers(1 << 32, size=tasks, dtype=np.uint32),
        }
        return digits.load().arrays(), rows

    return _program(partial(mlp.sweep, steps=steps * mlp.REPORT), inputs)


def _mandelbrot(side: int, rounds: int) -> Program:
    def inputs(random: np.random.Generator, tasks: int) -> tuple[Arrays, Arrays]:
        corners = {"left": _uniform(random, -2, 0.2, tasks), "bottom": _uniform(random, -1.2, 0.8, tasks)}
        return {}, {**corners, "width": np.full(tasks, 0.25, np.float32)}

    def function(shared: dict[str, Any], row: dict[str, Any]) -> Any:
        return {"rounds": mandelbrot.escape(row["left"], row["bottom"], row["width"], side=side, rounds=rounds)}

    return _program(function, inputs)


def _transformer(length: int, head_width: int, heads: int) -> Program:
    width = heads * head_width
    shapes = dict.fromkeys(("queries", "keys", "values", "output"), (width, width))
    shapes |= {"widen": (width, 4 * width), "narrow": (4 * width, width)}

    def inputs(random: np.random.Generator, tasks: int) -> tuple[Arrays, Arrays]:
        weights = {
            name: _normal(random, *shape) / np.sqrt(shape[0], dtype=np.float32) for name, shape in shapes.items()
        }
        return weights, {"tokens": _normal(random, tasks, length, width)}

    def function(shared: dict[str, Any], row: dict[str, Any]) -> Any:
        return {"tokens": transformer.block(transformer.Weights(**shared), row["tokens"], heads=heads)}

    return _program(function, inputs)


def _heat(side: int, steps: int) -> Program:
    def inputs(random: np.random.Generator, tasks: int) -> tuple[Arrays, Arrays]:
        return {}, {"plate": _normal(random, tasks, side, side), "diffusivity": _uniform(random, 1e-5, 1e-4, tasks)}

    def function(shared: dict[str, Any], row: dict[str, Any]) -> Any:
        step_s = 0.2 / side**2 / 1e-4  # stable for every diffusivity drawn above
        return {"plate": heat.spread(row["plate"], row["diffusivity"], steps=steps, step_s=step_s)}

    return _program(function, inputs)


def _lorenz(steps: int, step: float) -> Program:
    return _program(
        lambda shared, row: {"states": lorenz.trajectory(row["start"], steps=steps, step=step)},
        lambda random, tasks: ({}, {"start": 10 * _normal(random, tasks, 3)}),
    )


_BUILD: Final[Mapping[str, Callable[..., Program]]] = {
    "square": _trivial,
    "product": _product,
    "solve": _solve,
    "spectrum": _spectrum,
    "option": _option,
    "mlp": _mlp,
    "mandelbrot": _mandelbrot,
    "transformer": _transformer,
    "heat": _heat,
    "lorenz": _lorenz,
}
CATALOGUE: Final[Mapping[str, Entry]] = {name: Entry(*item, _BUILD[name]) for name, item in MENU.items()}
