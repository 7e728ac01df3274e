"""Programs that show how fast a device computes and how fast it moves bytes."""

from typing import Final

import jax
import jax.numpy as jnp

#: Side of the square matrices, and how many products follow one another.
SIDE: Final = 512
PRODUCTS: Final = 16
#: Float32 numbers that each pass reads and writes: more than a core's own caches hold.
NUMBERS: Final = 16 << 20
PASSES: Final = 4

FLOPS: Final = 2 * SIDE**3 * PRODUCTS
BYTES: Final = 2 * 4 * NUMBERS * PASSES


def products(shared: dict[str, jax.Array], row: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``FLOPS`` floating-point operations in a chain of matrix products, from the scalar float32 ``start``."""
    matrix = jnp.full((SIDE, SIDE), 1 / SIDE, jnp.float32) * row["start"]
    last, _ = jax.lax.scan(lambda left, _: (left @ matrix, None), matrix, length=PRODUCTS)
    return {"sum": last.sum()}


def copies(shared: dict[str, jax.Array], row: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``BYTES`` bytes read and written in passes over one long array, from the scalar float32 ``start``."""
    numbers = jnp.arange(NUMBERS, dtype=jnp.float32) + row["start"]
    # A reversal cannot be fused with the pass before it, nor two of them undone: the addend differs.
    last, _ = jax.lax.scan(lambda held, step: (held[::-1] + step, None), numbers, jnp.arange(PASSES, dtype=jnp.float32))
    return {"first": last[0], "last": last[-1]}
