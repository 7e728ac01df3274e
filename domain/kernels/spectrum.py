"""Which frequencies a signal is made of."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def power(signal: Float[Array, " samples"]) -> Float[Array, " frequencies"]:
    """One-sided power spectrum, from frequency 0 to half the sampling rate; adds up to the signal's mean square.

    Args:
        signal: In any unit, an even number of samples.
    Returns:
        The square of that unit, for ``samples / 2 + 1`` frequencies.
    Source: J. Cooley, J. Tukey, An algorithm for the machine calculation of complex Fourier series, 1965; Parseval.
    """
    one_sided = jnp.abs(jnp.fft.rfft(signal) / signal.shape[0]) ** 2
    twice = jnp.full(one_sided.shape, 2.0, signal.dtype).at[jnp.array([0, -1])].set(1.0)
    return one_sided * twice
