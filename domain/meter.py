"""What one run of a program takes, counted from its text and not from anybody's clock."""

from typing import Annotated

from msgspec import Meta, Struct

#: Counts above this are no work for one task: a thousand years of a fast processor.
WORK_MAX = 1 << 62

Operations = Annotated[int, Meta(ge=0, le=WORK_MAX, extra={"privacy": "public"})]
Bytes = Annotated[int, Meta(ge=0, le=WORK_MAX, extra={"privacy": "public"})]


class Meter(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Attributes:
    flops: Additions and multiplications, loops counted as often as they run, factorisations by formula.
    transcendentals: Exponentials, logarithms, roots, trigonometric functions, one an element.
    bytes_moved: Bytes that the operations read and write, as if nothing stayed in a cache.
    memory_bytes: Most bytes of arrays that are alive at a time, inputs and outputs included.
    input_bytes, output_bytes: Of one task, the shared inputs included.
    """

    flops: Operations
    transcendentals: Operations
    bytes_moved: Bytes
    memory_bytes: Bytes
    input_bytes: Bytes
    output_bytes: Bytes
