"""One point of a hyper-parameter sweep: train a small classifier on digits and say how good it became.

Every number that decides the start is drawn as uniform bits, because ``normal`` differs between code paths of XLA.
"""

from typing import Final, TypedDict

import jax
import jax.numpy as jnp

INPUTS: Final = 64
HIDDEN: Final = 64
CLASSES: Final = 10
#: Weights of the first layer, and of both.
FIRST: Final = INPUTS * HIDDEN
WEIGHTS: Final = FIRST + HIDDEN * CLASSES
STEPS: Final = 400
BATCH: Final = 128
#: The loss is reported after every so many steps.
REPORT: Final = 20
MOMENTUM: Final = 0.9


class Point(TypedDict):
    """Where in the sweep: learning rate and decoupled weight decay as float32, seed as uint32."""

    learning_rate: jax.Array
    weight_decay: jax.Array
    seed: jax.Array


def sweep(shared: dict[str, jax.Array], row: dict[str, jax.Array], *, steps: int = STEPS) -> dict[str, jax.Array]:
    """Train for ``steps`` mini-batches with AdamW under a cosine schedule.

    Args:
        shared: ``train_x``, ``train_y``, ``validation_x``, ``validation_y``, ``test_x``, ``test_y``; see ``digits``.
        row: A ``Point``.
        steps: A multiple of ``REPORT``, fixed when the program is exported.
    Returns:
        Float32 scalars ``validation_accuracy`` and ``test_accuracy`` in 0 to 1, ``loss`` on the training set at the
        end; ``losses``, the mean of each ``REPORT`` steps; ``weights``, weights and biases as one float32 vector.
    Source: I. Loshchilov, F. Hutter, Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2.
    """
    images, labels = shared["train_x"], shared["train_y"]
    bits = jax.random.bits(jax.random.key(row["seed"]), (steps * BATCH + WEIGHTS,), jnp.uint32)
    batches = bits[: steps * BATCH].reshape(steps, BATCH) % jnp.uint32(images.shape[0])
    weights = _initial(bits[steps * BATCH :])

    def step(carry: tuple[jax.Array, jax.Array], batch: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        weights, velocity = carry
        loss, slope = jax.value_and_grad(_loss)(weights, images[batch], labels[batch])
        velocity = MOMENTUM * velocity + slope + row["weight_decay"] * weights
        return (weights - row["learning_rate"] * velocity, velocity), loss

    (weights, _), losses = jax.lax.scan(step, (weights, jnp.zeros_like(weights)), batches)
    return {
        "validation_accuracy": _accuracy(weights, shared["validation_x"], shared["validation_y"]),
        "test_accuracy": _accuracy(weights, shared["test_x"], shared["test_y"]),
        "loss": _loss(weights, images, labels),
        "losses": losses.reshape(-1, REPORT).mean(axis=1),
        "weights": weights,
    }


def _initial(bits: jax.Array) -> jax.Array:
    """Uniform weights of variance 1 / inputs, biases of zero, in one vector."""
    uniform = (bits >> 8).astype(jnp.float32) * 2.0**-23 - 1
    zeros, bounds = jnp.zeros(HIDDEN + CLASSES), jnp.sqrt(3 / jnp.array([INPUTS, HIDDEN], jnp.float32))
    return jnp.concatenate([uniform[:FIRST] * bounds[0], uniform[FIRST:WEIGHTS] * bounds[1], zeros])


def _logits(weights: jax.Array, images: jax.Array) -> jax.Array:
    first = weights[:FIRST].reshape(INPUTS, HIDDEN)
    second = weights[FIRST:WEIGHTS].reshape(HIDDEN, CLASSES)
    biases = weights[WEIGHTS:]
    return jnp.tanh(images @ first + biases[:HIDDEN]) @ second + biases[HIDDEN:]


def _loss(weights: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy in nats."""
    likelihoods = jax.nn.log_softmax(_logits(weights, images))
    return -jnp.take_along_axis(likelihoods, labels[:, None], axis=1).mean()


def _accuracy(weights: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    return (_logits(weights, images).argmax(axis=1) == labels).astype(jnp.float32).mean()
