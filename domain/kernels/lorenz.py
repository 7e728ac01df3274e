"""Lorenz's convection model, the first known example of weather that cannot be foretold."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

#: Lorenz's own constants.
PRANDTL, RAYLEIGH, ASPECT = 10.0, 28.0, 8 / 3


def trajectory(start: Float[Array, "3"], *, steps: int, step: float) -> Float[Array, "steps 3"]:
    """States after each of ``steps`` steps of length ``step``, both fixed when the program is exported; no units.

    Source: E. Lorenz, Deterministic nonperiodic flow, 1963; the classical Runge-Kutta method of order four.
    """

    def later(now: Array, _: None) -> tuple[Array, Array]:
        first = _slope(now)
        second = _slope(now + step / 2 * first)
        third = _slope(now + step / 2 * second)
        fourth = _slope(now + step * third)
        after = now + step / 6 * (first + 2 * second + 2 * third + fourth)
        return after, after

    states: Array = jax.lax.scan(later, start, None, length=steps)[1]
    return states


def _slope(state: Float[Array, "3"]) -> Float[Array, "3"]:
    x, y, z = state
    return jnp.stack([PRANDTL * (y - x), x * (RAYLEIGH - z) - y, x * y - ASPECT * z])
