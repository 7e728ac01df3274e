"""One block of a transformer, as a language model runs it many times over."""

from typing import NamedTuple

import jax
from jax import Array
from jaxtyping import Float


class Weights(NamedTuple):
    """Of one block of model width ``width``; matrices act from the right."""

    queries: Float[Array, "width width"]
    keys: Float[Array, "width width"]
    values: Float[Array, "width width"]
    output: Float[Array, "width width"]
    widen: Float[Array, "width hidden"]
    narrow: Float[Array, "hidden width"]


def block(weights: Weights, tokens: Float[Array, "length width"], *, heads: int) -> Float[Array, "length width"]:
    """Causal self-attention and a two-layer perceptron, each added to its normalised input.

    Args:
        heads: A divisor of the width, fixed when the program is exported.
    Source: A. Vaswani et al., Attention is all you need, 2017; normalised first as by R. Xiong et al., On layer
        normalization in the transformer architecture, 2020.
    """
    length, width = tokens.shape
    normal = _normalised(tokens)
    queries, keys, values = (
        (normal @ matrix).reshape(length, heads, width // heads)
        for matrix in (weights.queries, weights.keys, weights.values)
    )
    attended = jax.nn.dot_product_attention(queries, keys, values, is_causal=True)
    tokens = tokens + attended.reshape(length, width) @ weights.output
    return tokens + jax.nn.gelu(_normalised(tokens) @ weights.widen) @ weights.narrow


def _normalised(tokens: Float[Array, "length width"]) -> Float[Array, "length width"]:
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    scaled: Array = centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled
