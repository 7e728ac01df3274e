"""Dense linear algebra: what most numerical work comes down to."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def product(left: Float[Array, "rows inner"], right: Float[Array, "inner cols"]) -> Float[Array, "rows cols"]:
    """The matrix product, at the full precision of its type on devices that would round it."""
    return jnp.matmul(left, right, precision="highest")


def solve(matrix: Float[Array, "n n"], sides: Float[Array, "n m"]) -> tuple[Float[Array, "n m"], Float[Array, ""]]:
    """The ``x`` of ``matrix @ x = sides``, and the largest element of ``matrix @ x - sides`` by which to judge it.

    Source: LU with partial pivoting; G. Golub, C. Van Loan, Matrix Computations, 4th edition, section 3.4.
    """
    found = jnp.linalg.solve(matrix, sides)
    return found, jnp.abs(product(matrix, found) - sides).max()
