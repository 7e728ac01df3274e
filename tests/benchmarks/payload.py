"""Two functions that hardly compute: one takes a large array, the other returns one."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

Named = dict[str, Any]
Function = Callable[[Named, Named], Named]

INPUT: Final = "input"
OUTPUT: Final = "output"


def takes(shared: Named, row: Named) -> Named:
    """Of ``data``, the sum of its ends."""
    return {"ends": shared["data"][0] + shared["data"][-1]}


def function(direction: str, size: int) -> Function:
    """The one for this direction, with an array of ``size`` bytes."""

    def returns(shared: Named, row: Named) -> Named:
        return {"data": jnp.arange(size // 4, dtype=jnp.uint32) + shared["start"]}

    return takes if direction == INPUT else returns


@cache
def _random(size: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 1 << 32, size // 4, dtype=np.uint32)


def argument(direction: str, size: int, number: int) -> Named:
    """What the function is given, another for each ``number``; made in place, so use one before making the next."""
    if direction == OUTPUT:
        return {"start": np.uint32(number)}
    data = _random(size)
    data[0] = number
    return {"data": data}


def check(direction: str, size: int, given: Named, found: Named) -> None:
    """Raises:
    AssertionError: The outputs are not those of ``given``.
    """
    if direction == INPUT:
        assert found["ends"] == given["data"][0] + given["data"][-1], "another array arrived than was sent"
    else:
        count = size // 4
        assert found["data"].shape == (count,), "an array of another size came back"
        assert found["data"][0] == given["start"], "another array came back"
        assert found["data"][-1] == np.uint32(count - 1) + given["start"], "another array came back"


@cache
def _compiled(direction: str, size: int) -> Any:
    return jax.jit(function(direction, size))


class Call:
    """The function in a peer's process, compiled there once."""

    def __init__(self, direction: str, size: int) -> None:
        self._direction, self._size = direction, size

    def __call__(self, shared: Named) -> Named:
        outputs = _compiled(self._direction, self._size)(shared, {})
        return {name: np.asarray(array) for name, array in outputs.items()}
