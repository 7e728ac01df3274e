"""How much work the probe programs do; apart from them, because the worker knows it without loading jax."""

from typing import Final

#: Side of the square matrices, and how many products follow one another.
SIDE: Final = 512
PRODUCTS: Final = 16
#: Float32 numbers that each pass reads and writes: more than a core's own caches hold.
NUMBERS: Final = 8 << 20
PASSES: Final = 8

FLOPS: Final = 2 * SIDE**3 * PRODUCTS
BYTES: Final = 2 * 4 * NUMBERS * PASSES
