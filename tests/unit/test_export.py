"""Programs as bytes, their outputs by name, and the refusals of functions that can be none."""

import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental import io_callback

from services.programs import export
from services.programs.export import export_program, export_with_tree, load
from services.programs.trees import from_names, leaves_by_name, names_of

ROW = {"x": np.arange(4, dtype=np.float32)}


class Pair(NamedTuple):
    mean: object
    parts: object


def test_flat_dict_keeps_its_names():
    blob = export_program(lambda shared, row: {"b": row["x"], "a": row["x"].sum()}, None, ROW, ("cpu",))
    tree = load(blob).out_tree
    assert names_of(tree) == ["a", "b"]


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: (x, x + 1),
        lambda x: [x, {"k": (x + 1, None)}],
        lambda x: Pair(x.sum(), {"u": x, "v": Pair(x + 1, x + 2)}),
        lambda x: {"a": {"b": x}},
        lambda x: {3: x, 1: x + 1},
        lambda x: [x + i for i in range(12)],
        lambda x: tuple(jnp.linalg.eigh(jnp.outer(x, x))),
        lambda x: jnp.linalg.eigh(jnp.outer(x, x)),
    ],
)
def test_outputs_of_any_form_come_back_as_they_were(form):
    made = export_with_tree(lambda shared, row: form(row["x"]), None, ROW, ("cpu",))
    loaded = load(made.program)
    leaves = jax.tree.leaves(jax.jit(loaded.call)({}, ROW))
    named = leaves_by_name(loaded.out_tree, leaves)
    expected = jax.jit(lambda row: form(row["x"]))(ROW)
    found = from_names(made.out_tree, named)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@given(st.integers(1, 200))
def test_numbers_of_leaves_sort_as_the_leaves_do(count):
    names = names_of(jax.tree.structure(list(range(count))))
    assert names == sorted(names)
    assert len({*names}) == count


def test_named_tuple_is_plain_in_the_program_and_itself_for_its_exporter():
    made = export_with_tree(lambda shared, row: Pair(row["x"], row["x"]), None, ROW, ("cpu",))
    assert jax.tree.unflatten(load(made.program).out_tree, [1, 2]) == (1, 2)
    assert type(jax.tree.unflatten(made.out_tree, [1, 2])) is Pair


def _prints(shared, row):
    jax.debug.print("{}", row["x"])
    return {"y": row["x"]}


def _calls(shared, row):
    return {"y": jax.pure_callback(np.sin, jax.ShapeDtypeStruct((4,), jnp.float32), row["x"])}


def _writes(shared, row):
    io_callback(print, None, row["x"])
    return {"y": row["x"]}


def _nested_print(shared, row):
    return {"y": jax.lax.scan(lambda c, _: (_prints({}, {"x": c})["y"], None), row["x"], None, length=2)[0]}


LARGE = np.ones(5 << 18, np.float32)
REFUSED = {
    "print": (_prints, export.CallsHost, "debug"),
    "callback": (_calls, export.CallsHost, "pure_callback"),
    "io": (_writes, export.CallsHost, "io_callback"),
    "nested": (_nested_print, export.CallsHost, "debug"),
    "branch": (lambda s, r: {"y": 1.0 if r["x"].sum() > 0 else 2.0}, export.DependsOnValues, "jax.lax.cond"),
    "range": (lambda s, r: {"y": sum(range(r["x"][0].astype(int)))}, export.DependsOnValues, "while_loop"),
    "numpy": (lambda s, r: {"y": np.asarray(r["x"])}, export.DependsOnValues, "control flow"),
    "mask": (lambda s, r: {"y": r["x"][r["x"] > 0]}, export.DependsOnValues, "jnp.where"),
    "text": (lambda s, r: {"y": "done"}, export.NotAnArray, r"output\['y'\] is a str"),
    "nothing": (lambda s, r: {}, export.NotAnArray, "result"),
    "none": (lambda s, r: None, export.NotAnArray, "result"),
    "float8": (lambda s, r: {"y": r["x"].astype(jnp.float8_e4m3fn)}, export.TypeUnsupported, "float8_e4m3fn"),
    "int4": (lambda s, r: {"y": r["x"].astype(jnp.int4)}, export.TypeUnsupported, "int4"),
    "key": (lambda s, r: {"y": jax.random.key(0)}, export.TypeUnsupported, "key"),
    "captured": (lambda s, r: {"y": r["x"] + jnp.asarray(LARGE)[:4]}, export.CapturesTooMuch, "as an argument"),
    "shapes": (lambda s, r: {"y": r["x"] @ jnp.ones(5)}, export.Untraceable, "dot_general"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_function_that_cannot_be_a_program_is_refused_with_what_to_change(name):
    function, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words):
        export_program(function, None, ROW)


@pytest.mark.parametrize(
    ("array", "kind", "words"),
    [
        (np.ones(2, np.complex128), export.TypeUnsupported, "complex128"),
        (np.array([object()]), export.TypeUnsupported, "object"),
        (np.ones(2), export.Narrowed, "float64, of which jax keeps only float32"),
        (np.array(["text"]), export.TypeUnsupported, "<U4"),
        (jax.random.key(0), export.TypeUnsupported, "key"),
        (jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 2"), jnp.float32), export.ShapeUnknown, "each shape"),
    ],
)
def test_input_that_no_blob_holds_is_refused(array, kind, words):
    with pytest.raises(kind, match=words):
        export_program(lambda shared, row: {"y": row["x"]}, None, {"x": array})


def test_errors_of_the_function_itself_are_not_dressed_up():
    with pytest.raises(KeyError, match="missing"):
        export_program(lambda shared, row: {"y": row["missing"]}, None, ROW)


def test_refusals_are_sentences_with_their_facts():
    with pytest.raises(export.CapturesTooMuch) as refused:
        export_program(REFUSED["captured"][0], None, ROW)
    assert refused.value.facts["size"] == LARGE.nbytes


MODULES = ["programs.export", "programs.verdict", "worker.executor", "worker.device"]


@pytest.mark.parametrize("module", MODULES)
def test_process_outside_of_the_sandbox_does_not_load_jax(module):
    code = f"import sys, services.{module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
