"""What the catalogue offers, and what can be chosen about it; apart from it, to be shown without loading jax."""

from collections.abc import Mapping
from typing import Final, NamedTuple

Number = int | float


class Parameter(NamedTuple):
    """What can be chosen about a program: a number of the type of ``default``, from ``least`` to ``most``."""

    name: str
    summary: str
    default: Number
    least: Number
    most: Number


class Item(NamedTuple):
    summary: str
    parameters: tuple[Parameter, ...]


def complete(name: str, chosen: Mapping[str, Number]) -> dict[str, Number]:
    """The parameters of a program; those that were not chosen have their defaults.

    Raises:
        ValueError: There is no such program or parameter, or a value is of the wrong type or outside its range.
    """
    if name not in MENU:
        raise ValueError(f"no program is called {name!r}; there are {', '.join(MENU)}")
    known = {parameter.name: parameter for parameter in MENU[name].parameters}
    for given, value in chosen.items():
        if given not in known:
            raise ValueError(f"{name} has no parameter {given!r}; it has {', '.join(known) or 'none'}")
        allowed = known[given]
        whole = isinstance(allowed.default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"{given} of {name} is {value!r}; give a {'whole ' if whole else ''}number")
        if not allowed.least <= value <= allowed.most:
            raise ValueError(f"{given} of {name} is {value}; give one from {allowed.least} to {allowed.most}")
    return {**{one.name: one.default for one in known.values()}, **chosen}


MENU: Final[Mapping[str, Item]] = {
    "square": Item("x * x + 1 of one number: what a task costs beside its work", ()),
    "product": Item("Product of two square matrices", (Parameter("side", "Rows and columns", 512, 1, 4096),)),
    "solve": Item(
        "Solution of a system of linear equations",
        (Parameter("side", "Unknowns", 256, 1, 4096), Parameter("sides", "Right-hand sides", 1, 1, 4096)),
    ),
    "spectrum": Item(
        "Power spectrum of a signal", (Parameter("samples", "Even number of samples", 65_536, 2, 1 << 22),)
    ),
    "option": Item(
        "Price of a European call option by Monte Carlo",
        (Parameter("paths", "Draws, each used with both signs", 100_000, 100, 10_000_000),),
    ),
    "mlp": Item(
        "Training of a small classifier of handwritten digits",
        (Parameter("steps", "Training steps, in units of 20", 20, 1, 1000),),
    ),
    "mandelbrot": Item(
        "Tile of the Mandelbrot set",
        (Parameter("side", "Pixels", 256, 1, 4096), Parameter("rounds", "Iterations", 200, 1, 100_000)),
    ),
    "transformer": Item(
        "Inference of one transformer block",
        (
            Parameter("length", "Tokens", 128, 1, 4096),
            Parameter("head_width", "Numbers a head", 32, 1, 256),
            Parameter("heads", "Attention heads", 4, 1, 64),
        ),
    ),
    "heat": Item(
        "Heat spreading over a plate",
        (Parameter("side", "Cells", 128, 3, 2048), Parameter("steps", "Time steps", 500, 1, 1_000_000)),
    ),
    "lorenz": Item(
        "Trajectory of the Lorenz system",
        # It is chaotic: behind some 500 steps of 0.01, honest machines of another make no longer agree.
        (Parameter("steps", "Time steps", 400, 1, 1_000_000), Parameter("step", "Their length", 0.01, 1e-5, 0.02)),
    ),
}
