"""The type of a value in a program: an array's shape and the type of its elements, as MLIR names them."""

import math
from typing import Final, NamedTuple

#: Bytes of one element. The types are those of ``services.arrays``.
ELEMENT_BYTES: Final = {
    **dict.fromkeys(("i1", "i8", "ui8"), 1),
    **dict.fromkeys(("i16", "ui16", "f16", "bf16"), 2),
    **dict.fromkeys(("i32", "ui32", "f32"), 4),
    **dict.fromkeys(("i64", "ui64", "f64", "complex<f32>"), 8),
}


class Shaped(NamedTuple):
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * ELEMENT_BYTES[self.dtype]
