"""A claimed result against its replay."""

import numpy as np
import pytest

from services import arrays
from services.referee.replay import TOLERANCE, Distance, agrees, distance

REPLAYED = {"loss": np.float32(0.5), "weights": np.linspace(-2, 2, 5, dtype="f4"), "class": np.array([1, 2])}


def _claim(**changed):
    return arrays.pack({name: np.asarray(array) for name, array in (REPLAYED | changed).items()})


def test_claim_stands_when_it_is_equal():
    assert distance(_claim(), _claim()) == Distance(0.0)


def test_claim_stands_when_rounding_differs():
    found = distance(_claim(weights=np.nextafter(REPLAYED["weights"], np.float32(9))), _claim())
    assert 0 < found.largest < 1e-6
    assert found.array == "weights"
    assert agrees(found)


def test_claim_falls_when_one_number_is_off():
    weights = REPLAYED["weights"].copy()
    weights[2] += 2 * TOLERANCE * 2
    assert not agrees(distance(_claim(weights=weights), _claim()))


@pytest.mark.parametrize(
    "claimed",
    [
        b"",
        b"garbage" * 9,
        arrays.pack({}),
        _claim(other=np.zeros(1)),
        _claim(weights=REPLAYED["weights"][:4]),
        _claim(weights=REPLAYED["weights"].astype("f8")),
        _claim(weights=np.full(5, np.nan, "f4")),
        _claim(loss=np.float32(np.inf)),
        _claim(**{"class": np.array([1, 3])}),
    ],
)
def test_claim_is_infinitely_far_when_it_cannot_be_compared(claimed):
    found = distance(claimed, _claim())
    assert found.largest == np.inf
    assert found.reason
    assert not agrees(found, tolerance=1e9)


def test_claim_stands_when_both_runs_diverged_alike():
    diverged = _claim(loss=np.float32(np.nan), weights=np.array([np.inf, -np.inf, np.nan, 1, 2], "f4"))
    nearly = _claim(loss=np.float32(np.nan), weights=np.array([np.inf, -np.inf, np.nan, 1, 2.000001], "f4"))
    assert agrees(distance(nearly, diverged))


def test_claim_falls_when_it_is_infinite_with_the_other_sign():
    plus, minus = _claim(loss=np.float32(np.inf)), _claim(loss=np.float32(-np.inf))
    assert distance(plus, minus).largest == np.inf
