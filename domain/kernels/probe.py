"""Programs that show how fast a device computes and how fast it moves bytes."""

import jax
import jax.numpy as jnp

from domain.kernels.probe_size import NUMBERS, PASSES, PRODUCTS, SIDE


def products(shared: dict[str, jax.Array], row: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``FLOPS`` floating-point operations in a chain of matrix products, from the scalar float32 ``start``."""
    matrix = jnp.full((SIDE, SIDE), 1 / SIDE, jnp.float32) * row["start"]
    last, _ = jax.lax.scan(lambda left, _: (left @ matrix, None), matrix, length=PRODUCTS)
    return {"sum": last.sum()}


def copies(shared: dict[str, jax.Array], row: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``BYTES`` bytes read and written in passes over one long array, from the scalar float32 ``start``."""
    numbers = jnp.arange(NUMBERS, dtype=jnp.float32) + row["start"]
    addends = jnp.arange(PASSES, dtype=jnp.float32)  # passes of a loop are never fused with one another
    last, _ = jax.lax.scan(lambda held, addend: (held + addend, None), numbers, addends)
    return {"first": last[0], "last": last[-1]}
