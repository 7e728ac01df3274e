"""Named arrays as bytes and back, as safetensors: no code can hide there, and the same arrays give the same bytes."""

import math
from collections.abc import Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, TensorSpec, deserialize, serialize

from domain.blobs import BLOB_BYTES_MAX

Array = NDArray[Any]

#: Arrays in one blob.
ARRAYS_MAX: Final = 4096
#: Axes of an array; numpy itself stops at 64.
AXES_MAX: Final = 32

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}
_NAMES: Final = {dtype: dtype.name for dtype in _DTYPES.values()}
#: The types that a blob holds.
DTYPES: Final = frozenset(_NAMES)


class BadArrays(ValueError):
    """The bytes are not named arrays, or the arrays have no such form; the message says which and why."""


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as bytes, whatever their order, byte order or memory layout.

    Raises:
        BadArrays: An array's type is none of booleans, integers, floats up to 64 bits, bfloat16 and complex64.
    """
    specs, held = {}, []
    for name, array in arrays.items():
        dtype = array.dtype
        known = _NAMES.get(dtype)
        if known is None or not array.flags.c_contiguous:
            little = dtype.newbyteorder("<")
            known = _NAMES.get(little)
            if known is None:
                raise BadArrays(f"array {name!r} has type {dtype}, which no blob can hold")
            array = np.asarray(array, dtype=little, order="C")
            held.append(array)
        specs[name] = TensorSpec(
            dtype=known, shape=array.shape, data_ptr=array.__array_interface__["data"][0], data_len=array.nbytes
        )
    packed = bytes(serialize(specs))
    del held  # the copies had to outlive the call that reads them by address
    return packed


def unpack(data: bytes) -> dict[str, Array]:
    """The arrays in ``data``, which may come from anybody.

    Raises:
        BadArrays: ``data`` is not in the form, holds too many or too deep arrays, or a type without counterpart.
    """
    if len(data) > BLOB_BYTES_MAX:
        raise BadArrays(f"{len(data)} bytes are more than a blob may have")
    try:
        found = deserialize(data)
    except SafetensorError as error:
        raise BadArrays(f"not named arrays: {error}") from error
    if len(found) > ARRAYS_MAX:
        raise BadArrays(f"{len(found)} arrays, allowed are {ARRAYS_MAX}")
    return {name: _array(name, entry) for name, entry in found}


def _array(name: str, entry: Mapping[str, Any]) -> Array:
    dtype, shape, raw = _DTYPES.get(entry["dtype"]), tuple(entry["shape"]), entry["data"]
    if dtype is None:
        raise BadArrays(f"array {name!r} has type {entry['dtype']}, which nothing here computes with")
    if len(shape) > AXES_MAX or any(length > BLOB_BYTES_MAX for length in shape):
        raise BadArrays(f"array {name!r} has an impossible shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise BadArrays(f"array {name!r} has {len(raw)} bytes for shape {shape}")
    return np.frombuffer(raw, dtype=dtype).reshape(shape)
