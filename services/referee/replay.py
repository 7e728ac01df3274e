"""Whether a claimed result is the one that a replay gives: a pure comparison of two blobs of arrays."""

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services import arrays

#: The largest distance of an honest result. Honest replays of one program on other instruction sets, optimisation
#: levels and fast-math stay within 3.4e-6 (10-step segments of a training loop) and 4.4e-7 (all 400 steps of the sweep
#: kernel), other thread counts at 0; the mildest cheat measured, a learning rate off by 0.1 %, is 4.3e-4 away. This is
#: about 8 times the one and a fourteenth of the other. It is calibrated on CPUs; other device classes need their own.
TOLERANCE: Final = 3e-5


class Distance(Struct, frozen=True):
    """How far a claim is from its replay.

    Attributes:
        largest: Largest error over all arrays, as a share of the array's largest magnitude; infinite where the two
            cannot be compared.
        array: The array that has it, empty if none differs.
        reason: Why they cannot be compared, empty if they can.
    """

    largest: float
    array: str = ""
    reason: str = ""


def distance(claimed: bytes, replayed: bytes) -> Distance:
    """Distance of the claim from the replay, with the replay as the measure.

    A claim that is unreadable, lacks an array, has another shape or type, or is infinite or not a number in other
    places is infinitely far; not-a-number equals itself, so that a diverged training run can be confirmed. Integers
    and booleans are exact or infinitely far.

    Raises:
        BadArrays: The replay itself is unreadable.
    """
    ours_by_name = arrays.unpack(replayed)
    if claimed == replayed:
        return Distance(0.0)
    try:
        theirs_by_name = arrays.unpack(claimed)
    except arrays.BadArrays as error:
        return Distance(np.inf, reason=str(error))
    if theirs_by_name.keys() != ours_by_name.keys():
        return Distance(np.inf, reason="other arrays")
    worst = Distance(0.0)
    for name in sorted(ours_by_name):
        apart = _apart(name, theirs_by_name[name], ours_by_name[name])
        if apart.largest > worst.largest:
            worst = apart
    return worst


def agrees(found: Distance, tolerance: float = TOLERANCE) -> bool:
    """Whether a claim at this distance stands."""
    return found.largest <= tolerance


def _apart(name: str, theirs: NDArray[Any], ours: NDArray[Any]) -> Distance:
    if (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
        return Distance(np.inf, name, "another shape or type")
    if ours.dtype.kind in "biu":
        return Distance(0.0) if np.array_equal(theirs, ours) else Distance(np.inf, name, "other whole numbers")
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    left, right = theirs.astype(wide).ravel(), ours.astype(wide).ravel()
    finite = np.isfinite(right)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True) or not np.isfinite(left[finite]).all():
        return Distance(np.inf, name, "not finite in other places")
    if not finite.any():
        return Distance(0.0)
    with np.errstate(over="ignore"):
        error, size = np.abs(left[finite] - right[finite]).max(), np.abs(right[finite]).max()
    if error == 0:
        return Distance(0.0)
    return Distance(float(error / size) if size > 0 else np.inf, name)
