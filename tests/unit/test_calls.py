"""A call becomes work: shapes, types, rows and forms as the local call has them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from services import arrays
from services.client.calls import Calls, Unfit, leaf_name, opened, result, stacked
from services.client.errors import NotAnArgument, NotMapped
from services.programs.export import DependsOnValues, load
from services.programs.trees import leaves_by_name

RNG = np.random.default_rng(0)


def packed(call: Any, row: int = 0) -> bytes:
    """What a worker would return for one task."""
    exported = load(call.program)
    shared = arrays.unpack(call.shared) if call.shared else {}
    mapped = {name: array[row] for name, array in (arrays.unpack(call.mapped) if call.mapped else {}).items()}
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(exported.call(shared, mapped))]
    return arrays.pack(leaves_by_name(exported.out_tree, leaves))


def run(call: Any, row: int = 0) -> Any:
    """What a worker would return for one task, opened."""
    return result(call.form, opened(call.form, packed(call, row)))


def scaled(x: Any, factor: Any) -> Any:
    return x * factor


@pytest.mark.parametrize(
    ("x", "factor"),
    [
        (np.ones(3, np.float32), 2),
        (np.ones(3, jnp.bfloat16), 2.5),
        (np.ones(3, np.int8), 2),
        (np.ones(3, np.int32), np.float16(2)),
        (np.ones(3, np.float64), np.int64(2)),
        (True, 2),
        (1 + 2j, 2.0),
        (jnp.ones((2, 2)), jnp.float32(3)),
    ],
)
def test_result_has_the_type_of_the_local_call(x: Any, factor: Any) -> None:
    here = jnp.asarray(jax.jit(scaled)(x, factor))
    found = run(Calls(scaled).single((x, factor), {}))
    assert (found.dtype, found.shape) == (here.dtype, here.shape)
    assert (found == here).all()


def test_number_that_does_not_fit_is_refused_as_the_local_call_does() -> None:
    with pytest.raises(OverflowError):
        Calls(scaled).single((np.ones(2), 1 << 40), {})


def test_one_call_and_a_map_are_the_same_program() -> None:
    calls, w = Calls(lambda w, x: x @ w), np.ones((3, 2), np.float32)
    one, many = calls.single((w, np.ones(3, np.float32)), {}), calls.mapped((w, np.ones((5, 3), np.float32)), {})
    assert one.program is many.program
    assert one.shared == many.shared
    assert (one.tasks, many.tasks) == (1, 5)


def test_last_positional_argument_is_mapped() -> None:
    call = Calls(lambda w, x, *, bias: x @ w + bias).mapped((np.eye(3), RNG.random((4, 3))), {"bias": 1.0})
    assert call.tasks == 4
    assert call.shared is not None
    assert call.mapped is not None
    assert list(arrays.unpack(call.mapped)) == [leaf_name(1)]
    assert sorted(arrays.unpack(call.shared)) == [leaf_name(0), leaf_name(2)]


def test_axes_are_those_of_vmap() -> None:
    def function(tree: Any, x: Any) -> Any:
        return tree["a"] * x + tree["b"]

    tree, x = {"a": RNG.random((2, 3)), "b": RNG.random(2)}, RNG.random((2, 3))
    axes: tuple[Any, ...] = ({"a": 1, "b": None}, 1)
    call = Calls(function).mapped((tree, x), {}, axes)
    here = jax.vmap(function, in_axes=axes)(tree, x)
    assert jnp.allclose(stacked(call.form, [opened(call.form, packed(call, row)) for row in range(call.tasks)]), here)


@pytest.mark.parametrize(
    ("args", "in_axes", "reason"),
    [
        ((np.ones((2, 3)), np.ones(3)), (0, 0), "different lengths: a 2, b 3"),
        ((np.ones((2, 3)), np.ones(3)), (0, None, None), "3 entries for 2"),
        ((np.ones((2, 3)), np.ones(3)), (None, 1), "no axis 1"),
        ((np.ones((2, 3)), 1.0), (None, 0), "no axis 0"),
        ((np.ones((2, 3)), np.ones(3)), None, "no rows"),
        ((np.ones((2, 3)), np.ones((0, 3))), (None, 0), "no rows"),
        (({"x": np.ones(2)}, np.ones(3)), ({"y": 0}, 0), "another form"),
    ],
)
def test_rows_that_do_not_agree_are_refused(args: Any, in_axes: Any, reason: str) -> None:
    with pytest.raises(NotMapped, match=reason):
        Calls(lambda a, b: b).mapped(args, {}, in_axes)


def test_static_argument_is_part_of_the_program() -> None:
    calls = Calls(lambda x, power: x**power if power > 1 else x, ["power"])
    twice, thrice = (calls.single((np.float32(3), power), {}) for power in (2, 3))
    assert [float(run(call)) for call in (twice, thrice)] == [9, 27]
    assert twice.program != thrice.program
    assert calls.single((np.float32(5),), {"power": 2}).mapped is not None
    with pytest.raises(TypeError, match="hashable"):
        calls.single((np.float32(3), [2]), {})
    with pytest.raises(TypeError, match="names q"):
        Calls(scaled, ["q"])


@pytest.mark.parametrize("value", ["text", object(), np.array(["a"]), {"inner": b"bytes"}, jax.random.key(0)])
def test_argument_that_is_no_array_says_what_to_do(value: Any) -> None:
    with pytest.raises(NotAnArgument, match=r"static_argnames=, or close over it|key_data"):
        Calls(lambda x: x).single((value,), {})


def test_control_flow_on_values_says_what_to_do() -> None:
    with pytest.raises(DependsOnValues, match="static_argnames"):
        Calls(lambda x: x if x > 0 else -x).single((np.float32(1),), {})


def test_call_that_does_not_fit_the_function_is_refused_as_here() -> None:
    with pytest.raises(TypeError, match="missing a required argument"):
        Calls(scaled).single((1.0,), {})


@pytest.mark.parametrize("keys", [("a", "b"), (1, 0)])
def test_dict_of_results_comes_back_by_its_keys(keys: tuple[Any, Any]) -> None:
    found = run(Calls(lambda x: {keys[0]: x, keys[1]: -x}).single((np.float32(2),), {}))
    assert {key: float(value) for key, value in found.items()} == {keys[0]: 2, keys[1]: -2}


def test_program_is_exported_once_for_each_form() -> None:
    traced = []

    def function(x: Any) -> Any:
        traced.append(x)
        return x + 1

    calls = Calls(function)
    for x in (np.ones(2), np.zeros(2), np.ones(3)):
        calls.single((x,), {})
    shapes = [x.shape for x in traced]
    assert set(shapes[: len(shapes) // 2]) == {(2,)}
    assert set(shapes[len(shapes) // 2 :]) == {(3,)}
    with jax.enable_x64(True):
        assert (
            calls.single((np.ones(2, np.float64),), {}).program != calls.single((np.ones(2, np.float32),), {}).program
        )


def test_wide_result_stays_wide_in_a_thread_that_is_not_configured_so() -> None:
    with jax.enable_x64(True):
        call = Calls(lambda x: {"wide": x * 2, "whole": x.astype(int)}).single((np.arange(3) + 1e-12,), {})
        assert call.form.outputs[0].dtype == np.int64 or call.form.outputs[0].dtype == np.float64
        returned = packed(call)
    assert not jax.config.jax_enable_x64  # type: ignore[attr-defined]
    found = result(call.form, opened(call.form, returned))
    assert (found["wide"].dtype, found["whole"].dtype) == (np.float64, np.int64)
    assert (np.asarray(found["wide"]) == (np.arange(3) + 1e-12) * 2).all()
    assert stacked(call.form, [opened(call.form, returned)])["wide"].dtype == np.float64


@pytest.mark.parametrize(
    "returned",
    [
        {"0": np.zeros((7, 2), np.int8)},
        {"0": np.zeros((), np.float64)},
        {"0": np.zeros(1, np.float32)},
        {"1": np.zeros((), np.float32)},
        {"0": np.zeros((), np.float32), "1": np.zeros(())},
        {},
    ],
)
def test_result_of_another_form_than_the_program_s_is_not_taken(returned: dict[str, Any]) -> None:
    call = Calls(lambda x: x.sum()).single((np.ones(4, np.float32),), {})
    with pytest.raises(Unfit, match="the program returns"):
        opened(call.form, arrays.pack(returned))
    assert run(call) == 4


@pytest.mark.parametrize(
    "configured",
    [
        jax.default_matmul_precision("highest"),
        jax.threefry_partitionable(False),
        jax.default_prng_impl("rbg"),
        jax.numpy_dtype_promotion("strict"),
    ],
)
def test_program_is_traced_again_under_another_configuration(configured: Any) -> None:
    traced = []

    def function(w: Any, x: Any) -> Any:
        traced.append(x)
        return x @ w + jax.random.normal(jax.random.key(0), (2,))

    calls, args = Calls(function), (np.ones((3, 2), np.float32), np.ones(3, np.float32))
    calls.single(args, {})
    before = len(traced)
    calls.single(args, {})
    assert len(traced) == before
    with configured:
        calls.single(args, {})
    assert len(traced) > before
