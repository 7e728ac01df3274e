"""Which picture fits an array, and what it says."""

from typing import Any

import numpy as np
import pytest

from services.viewing import values


@pytest.mark.parametrize(
    ("shape", "look"),
    [
        ((), "scalar"),
        ((1, 1), "scalar"),
        ((7,), "line"),
        ((3,), "line"),
        ((1, 9, 1), "line"),
        ((5, 3), "map"),
        ((28, 28, 1), "map"),
        ((8, 9, 3), "rgb"),
        ((1, 8, 9, 3), "rgb"),
        ((2, 3, 4), "large"),
        ((0, 4), "large"),
    ],
)
def test_an_array_is_drawn_as_what_its_shape_says(shape: tuple[int, ...], look: str) -> None:
    assert values.look(np.zeros(shape)) == look


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.float16, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(5, 3), (2, 2, 3), (1, 4, 5)])
def test_pixels_can_be_made_of_any_real_array(shape: tuple[int, ...], dtype: Any) -> None:
    found = values.pixels(np.ones(shape, dtype))
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert found.shape[2] == 3


def test_a_map_goes_from_dark_to_bright_and_grey_is_no_number() -> None:
    found = values.pixels(np.array([[0.0, 1.0], [np.nan, 0.5]]))
    side = found.shape[0] // 2
    corners = [tuple(found[y, x]) for y, x in ((0, 0), (0, side), (side, 0))]
    assert corners == [(68, 1, 84), (253, 231, 37), (128, 128, 128)]


def test_a_large_picture_and_a_long_line_are_thinned_out() -> None:
    assert max(values.pixels(np.zeros((5_000, 10))).shape) <= values.SIDE_MAX
    assert values.line(np.zeros(50_000)).size <= values.POINTS_MAX


def test_a_summary_counts_what_is_not_finite() -> None:
    found = values.summary("x", np.array([1.0, np.inf, 3.0, np.nan]))
    assert (found.shape, found.least, found.mean, found.most, found.odd) == ("4", "1", "2", "3", 2)
    assert values.summary("x", np.array([np.nan])).least == ""
    assert values.summary("x", np.array([1j], np.complex64)).mean == ""


def test_numbers_are_read_with_six_digits() -> None:
    read = [values.figure(number) for number in (1234567.0, 0.123456789, -2.0, 1e300, float("nan"))]
    assert read == ["1,234,567", "0.123457", "-2", "1e+300", "nan"]


def test_scalars_are_only_where_every_result_is_one() -> None:
    assert values.scalars({1: {"a": np.array([2.0])}, 0: {"a": np.array(1)}}) == {"a": [(0, 1.0), (1, 2.0)]}
    assert values.scalars({0: {"a": np.array(1.0)}, 1: {"a": np.zeros(2)}}) == {}
