"""What an array looks like: which picture fits it, its summary, and its pixels."""

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.arrays import Array

#: ``scalar``: a number. ``line``: a row of them. ``map``: a grid, ``rgb``: one of colours. ``large``: only its summary.
Look = Literal["scalar", "line", "map", "rgb", "large"]
#: Points of a line and of a side of a picture; what has more is thinned out.
POINTS_MAX: Final = 4_000
SIDE_MAX: Final = 1_024
_SMALL_SIDE: Final = 320
#: Viridis at nine places. Source: S. van der Walt, N. Smith, matplotlib 1.5, 2015 (CC0).
_COLOURS: Final = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


class Summary(NamedTuple):
    """Attributes:
    least, mean, most: Of its finite values, as text; empty if there are none.
    odd: How many values are not finite.
    """

    name: str
    shape: str
    dtype: str
    least: str
    mean: str
    most: str
    odd: int


def look(array: Array) -> Look:
    """Which picture fits."""
    if array.size == 1:
        return "scalar"
    if array.size == 0 or np.iscomplexobj(array):
        return "large"
    match _sides(array):
        case [_]:
            return "line"
        case [_, _, 3]:
            return "rgb"
        case [_, _]:
            return "map"
    return "large"


def _sides(array: Array) -> list[int]:
    """Its shape without axes of length one."""
    return [length for length in array.shape if length != 1]


def summary(name: str, array: Array) -> Summary:
    """The array in a line."""
    shape = " x ".join(map(str, array.shape)) or "scalar"
    if array.size == 0 or np.iscomplexobj(array):
        return Summary(name, shape, str(array.dtype), "", "", "", 0)
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    odd = int(values.size - finite.size)
    if not finite.size:
        return Summary(name, shape, str(array.dtype), "", "", "", odd)
    least, mean, most = (figure(float(of(finite))) for of in (np.min, np.mean, np.max))
    return Summary(name, shape, str(array.dtype), least, mean, most, odd)


def figure(value: float) -> str:
    """A number as it is read: six digits."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.6g}"


def line(array: Array) -> NDArray[np.float64]:
    """Its values in order, thinned out to ``POINTS_MAX``."""
    flat = array.reshape(-1).astype(np.float64)
    return flat[:: -(-flat.size // POINTS_MAX)]


def pixels(array: Array) -> NDArray[np.uint8]:
    """A picture of a ``map`` or an ``rgb`` array, height x width x 3.

    It has the array's own colours, or those from dark for its least value to bright for its largest.
    Values that are not finite are grey.
    """
    squeezed = array.reshape(_sides(array))
    rows, columns = (-(-length // SIDE_MAX) for length in squeezed.shape[:2])
    values = squeezed[::rows, ::columns].astype(np.float64)
    finite = np.isfinite(values)
    low, high = (float(of(values[finite])) if finite.any() else 0.0 for of in (np.min, np.max))
    if look(array) == "rgb":
        whole = np.issubdtype(array.dtype, np.integer) or high > 1
        found = np.clip(np.where(finite, values, 0.5) * (1 if whole else 255), 0, 255)
    else:
        scaled = np.where(finite, (values - low) / ((high - low) or 1.0), 0) * (len(_COLOURS) - 1)
        found = np.stack([np.interp(scaled, range(len(_COLOURS)), _COLOURS[:, band]) for band in range(3)], axis=-1)
        found[~finite] = 128
    grown = max(1, _SMALL_SIDE // max(found.shape[:2]))
    return np.repeat(np.repeat(found.astype(np.uint8), grown, axis=0), grown, axis=1)


def scalars(results: Mapping[int, Mapping[str, Array]]) -> dict[str, list[tuple[int, float]]]:
    """By name, the tasks' values, where every result is made of real numbers only; else nothing."""
    found: dict[str, list[tuple[int, float]]] = {}
    for task, arrays in sorted(results.items()):
        for name, array in arrays.items():
            if array.size != 1 or np.iscomplexobj(array):
                return {}
            found.setdefault(name, []).append((task, float(array.reshape(())[()])))
    return found
