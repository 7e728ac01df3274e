"""Heat spreading over a square plate."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def spread(
    plate: Float[Array, "side side"], diffusivity: Float[Array, ""], *, steps: int, step_s: float
) -> Float[Array, "side side"]:
    """The plate's temperature ``steps * step_s`` seconds later; it is 1 m wide and goes on at its other edge.

    Args:
        plate: Temperatures, in any unit. diffusivity: In m^2/s.
        steps, step_s: Fixed when the program is exported. Stable while ``diffusivity * step_s * side^2 <= 1/4``.
    Source: forward in time, centred in space; R. Courant, K. Friedrichs, H. Lewy, 1928.
    """
    share = diffusivity * step_s * plate.shape[0] ** 2

    def later(now: Array, _: None) -> tuple[Array, None]:
        around = sum(jnp.roll(now, shift, axis) for shift in (-1, 1) for axis in (0, 1))
        return now + share * (around - 4 * now), None

    last: Array = jax.lax.scan(later, plate, None, length=steps)[0]
    return last
