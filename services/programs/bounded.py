"""Loops that end: a bound written into the program itself, where a condition alone would not show one.

A bound that is only declared can be a lie, and a worker would find out when its time is up. So each ``while`` of the
function gets a counter, and a condition that asks for it: the program cannot go on beyond what it is metered for.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend import core

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


def loop_bound(trips: int) -> Callable[[Wrapped], Wrapped]:
    """A decorator: no ``while`` loop inside the function goes round more than ``trips`` times, in any one start of it.

    A loop that would have gone on stops where it is, without saying so: return what shows whether it was done.
    ``scan`` and ``fori_loop`` with fixed bounds are left alone. It reaches loops within jax's own functions, except
    where jax writes them while it lowers a primitive (``jax.random.gamma``, ``gammainc``). Use it outside of ``vmap``,
    and differentiate inside of it.

    Args:
        trips: At least 1.
    """
    if not 1 <= trips < 1 << 31:
        raise ValueError(f"a loop bound of {trips}; give one from 1 to {(1 << 31) - 1}")

    def wrap(function: Wrapped) -> Wrapped:
        def bounded(*args: Any, **named: Any) -> Any:
            closed, out = jax.make_jaxpr(function, return_shape=True)(*args, **named)
            leaves = _run(closed.jaxpr, closed.consts, jax.tree.leaves((args, named)), trips)
            return jax.tree.unflatten(jax.tree.structure(out), leaves)

        return bounded  # type: ignore[return-value]

    return wrap


def _run(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any], trips: int) -> list[Any]:
    """Evaluate a jaxpr with its loops bounded."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands = [value(atom) for atom in equation.invars]
        loop = equation.primitive.name == "while"
        results = _while(equation.params, operands, trips) if loop else _bind(equation, operands, trips)
        values.update(zip(equation.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _while(params: dict[str, Any], operands: Sequence[Any], trips: int) -> Sequence[Any]:
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    for_condition, for_body, starts = operands[:first], operands[first:second], operands[second:]

    def wanted(values: list[Any]) -> Any:
        return _run(condition.jaxpr, condition.consts, [*for_condition, *values], trips)[0]

    def goes_on(carry: tuple[Any, list[Any]]) -> Any:
        done, values = carry
        return (done < trips) & jnp.any(wanted(values))

    def next_round(carry: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        done, values = carry
        after = _run(body.jaxpr, body.consts, [*for_body, *values], trips)
        alive = wanted(values) if batched else None
        return done + 1, [_chosen(alive, new, old) for new, old in zip(after, values, strict=True)]

    batched = bool(condition.out_avals[0].shape)  # jax.vmap of a loop: each element ends by itself
    _, values = jax.lax.while_loop(goes_on, next_round, (jnp.int32(0), list(starts)))
    return values


def _chosen(alive: Any, new: Any, old: Any) -> Any:
    """The new value where the loop of that element went round."""
    if alive is None:
        return new
    return jnp.where(alive.reshape(alive.shape + (1,) * (new.ndim - alive.ndim)), new, old)


def _bind(equation: Any, operands: Sequence[Any], trips: int) -> Sequence[Any]:
    """Any other operation, with the functions that it holds rewritten."""
    primitive, params = equation.primitive, equation.params
    if primitive.name in ("custom_jvp_call", "custom_vjp_call"):
        held = params["call_jaxpr"]
        return _run(held.jaxpr, held.consts, operands, trips)
    changed = {name: _rewritten(held, trips) for name, held in params.items()}
    with equation.ctx.manager:
        results = primitive.bind(*operands, **primitive.get_bind_params(changed))
    return results if primitive.multiple_results else [results]


def _rewritten(held: Any, trips: int) -> Any:
    """A parameter of a primitive; functions within it bounded, and kept as they are if they hold no loop."""
    if type(held) in (tuple, list):
        return type(held)(_rewritten(one, trips) for one in held)
    if isinstance(held, core.ClosedJaxpr) and _loops(held.jaxpr):
        return _traced(held.jaxpr, held.consts, trips)
    if isinstance(held, core.Jaxpr) and _loops(held):
        return _traced(held, (), trips).jaxpr
    return held


def _traced(jaxpr: Any, constants: Sequence[Any], trips: int) -> Any:
    avals = (variable.aval for variable in jaxpr.invars)
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type) for aval in avals]
    return jax.make_jaxpr(lambda *values: _run(jaxpr, constants, values, trips))(*shapes)


def _loops(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name == "while" or any(_loops(inner) for inner in core.jaxprs_in_params(equation.params))
        for equation in jaxpr.eqns
    )
