"""What the inspection lets through, and what it refuses, each for its own reason."""

import signal
import struct
import subprocess
import sys
import time
from typing import get_args

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.programs import kernels, operations
from services.programs.admission import AdmissionLimits, Inadmissible, Inspection, Reason, inspect
from services.programs.bounded import loop_bound
from services.programs.export import export_program, load
from tests import hostile

ROW = {"x": jax.ShapeDtypeStruct((8,), jnp.float32)}
#: The inspection of one hostile program on a busy machine.
QUICKLY_S = 10.0


def program(function, row=ROW, platforms=("cpu",)):
    return export_program(lambda shared, row: {"y": function(*row.values())}, None, row, platforms)


def refusal(blob, limits=None):
    with pytest.raises(Inadmissible) as refused:
        inspect(blob, limits or AdmissionLimits())
    return refused.value


def test_honest_program_is_admitted_with_all_that_it_says():
    found = inspect(program(lambda x: x + 1, platforms=("cpu", "cuda", "tpu")))
    assert (found.platforms, found.jax_version) == (("cpu", "cuda", "tpu"), jax.__version__)
    assert (found.meter.flops, found.meter.input_bytes, found.meter.output_bytes) == (8, 32, 32)


@pytest.mark.parametrize("builder", hostile.REFUSED, ids=lambda builder: builder.__name__)
def test_hostile_program_is_refused_quickly_for_its_reason(builder):
    blob = builder()
    began = time.perf_counter()
    refused = refusal(blob)
    assert refused.reason == hostile.REFUSED[builder]
    assert time.perf_counter() - began < QUICKLY_S
    assert refused.reason in str(refused)
    assert len(refused.detail) > 20


def test_every_reason_is_one_of_the_published_ones():
    assert set(hostile.REFUSED.values()) <= set(get_args(Reason))
    assert {reason for reason, _ in operations.REFUSED.values()} <= set(get_args(Reason))


@pytest.mark.parametrize("builder", hostile.ADMITTED, ids=lambda builder: builder.__name__)
def test_program_that_only_the_sandbox_can_contain_passes_the_inspection(builder):
    assert isinstance(inspect(builder()), Inspection)


def test_refusal_names_the_offending_call():
    assert "launch_missiles" in refusal(hostile.unknown_custom_call()).detail
    assert "stablehlo.all_reduce" in refusal(hostile.all_reduce()).detail


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (AdmissionLimits(program_bytes=100), "too_large"),
        (AdmissionLimits(operations=2), "too_large"),
        (AdmissionLimits(input_bytes=31), "inputs"),
        (AdmissionLimits(output_bytes=31), "outputs"),
        (AdmissionLimits(memory_bytes=95), "memory"),
        (AdmissionLimits(work=7), "work"),
        (AdmissionLimits(constant_bytes=3), "constants"),
    ],
)
def test_limit_refuses_what_is_just_above_it(limits, reason):
    assert refusal(hostile.honest(), limits).reason == reason


def test_limits_admit_what_just_fits():
    exact = AdmissionLimits(
        program_bytes=len(hostile.honest()),
        input_bytes=32,
        output_bytes=32,
        memory_bytes=96,
        work=128,
        constant_bytes=4,
        operations=4,
    )
    assert isinstance(inspect(hostile.honest(), exact), Inspection)


MATRIX = {"x": jax.ShapeDtypeStruct((3, 8, 8), jnp.float32)}
SQUARE = {"x": jax.ShapeDtypeStruct((8, 8), jnp.float32)}
TALL = {"x": jax.ShapeDtypeStruct((8, 6), jnp.float32)}
WIDE = {"x": jax.ShapeDtypeStruct((6, 8), jnp.float32)}


def _tridiagonal(x):
    return jax.lax.linalg.tridiagonal_solve(x[:, 0], 9 + x[:, 1], x[:, 2], x)


FACTORISATIONS = {
    "solve": (lambda x: jnp.linalg.solve(x, x[..., :3]), MATRIX),
    "right": (lambda x: jax.lax.linalg.triangular_solve(x, x), SQUARE),
    "lu": (lambda x: jax.lax.linalg.lu(x), TALL),
    "cholesky": (lambda x: jnp.linalg.cholesky(x @ x.mT + 8 * jnp.eye(8, dtype=x.dtype)), MATRIX),
    "qr": (jnp.linalg.qr, MATRIX),
    "complete_qr": (lambda x: jnp.linalg.qr(x, mode="complete"), TALL),
    "wide_qr": (jnp.linalg.qr, WIDE),
    "eigh": (jnp.linalg.eigh, MATRIX),
    "svd": (jnp.linalg.svd, MATRIX),
    "slim_svd": (lambda x: jnp.linalg.svd(x, full_matrices=False), WIDE),
    "singular_values": (lambda x: jnp.linalg.svd(x, compute_uv=False), TALL),
    "eig": (jnp.linalg.eig, MATRIX),
    "tridiagonal": (_tridiagonal, SQUARE),
    "lstsq": (lambda x: jnp.linalg.lstsq(x, x[:, 0])[0], SQUARE),
    "expm": (jax.scipy.linalg.expm, SQUARE),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize("name", FACTORISATIONS)
def test_factorisation_is_admitted_and_runs(name, dtype):
    function, row = FACTORISATIONS[name]
    row = {"x": jax.ShapeDtypeStruct(row["x"].shape, dtype)}
    blob = program(function, row)
    assert inspect(blob).meter.flops > 0
    x = np.random.default_rng(0).standard_normal(row["x"].shape).astype(dtype)
    found = jax.tree.leaves(jax.jit(load(blob).call)({}, {"x": x}))
    expected = jax.tree.leaves(jax.jit(function)(x))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_every_kernel_for_float32_and_complex64_on_cpu_is_run_by_a_factorisation():
    held = set()
    for function, row in FACTORISATIONS.values():
        for dtype in (jnp.float32, jnp.complex64):
            text = load(program(function, {"x": jax.ShapeDtypeStruct(row["x"].shape, dtype)})).mlir_module()
            held |= {kernel for kernel in kernels.ROUTINES if f"@{kernel}(" in text}
    assert held == {kernel for kernel in kernels.CPU if not kernel.startswith("lapack_d")}


@pytest.mark.parametrize("name", ["solve", "cholesky", "qr", "complete_qr", "eigh", "lu", "tridiagonal", "expm"])
def test_factorisation_is_admitted_for_every_platform(name):
    function, row = FACTORISATIONS[name]
    assert inspect(program(function, row, ("cpu", "cuda", "tpu"))).meter.flops > 0


def test_singular_values_are_admitted_where_they_need_no_endless_loop():
    function, row = FACTORISATIONS["svd"]
    assert inspect(program(function, row, ("cpu", "cuda"))).platforms == ("cpu", "cuda")
    refused = refusal(program(function, row, ("cpu", "cuda", "tpu")))
    assert refused.reason == "unbounded_loop"
    assert "tpu" in refused.detail


def test_slim_singular_values_of_large_matrices_are_admitted_for_cuda():
    """Which cuSOLVER works out slim, where it fills smaller ones whole."""
    for shape in ((64, 40), (40, 64), (64, 16)):
        row = {"x": jax.ShapeDtypeStruct(shape, jnp.float32)}
        slim = program(lambda x: jnp.linalg.svd(x, full_matrices=False), row, ("cpu", "cuda"))
        assert inspect(slim).meter.flops > 0


def test_composite_costs_no_less_than_what_it_is_named_after():
    left, right = "tensor<8x1000xf32>", "tensor<4x1000x1000xf32>"
    dimensions = ", ".join(f"dense<{axes}> : tensor<{len(axes)}xi64>" for axes in ([], [], [1], [1], [0], [0]))
    dimensions = dimensions.replace("dense<[", "dense<").replace("]> :", "> :")
    zeros = f"%y = stablehlo.constant dense<0.0> : {left} return %y : {left}"
    blob = hostile.with_text(
        f"""%l = stablehlo.constant dense<1.0> : {left} %r = stablehlo.constant dense<1.0> : {right}
        %n = stablehlo.constant dense<2> : tensor<4xi32>
        %y = stablehlo.composite "chlo.ragged_dot" %l, %r, %n {{composite_attributes = {{
          precision_config = ["DEFAULT", "DEFAULT"], ragged_dot_dimension_numbers = [{dimensions}]}},
          decomposition = @free, version = 1 : i32}} : ({left}, {right}, tensor<4xi32>) -> {left}
        return %x : tensor<8xf32>""",
        functions=f"func.func private @free(%l: {left}, %r: {right}, %n: tensor<4xi32>) -> {left} {{ {zeros} }}",
    )
    assert inspect(blob).meter.flops >= 2 * 8 * 1000 * 1000


RIGHT = {"diag": 78, "side": 82, "trans_x": 78, "uplo": 85}
#: Calls that a library would take, and what is wrong with them.
FALSE_CALLS = {
    "pivots": ("lapack_sgetrf_ffi", ["8x8xf32"], ["8x8xf32", "3xi32", "i32"], {}),
    "batch": ("lapack_sgetrf_ffi", ["2x8x8xf32"], ["2x8x8xf32", "1x8xi32", "2xi32"], {}),
    "result": ("lapack_spotrf_ffi", ["8x8xf32"], ["4x4xf32", "i32"], {"uplo": 76}),
    "letter": ("lapack_spotrf_ffi", ["8x8xf32"], ["8x8xf32", "i32"], {"uplo": 77}),
    "not_square": ("lapack_ssyevd_ffi", ["8x6xf32"], ["8x6xf32", "6xf32", "i32"], {"mode": 86, "uplo": 76}),
    "type": ("lapack_ssyevd_ffi", ["8x8xf32"], ["8x8xf32", "8xf16", "i32"], {"mode": 86, "uplo": 76}),
    "slim": ("lapack_sgesdd_ffi", ["8x6xf32"], ["8x6xf32", "6xf32", "8x6xf32", "6x6xf32", "i32"], {"mode": 65}),
    "mode": ("lapack_sgesdd_ffi", ["8x8xf32"], ["8x8xf32", "8xf32", "8x8xf32", "8x8xf32", "i32"], {"mode": 79}),
    "side": ("lapack_strsm_ffi", ["8x8xf32", "8x3xf32"], ["8x3xf32"], RIGHT),
    "no_side": ("lapack_strsm_ffi", ["8x8xf32", "8x3xf32"], ["8x3xf32"], {}),
    "reflectors": ("lapack_sorgqr_ffi", ["8x6xf32", "7xf32"], ["8x6xf32"], {}),
    "too_few": ("lapack_sorgqr_ffi", ["8x6xf32"], ["8x6xf32"], {}),
    "vector": ("lapack_sgetrf_ffi", ["8xf32"], ["8xf32", "i32", "i32"], {}),
    "permutation": ("cu_lu_pivots_to_permutation", ["8xi32"], ["6xi32"], {}),
}


@pytest.mark.parametrize("name", FALSE_CALLS)
def test_call_that_would_write_beyond_its_result_is_refused(name):
    kernel, before, after, numbers = FALSE_CALLS[name]
    made = " ".join(
        f"%o{index} = stablehlo.constant dense<0> : tensor<{shape}>"
        if shape.endswith("i32")
        else f"%o{index} = stablehlo.constant dense<0.0> : tensor<{shape}>"
        for index, shape in enumerate(before)
    )
    config = ", ".join(f"{key} = {value} : ui8" for key, value in numbers.items())
    operands = ", ".join(f"%o{index}" for index in range(len(before)))
    types = ", ".join(f"tensor<{shape}>" for shape in before), ", ".join(f"tensor<{shape}>" for shape in after)
    blob = hostile.with_text(
        f"{made} %y:{len(after)} = stablehlo.custom_call @{kernel}({operands}) "
        f"{{mhlo.backend_config = {{{config}}}}} : ({types[0]}) -> ({types[1]}) return %x : tensor<8xf32>"
    )
    refused = refusal(blob)
    assert refused.reason == "custom_call"
    assert kernel in refused.detail
    assert ("settings" if name in ("letter", "mode", "no_side") else "shapes") in refused.detail


def test_loop_without_end_in_sight_is_admitted_once_it_is_bounded():
    def root(x):
        return jax.lax.while_loop(lambda y: jnp.abs(y * y - x).max() > 1e-3, lambda y: 0.5 * (y + x / y), x)

    assert refusal(program(root)).reason == "unbounded_loop"
    few, many = (inspect(program(loop_bound(trips)(root))).meter.flops for trips in (10, 20))
    assert many - few == (few - inspect(program(loop_bound(1)(root))).meter.flops) * 10 // 9
    np.testing.assert_allclose(loop_bound(20)(root)(jnp.full(8, 2.0)), np.sqrt(2), rtol=1e-3)


def test_loop_bound_ends_a_loop_that_would_not_end():
    endless = loop_bound(7)(lambda x: jax.lax.while_loop(lambda y: True, lambda y: y + 1, x))
    assert endless(0.0) == 7
    assert jax.jit(load(program(endless, {"x": np.float32(0)})).call)({}, {"x": np.float32(0)})["y"] == 7


def test_loop_bound_reaches_loops_in_scans_branches_calls_and_vmaps():
    def count(limit):
        return jax.lax.while_loop(lambda y: y < limit, lambda y: y + 1, jnp.zeros_like(limit))

    @loop_bound(5)
    def nested(x):
        scanned = jax.lax.scan(lambda carry, one: (carry + count(one), None), 0.0, x)[0]
        branched = jax.lax.cond(x[0] > 0, count, lambda one: one, x[1])
        return scanned + branched + jax.jit(count)(x[7]), jax.vmap(count)(x)

    x = np.arange(1, 9, dtype=np.float32)
    total, each = nested(x)
    np.testing.assert_array_equal(each, np.minimum(x, 5))
    assert total == np.minimum(x, 5).sum() + 2 + 5
    assert isinstance(inspect(program(nested)), Inspection)


def test_loop_bound_refuses_a_bound_that_is_none():
    with pytest.raises(ValueError, match="loop bound of 0"):
        loop_bound(0)


def test_loop_bound_leaves_poisson_as_it_is_and_makes_it_cheap():
    """Which jax itself bounds, by two billion rounds."""

    def draw(x):
        return jax.random.poisson(jax.random.key(0), x)

    bounded = loop_bound(200)(draw)
    assert inspect(program(bounded)).meter.flops < inspect(program(draw)).meter.flops / 10**6
    x = np.linspace(0.1, 20, 8, dtype=np.float32)
    np.testing.assert_array_equal(bounded(x), draw(x))


INSPECTOR = """
import struct, sys
from services.programs.admission import Inadmissible, inspect

while head := sys.stdin.buffer.read(4):
    blob = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
    try:
        answer = inspect(blob).identity
    except Inadmissible as refused:
        answer = refused.reason
    print(answer, flush=True)
"""


class Inspector:
    """``inspect`` in a process of its own, because MLIR's reader does not survive all that is done to its input."""

    def __init__(self):
        self._start()

    def _start(self):
        self._process = subprocess.Popen(
            [sys.executable, "-c", INSPECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def answer(self, blob):
        """A reason, an identity, or the signal that the process died of, as a negative number."""
        self._process.stdin.write(struct.pack("<I", len(blob)) + blob)
        self._process.stdin.flush()
        if line := self._process.stdout.readline():
            return line.decode().strip()
        _, error = self._process.communicate()
        assert self._process.returncode < 0, error.decode()
        died = self._process.returncode
        self._start()
        return died

    def end(self):
        self._process.communicate()


@pytest.fixture(scope="module")
def inspector():
    inspector = Inspector()
    yield inspector
    inspector.end()


BASES = [hostile.honest(), program(lambda x: jnp.linalg.solve(x, x), SQUARE), hostile.loop_bomb()]
CHANGES = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def sensible(answer):
    return answer in get_args(Reason) or len(answer) == 64


@FUZZ
@given(base=st.sampled_from(BASES), changes=CHANGES)
def test_program_with_a_damaged_frame_is_refused_or_inspected_and_nothing_else(inspector, base, changes):
    text = load(base).mlir_module_serialized
    before, _, after = base.partition(text)
    frame = bytearray(before + after)
    for place, value in changes:
        frame[int(place * len(frame))] = value
    assert sensible(inspector.answer(bytes(frame[: len(before)]) + text + bytes(frame[len(before) :])))


@FUZZ
@given(base=st.sampled_from(BASES), changes=CHANGES, length=st.floats(0, 1))
def test_program_with_a_damaged_text_is_refused_or_inspected_or_takes_its_process_down(
    inspector, base, changes, length
):
    text = bytearray(load(base).mlir_module_serialized)
    before, _, after = base.partition(text)
    for place, value in changes:
        text[int(place * len(text))] = value
    if length < 0.2:
        text[int(length * 5 * len(text)) :] = bytes(len(text) - int(length * 5 * len(text)))
    answer = inspector.answer(before + bytes(text) + after)
    assert answer in (-signal.SIGSEGV, -signal.SIGABRT) or sensible(answer)


@FUZZ
@given(blob=st.binary(max_size=2000))
def test_bytes_that_are_no_program_are_refused(blob):
    assert isinstance(refusal(blob), Inadmissible)


def test_verdict_loads_no_jax():
    code = "import sys, services.programs.verdict; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
