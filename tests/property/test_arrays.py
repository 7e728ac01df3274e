"""Arrays as bytes: nothing is lost on the way, and no bytes do harm."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services import arrays

DTYPES = ("?", "u1", "i1", "u2", "i2", "u4", ">i4", "u8", ">i8", "f2", "f4", ">f4", "f8", "c8")
SHAPED = hnp.arrays(st.sampled_from(DTYPES).map(np.dtype), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
NAMED = st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), SHAPED, max_size=4)


def _header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


@given(NAMED)
def test_arrays_come_back_as_they_were(named):
    named.pop("__metadata__", None)
    found = arrays.unpack(arrays.pack(named))
    assert found.keys() == named.keys()
    for name, array in named.items():
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()


@given(NAMED)
def test_arrays_have_one_form_whatever_their_order_and_layout(named):
    named.pop("__metadata__", None)
    shuffled = {name: np.asarray(named[name], order="F") for name in reversed(named)}
    assert arrays.pack(shuffled) == arrays.pack(named)


def test_arrays_hold_bfloat16():
    array = np.array([1.5, -2], ml_dtypes.bfloat16)
    assert (arrays.unpack(arrays.pack({"a": array}))["a"] == array).all()


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([object()]), np.zeros(2, "c16")], ids=str)
def test_pack_refuses_what_no_blob_can_hold(array):
    with pytest.raises(arrays.BadArrays):
        arrays.pack({"a": array})


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(_header)))
@example(_header(b'{"y":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}}'))
@example(_header(b'{"y":{"dtype":"F32","shape":[0,0,4294967296,4294967296],"data_offsets":[0,0]}}'))
@example(_header(b'{"y":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}} '))
@example(_header(b'{"y":{"dtype":"F32","shape":' + str([1] * 70).encode() + b',"data_offsets":[0,4]}}') + bytes(4))
def test_unpack_reads_or_refuses_any_bytes(data):
    try:
        found = arrays.unpack(data)
    except arrays.BadArrays:
        return
    assert arrays.unpack(arrays.pack(found)).keys() == found.keys()


@given(st.data())
def test_unpack_reads_or_refuses_when_a_byte_is_changed(data):
    packed = bytearray(arrays.pack({"x": np.arange(6.0).reshape(2, 3), "y": np.array(True)}))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays.unpack(bytes(packed))
    except arrays.BadArrays:
        return
