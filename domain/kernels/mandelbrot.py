"""Tiles of the Mandelbrot set: every task a tile, all of the same cost."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int32


def escape(
    left: Float[Array, ""], bottom: Float[Array, ""], width: Float[Array, ""], *, side: int, rounds: int
) -> Int32[Array, "side side"]:
    """Rounds of ``z * z + c`` from 0 until ``abs(z)`` passes 2, at most ``rounds``, for a square of the complex plane.

    Args:
        left, bottom, width: Of the square; rows of the result go up, columns to the right.
        side, rounds: Fixed when the program is exported.
    Source: R. Brooks, J. Matelski, The dynamics of 2-generator subgroups of PSL(2,C), 1978.
    """
    steps = jnp.arange(side, dtype=jnp.float32) * (width / side)
    real, imaginary = jnp.meshgrid(left + steps, bottom + steps)

    def one_more(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, y, counts = carry
        inside = x * x + y * y <= 4
        # What is outside stands still: it would overflow, and infinity minus infinity is not a number.
        following = x * x - y * y + real, 2 * x * y + imaginary
        x, y = jnp.where(inside, following[0], x), jnp.where(inside, following[1], y)
        return x, y, counts + inside

    zero = jnp.zeros((side, side), jnp.float32)
    start = zero, zero, jnp.zeros((side, side), jnp.int32)
    counts: Array = jax.lax.fori_loop(0, rounds, one_more, start)[2]
    return counts - 1
