"""Equal programs have one name, whatever their source is called and wherever it stands; others have another."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from services.programs.admission import inspect
from services.programs.canonical import tree
from services.programs.export import export_program, export_with_tree, load

SOURCE = """
import sys
import jax
import jax.numpy as jnp
import numpy as np
from services.programs.admission import inspect
from services.programs.export import export_program

{before}

@jax.jit
def {helper}({first}, {second}):
    return jnp.linalg.solve({first} @ {first}.T, {second}) * {constant}

def {name}({shared}, {row}):
    def {body}(carry, _):
        return {helper}({shared}["w"], carry) + 1, None
    return {{"y": jax.lax.scan({body}, {row}["x"], None, length=5)[0], "z": jax.scipy.special.erf({row}["x"])}}

blob = export_program({name}, {{"w": np.ones(({length}, {length}), "{dtype}")}}, {{"x": np.ones({length}, "{dtype}")}})
sys.stdout.write(blob.hex() + " " + inspect(blob).identity)
"""
PLAIN = {
    "before": "",
    "helper": "helper",
    "first": "left",
    "second": "right",
    "name": "function",
    "shared": "shared",
    "row": "row",
    "body": "body",
    "constant": "2.0",
    "dtype": "f4",
    "length": "4",
    "file": "program.py",
}
SAME = {
    "moved_by_lines": {"before": "\n\n\n# a comment\n"},
    "another_file": {"file": "deeper/other.py"},
    "another_function_name": {"name": "task_of_mine"},
    "other_arguments": {"shared": "weights", "row": "data", "first": "a", "second": "b"},
    "another_helper_name": {"helper": "multiply_and_solve", "body": "turn"},
    "helper_of_a_library_name": {"helper": "main"},
    "after_other_programs": {
        "before": "export_program(lambda s, r: {'y': r['x'] @ r['x']}, None, {'x': np.ones(4, 'f4')})"
    },
}
OTHER = {
    "another_constant": {"constant": "3.0"},
    "another_shape": {"length": "5"},
    "another_type": {"dtype": "f8", "before": "jax.config.update('jax_enable_x64', True)"},
    "another_flag": {"before": "jax.config.update('jax_default_matmul_precision', 'highest')"},
}


def run(folder, **changes):
    values = {**PLAIN, **changes}
    path = folder / values.pop("file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOURCE.format(**values))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    blob, identity = done.stdout.split()
    return bytes.fromhex(blob), identity


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", SAME)
def test_identity_and_bytes_stay_the_same(name, plain, tmp_path):
    assert run(tmp_path, **SAME[name]) == plain


@pytest.mark.parametrize("name", OTHER)
def test_identity_changes(name, plain, tmp_path):
    blob, identity = run(tmp_path, **OTHER[name])
    assert identity != plain[1]
    assert blob != plain[0]


def test_program_says_nothing_of_its_source(plain, tmp_path):
    blob, _ = plain
    for word in (b".py", b"helper", b"function\x00", b"result_info", str(tmp_path.parent).encode()):
        assert word not in blob


def test_identity_does_not_hang_on_words_that_another_exporter_leaves_in():
    """A stranger's own export of the same function, with its locations and names, is the same program."""
    shapes = {}, {"x": jax.ShapeDtypeStruct((4,), jnp.float32)}

    def doubled(shared, row):
        return {"y": jnp.cumsum(row["x"]) * 2}

    ours = load(export_program(doubled, *shapes, ("cpu",)))
    theirs = jax.export.export(jax.jit(doubled), platforms=("cpu",))(*shapes)
    assert len(theirs.mlir_module_serialized) != len(ours.mlir_module_serialized)
    unnamed = bytes(theirs.serialize())
    again = jax.export.export(jax.jit(lambda shared, row: doubled(shared, row)), platforms=("cpu",))(*shapes)
    assert inspect(unnamed).identity == inspect(bytes(again.serialize())).identity
    assert inspect(unnamed).jax_version == ""


def test_identity_depends_on_shapes_names_order_and_platforms():
    row = {"x": np.ones(4, "f4"), "z": np.ones(4, "f4")}

    def identity(function, row=row, shared=None, platforms=("cpu",)):
        return inspect(export_program(function, shared, row, platforms)).identity

    def add(shared, row):
        return {"y": row["x"] + row["z"] * 2}

    found = [
        identity(add),
        identity(add, platforms=("cpu", "cuda")),
        identity(add, {"x": np.ones(5, "f4"), "z": np.ones(5, "f4")}),
        identity(add, {**row, "unused": np.ones(1, "f4")}),
        identity(add, shared={"unused": np.ones(1, "f4")}),
        identity(lambda shared, row: {"other": row["x"] + row["z"] * 2}),
        identity(lambda shared, row: {"y": row["z"] + row["x"] * 2}),
        identity(lambda shared, row: row["x"] + row["z"] * 2),
        identity(lambda shared, row: [row["x"] + row["z"] * 2]),
        identity(lambda shared, row: (row["x"] + row["z"] * 2,)),
    ]
    assert len({*found}) == len(found)


def test_identity_is_64_hex_digits_and_known_for_a_small_program():
    """Pins the text of this jaxlib: a change here is a change of every identity."""
    found = inspect(export_program(lambda shared, row: {"y": row["x"] + 1}, None, {"x": np.float32(0)}, ("cpu",)))
    assert set(found.identity) <= set("0123456789abcdef")
    assert found.identity == "d41a254e53bffd88d52ad4b6b8036a2c7e084848c268157af3bf9555941a481b"


def test_tree_is_written_without_the_words_of_any_version():
    definition = jax.tree.structure({"b": [1, (2, None)], "a": 3})
    assert tree(definition) == "dict('a':*,'b':list(*,tuple(*,NoneType())))"


def test_exported_program_computes_what_the_function_does():
    def function(shared, row):
        return {"y": jnp.linalg.solve(shared["w"], row["x"]).sum() + jax.random.bits(jax.random.key(row["seed"]))}

    random = np.random.default_rng(0)
    shared = {"w": random.standard_normal((4, 4)).astype("f4")}
    row = {"x": random.standard_normal(4).astype("f4"), "seed": np.uint32(7)}
    program = export_with_tree(function, shared, row)
    found = jax.jit(load(program.program).call)(shared, row)
    np.testing.assert_array_equal(found["y"], jax.jit(function)(shared, row)["y"])
