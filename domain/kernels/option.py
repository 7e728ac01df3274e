"""The price of an option by simulation: the same seed gives the same paths on every machine."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt32


class Estimate(NamedTuple):
    """A mean in the currency of the spot, and the standard error of that mean."""

    price: Float[Array, ""]
    error: Float[Array, ""]


class Terms(NamedTuple):
    """A European call: spot and strike in one currency, rate and volatility a year, maturity in years."""

    spot: Float[Array, ""]
    strike: Float[Array, ""]
    rate: Float[Array, ""]
    volatility: Float[Array, ""]
    maturity: Float[Array, ""]


def call_price(terms: Terms, seed: UInt32[Array, ""], *, paths: int) -> Estimate:
    """Discounted mean payoff under geometric Brownian motion, each draw used with both signs.

    Args:
        seed: Of the counter-based generator threefry.
        paths: Draws, fixed when the program is exported.
    Source: P. Boyle, Options: a Monte Carlo approach, Journal of Financial Economics 4, 1977.
    """
    draws = jax.random.normal(jax.random.key(seed), (paths,), jnp.float32)
    drift = (terms.rate - terms.volatility**2 / 2) * terms.maturity
    spread = terms.volatility * jnp.sqrt(terms.maturity) * draws
    ends = terms.spot * jnp.exp(drift + jnp.stack([spread, -spread]))
    payoffs = jnp.exp(-terms.rate * terms.maturity) * jnp.maximum(ends - terms.strike, 0).mean(axis=0)
    return Estimate(payoffs.mean(), payoffs.std() / jnp.sqrt(jnp.float32(paths)))
