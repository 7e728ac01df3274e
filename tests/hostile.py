"""Programs that nobody should run, as blobs that look like any other.

``refused`` are those that the inspection sees through, with the reason that it gives. ``admitted`` pass it: their
harm shows only when they are compiled or run, and is for the sandbox to contain.
"""

import dataclasses
from collections.abc import Callable
from typing import Final

import flatbuffers
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax._src.export import serialization_generated as schema
from jax.extend.core import Effect
from jax.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from services.programs.export import export_program

SCALAR: Final = {"x": np.float32(1)}
#: The row that every one of these programs takes.
ROW: Final = {"x": np.arange(8, dtype=np.float32)}
_VECTOR: Final = "tensor<8xf32>"


def honest() -> bytes:
    """What the others are made from: one vector of 8 numbers in, one out."""
    return export_program(lambda shared, row: {"y": row["x"] + 1}, None, ROW, ("cpu",))


def with_text(body: str, *, functions: str = "", attributes: str = "", results: str = _VECTOR) -> bytes:
    """The honest program with another text.

    Args:
        body: What main does with ``%x``; it ends in a return.
        functions: Further functions. attributes: Of the module.
    """
    text = f"module @m attributes {{{attributes}}} {{ func.func public @main(%x: {_VECTOR}) -> {results} {{ {body} }}"
    return with_module(f"{text} {functions} }}")


def with_module(text: str) -> bytes:
    exported = jax.export.deserialize(bytearray(honest()))
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        target = stablehlo.get_version_from_compatibility_requirement(
            stablehlo.StablehloCompatibilityRequirement.WEEK_4
        )
        artifact = stablehlo.serialize_portable_artifact(module, target, allow_other_dialects=True)
    return bytes(dataclasses.replace(exported, mlir_module_serialized=artifact).serialize())


def _exported(function: Callable[..., object], *shapes: jax.ShapeDtypeStruct, **options: object) -> bytes:
    """By jax itself, without the checks of ``export_program``."""
    shapes = shapes or (jax.ShapeDtypeStruct((8,), jnp.float32),)
    options = {"platforms": ("cpu",), **options}
    traced = jax.export.export(jax.jit(lambda shared, row: {"y": function(row["x"])}), **options)
    return bytes(traced({}, {"x": shapes[0]}).serialize())


def unknown_custom_call() -> bytes:
    return with_text(
        f"%y = stablehlo.custom_call @launch_missiles(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}"
    )


def kernel_of_another_world() -> bytes:
    """On jax's own list of stable custom calls, and arbitrary code on a TPU."""
    return with_text(
        f"%y = stablehlo.custom_call @tpu_custom_call(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}"
    )


def tensorflow_function() -> bytes:
    return with_text(
        f"%y = stablehlo.custom_call @tf.call_tf_function(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}"
    )


def callback() -> bytes:
    """A pointer into the process of whoever runs it."""
    target = "xla_ffi_python_cpu_callback"
    return with_text(
        f"%y = stablehlo.custom_call @{target}(%x) {{mhlo.backend_config = {{callback = 4096 : ui64}}}} : "
        f"({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}"
    )


def all_reduce() -> bytes:
    return with_text(
        f"""%y = "stablehlo.all_reduce"(%x) ({{
          ^bb0(%a: tensor<f32>, %b: tensor<f32>):
            %s = stablehlo.add %a, %b : tensor<f32>
            stablehlo.return %s : tensor<f32>
        }}) {{replica_groups = dense<[[0]]> : tensor<1x1xi64>}} : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}"""
    )


def outfeed() -> bytes:
    return with_text(
        f"""%token = stablehlo.create_token : !stablehlo.token
        %sent = "stablehlo.outfeed"(%x, %token) {{outfeed_config = ""}} :
          ({_VECTOR}, !stablehlo.token) -> !stablehlo.token
        return %x : {_VECTOR}"""
    )


def rng() -> bytes:
    return with_text(
        f"""%a = stablehlo.constant dense<0.0> : tensor<f32> %b = stablehlo.constant dense<1.0> : tensor<f32>
        %n = stablehlo.constant dense<8> : tensor<1xi64>
        %y = "stablehlo.rng"(%a, %b, %n) {{rng_distribution = #stablehlo<rng_distribution UNIFORM>}} :
          (tensor<f32>, tensor<f32>, tensor<1xi64>) -> {_VECTOR} return %y : {_VECTOR}"""
    )


def composite() -> bytes:
    return with_text(
        f'%y = stablehlo.composite "vendor.magic" %x {{decomposition = @same}} : ({_VECTOR}) -> {_VECTOR} '
        f"return %y : {_VECTOR}",
        functions=f"func.func private @same(%x: {_VECTOR}) -> {_VECTOR} {{ return %x : {_VECTOR} }}",
    )


def overflowing_kernel() -> bytes:
    """LAPACK writes eight pivots where there is room for three: past the end, on the heap."""
    matrix = "tensor<8x8xf32>"
    return with_text(
        f"""%zero = stablehlo.constant dense<0.0> : tensor<f32>
        %m = stablehlo.broadcast_in_dim %x, dims = [0] : ({_VECTOR}) -> {matrix}
        %y:3 = stablehlo.custom_call @lapack_sgetrf_ffi(%m) {{mhlo.backend_config = {{}}}} :
          ({matrix}) -> ({matrix}, tensor<3xi32>, tensor<i32>)
        %r = stablehlo.reduce(%y#0 init: %zero) applies stablehlo.add across dimensions = [0] :
          ({matrix}, tensor<f32>) -> {_VECTOR} return %r : {_VECTOR}"""
    )


def crashing_kernel() -> bytes:
    """XLA itself dies of it with a segmentation fault, wherever it is compiled uninspected."""
    matrix = "tensor<8x8xf32>"
    return with_text(
        f"""%m = stablehlo.broadcast_in_dim %x, dims = [0] : ({_VECTOR}) -> {matrix}
        %y:2 = stablehlo.custom_call @ProductOfElementaryHouseholderReflectors(%m) : ({matrix}) -> ({matrix}, {_VECTOR})
        return %y#1 : {_VECTOR}"""
    )


def patient_kernel() -> bytes:
    """Asks XLA to write out an eigenvalue iteration of a billion sweeps."""
    matrix = "tensor<8x8xf32>"
    return with_text(
        f"""%m = stablehlo.broadcast_in_dim %x, dims = [0] : ({_VECTOR}) -> {matrix}
        %y:2 = stablehlo.custom_call @Eigh(%m) {{backend_config = "1,1,1000000000,0.0"}} :
          ({matrix}) -> ({matrix}, {_VECTOR}) return %y#1 : {_VECTOR}"""
    )


def _rewritten(function: Callable[..., object], *changes: tuple[str, str]) -> bytes:
    """What jax writes for a function of 8 numbers, with its text changed."""
    blob = _exported(function)
    exported = jax.export.deserialize(bytearray(blob))
    text = str(exported.mlir_module())
    for old, new in changes:
        assert old in text, f"jax writes no {old}"
        text = text.replace(old, new, 1)
    return with_module(text)


def _slim(x: jax.Array) -> jax.Array:
    left, values, right = jnp.linalg.svd(jnp.outer(jnp.tile(x, 32), x), full_matrices=False)
    return values + left.sum() + right.sum()


_SLIM: Final = "{mhlo.backend_config = {mode = 83 : ui8},"
_ALIAS: Final = "operand_index = 0, operand_tuple_indices = []>]"


def two_sources_of_settings() -> bytes:
    """Read one way it fills 256 x 8 numbers; XLA obeys the other, by which LAPACK writes 256 x 256."""
    other = "{api_version = 4 : i32, backend_config = {mode = 65 : ui8}, mhlo.backend_config = {mode = 83 : ui8},"
    return _rewritten(_slim, (_SLIM, other))


def settings_of_another_form() -> bytes:
    return _rewritten(_slim, (_SLIM, "{api_version = 4 : i32, backend_config = {mode = 65 : ui8},"))


def settings_of_the_older_form() -> bytes:
    """As text, which was once how kernels were told."""
    return _rewritten(_slim, (_SLIM, '{backend_config = "mode = 65", mhlo.backend_config = {mode = 83 : ui8},'))


def call_of_another_version() -> bytes:
    return _rewritten(_slim, (_SLIM, "{api_version = 2 : i32, mhlo.backend_config = {mode = 83 : ui8},"))


def wide_setting() -> bytes:
    return _rewritten(_slim, ("mode = 83 : ui8", "mode = 83 : i64"))


def overflowing_setting() -> bytes:
    """65 in the byte that a kernel might take of it."""
    return _rewritten(_slim, ("mode = 83 : ui8", "mode = 321 : i64"))


def unknown_setting() -> bytes:
    return _rewritten(_slim, ("mode = 83 : ui8", "mode = 83 : ui8, moder = 65 : ui8"))


def missing_setting() -> bytes:
    return _rewritten(_slim, ("mode = 83 : ui8", ""))


def matrix_by_rows() -> bytes:
    return _rewritten(_slim, ("dense<[0, 1]> : tensor<2xindex>]", "dense<[1, 0]> : tensor<2xindex>]"))


def another_alias() -> bytes:
    """The memory of the operand handed out as a second result."""
    second = "#stablehlo.output_operand_alias<output_tuple_indices = [2], " + _ALIAS
    return _rewritten(_slim, (_ALIAS, _ALIAS.removesuffix("]") + ", " + second))


def other_batch() -> bytes:
    return _rewritten(_slim, ('num_batch_dims = "0"', 'num_batch_dims = "1"'))


def call_with_junk() -> bytes:
    return _rewritten(_slim, (_SLIM, '{junk = "x", mhlo.backend_config = {mode = 83 : ui8},'))


def addition_with_junk() -> bytes:
    return with_text(f'%y = stablehlo.add %x, %x {{junk = "x"}} : {_VECTOR} return %y : {_VECTOR}')


def addition_with_settings() -> bytes:
    """An attribute that means something elsewhere."""
    return with_text(
        f'%y = stablehlo.add %x, %x {{backend_config = "x", api_version = 4 : i32}} : {_VECTOR} return %y : {_VECTOR}'
    )


def composite_that_keeps_more() -> bytes:
    """XLA looks at the attribute, and not at what the composite stands for."""
    return _rewritten(lambda x: jax.lax.top_k(x, 3)[0].sum() + x, ("k = 3 : i64", "k = 7 : i64"))


def composite_that_crashes() -> bytes:
    """XLA itself dies of it with a segmentation fault, wherever it is compiled uninspected."""
    return _rewritten(lambda x: jax.lax.top_k(x, 3)[0].sum() + x, ("k = 3 : i64", 'k = "x"'))


def composite_with_junk() -> bytes:
    return _rewritten(lambda x: jax.lax.top_k(x, 3)[0].sum() + x, ("k = 3 : i64", "j = 3 : i64, k = 3 : i64"))


def endless_loop() -> bytes:
    return _exported(lambda x: jax.lax.while_loop(lambda y: y.sum() < 1, lambda y: y * 1.5, x))


def wrapping_loop() -> bytes:
    """Counts down below its limit by counting up: the counter wraps, and the loop never ends."""
    limit = np.int32(2**31 - 1)
    return _exported(lambda x: jax.lax.while_loop(lambda c: c[0] <= limit, lambda c: (c[0] + 1, c[1] + 1), (0, x))[1])


def false_step() -> bytes:
    """A step of two numbers that together wrap round to nothing."""
    half = jnp.int32(-(2**31))

    def forward(carry):
        return (carry[0] + half + half, carry[1] + 1)

    return _exported(lambda x: jax.lax.while_loop(lambda c: c[0] < 10, forward, (jnp.int32(0), x))[1])


def mixed_signs() -> bytes:
    """A signed counter below a limit that is read as unsigned."""
    return with_text(
        f"""%start = stablehlo.constant dense<0> : tensor<i32> %limit = stablehlo.constant dense<-1> : tensor<i32>
        %one = stablehlo.constant dense<1> : tensor<i32>
        %i, %y = stablehlo.while(%c = %start, %v = %x) : tensor<i32>, {_VECTOR}
        cond {{
          %go = stablehlo.compare LT, %c, %limit, UNSIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
          stablehlo.return %go : tensor<i1>
        }} do {{
          %n = stablehlo.add %c, %one : tensor<i32>
          stablehlo.return %n, %v : tensor<i32>, {_VECTOR}
        }} return %y : {_VECTOR}"""
    )


def call_chain_bomb(links: int = 60) -> bytes:
    """Functions that each call the next one twice: 2^60 additions from a few lines."""
    chain = [
        f"func.func private @f{link}(%x: {_VECTOR}) -> {_VECTOR} {{ "
        f"%a = func.call @f{link + 1}(%x) : ({_VECTOR}) -> {_VECTOR} "
        f"%b = func.call @f{link + 1}(%a) : ({_VECTOR}) -> {_VECTOR} return %b : {_VECTOR} }}"
        for link in range(links)
    ]
    last = (
        f"func.func private @f{links}(%x: {_VECTOR}) -> {_VECTOR} {{ "
        f"%y = stablehlo.add %x, %x : {_VECTOR} return %y : {_VECTOR} }}"
    )
    return with_text(
        f"%y = func.call @f0(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}", functions="\n".join([*chain, last])
    )


def argument_chain_bomb(links: int = 60) -> bytes:
    """The same, where each call passes another number, so that no two are alike."""
    numbers = "tensor<i64>"

    def call(link: int, name: str, factor: str) -> str:
        return (
            f"%{name}n = stablehlo.multiply %n, %{factor} : {numbers} "
            f"%{name}m = stablehlo.add %{name}n, %{factor} : {numbers} "
            f"%{name} = func.call @f{link + 1}(%x, %{name}m) : ({_VECTOR}, {numbers}) -> {_VECTOR} "
        )

    chain = [
        f"func.func private @f{link}(%x: {_VECTOR}, %n: {numbers}) -> {_VECTOR} {{ "
        f"%one = stablehlo.constant dense<1> : {numbers} %two = stablehlo.constant dense<2> : {numbers} "
        f"{call(link, 'a', 'one')} {call(link, 'b', 'two')} return %b : {_VECTOR} }}"
        for link in range(links)
    ]
    last = f"func.func private @f{links}(%x: {_VECTOR}, %n: {numbers}) -> {_VECTOR} {{ return %x : {_VECTOR} }}"
    return with_text(
        f"%n = stablehlo.constant dense<0> : {numbers} "
        f"%y = func.call @f0(%x, %n) : ({_VECTOR}, {numbers}) -> {_VECTOR} return %y : {_VECTOR}",
        functions="\n".join([*chain, last]),
    )


def loop_bomb(loops: int = 8) -> bytes:
    """Loops of a billion rounds within one another."""

    def nested(depth, x):
        return x + 1 if depth == 0 else jax.lax.fori_loop(0, 10**9, lambda _, y: nested(depth - 1, y), x)

    return _exported(lambda x: nested(loops, x))


def self_call() -> bytes:
    return with_text(
        f"%y = func.call @again(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}",
        functions=f"func.func private @again(%x: {_VECTOR}) -> {_VECTOR} {{ "
        f"%y = func.call @again(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR} }}",
    )


def deep_calls(links: int = 2_000) -> bytes:
    """Calls within calls, each harmless, deeper than a stack."""
    chain = [
        f"func.func private @f{link}(%x: {_VECTOR}) -> {_VECTOR} {{ "
        f"%a = func.call @f{link + 1}(%x) : ({_VECTOR}) -> {_VECTOR} return %a : {_VECTOR} }}"
        for link in range(links)
    ]
    last = f"func.func private @f{links}(%x: {_VECTOR}) -> {_VECTOR} {{ return %x : {_VECTOR} }}"
    return with_text(
        f"%y = func.call @f0(%x) : ({_VECTOR}) -> {_VECTOR} return %y : {_VECTOR}", functions="\n".join([*chain, last])
    )


def deep_regions(levels: int = 150) -> bytes:
    """Branches within branches."""
    opening = '"stablehlo.case"(%n) ({'
    inner = f"stablehlo.return %x : {_VECTOR}"
    for level in range(levels):
        name = f"%r{level}"
        inner = f"{name} = {opening} {inner} }}) : (tensor<i32>) -> {_VECTOR} stablehlo.return {name} : {_VECTOR}"
    head, _, _ = inner.rpartition("stablehlo.return")
    return with_text(f"%n = stablehlo.constant dense<0> : tensor<i32> {head} return %r{levels - 1} : {_VECTOR}")


def huge_constant() -> bytes:
    captured = np.arange(5 << 18, dtype=np.float32)
    return _exported(lambda x: x + captured[:8] + captured.sum() + jnp.asarray(captured)[jnp.int32(x[0])])


def huge_memory() -> bytes:
    """A petabyte from a few numbers."""
    return _exported(lambda x: jnp.broadcast_to(x[0], (1 << 24, 1 << 24)).at[jnp.int32(x[1]), 3].set(2.0).sum() + x)


def huge_input() -> bytes:
    return _exported(lambda x: x[:8], jax.ShapeDtypeStruct((1 << 32,), jnp.float32))


def huge_output() -> bytes:
    return _exported(lambda x: jnp.broadcast_to(x, (1 << 24, 8)))


def small_float() -> bytes:
    return _exported(lambda x: x.astype(jnp.float8_e4m3fn).astype(jnp.float32))


def wide_complex() -> bytes:
    return with_text(
        f"""%z = stablehlo.complex %x, %x : tensor<8xcomplex<f32>>
        %w = stablehlo.convert %z : (tensor<8xcomplex<f32>>) -> tensor<8xcomplex<f64>>
        return %x : {_VECTOR}"""
    )


def symbolic_shape() -> bytes:
    (length,) = jax.export.symbolic_shape("n")
    return _exported(lambda x: x + 1, jax.ShapeDtypeStruct((length,), jnp.float32))


def shape_formula() -> bytes:
    """A shape that is a formula of numbers, which jax works out when it reads it."""
    plain = _exported(lambda x: x[:8], jax.ShapeDtypeStruct((1_234_567,), jnp.float32))
    assert b"1234567" in plain, "the frame has another form than this test knows"
    return plain.replace(b"1234567", b"9**9**9")


def tree_bomb(levels: int = 60) -> bytes:
    """A tree whose nodes all have the same child twice: 2^60 leaves in two kilobytes."""
    builder = flatbuffers.Builder(4096)
    schema.PyTreeDefStart(builder)
    schema.PyTreeDefAddKind(builder, schema.PyTreeDefKind.leaf)
    node = schema.PyTreeDefEnd(builder)
    for _ in range(levels):
        schema.PyTreeDefStartChildrenVector(builder, 2)
        builder.PrependUOffsetTRelative(node)
        builder.PrependUOffsetTRelative(node)
        children = builder.EndVector()
        schema.PyTreeDefStart(builder)
        schema.PyTreeDefAddKind(builder, schema.PyTreeDefKind.tuple)
        schema.PyTreeDefAddChildren(builder, children)
        node = schema.PyTreeDefEnd(builder)
    schema.ExportedStart(builder)
    schema.ExportedAddInTree(builder, node)
    schema.ExportedAddOutTree(builder, node)
    schema.ExportedAddNrDevices(builder, 1)
    builder.Finish(schema.ExportedEnd(builder))
    return bytes(builder.Output())


def dynamic_text() -> bytes:
    return with_text(
        f"""%n = stablehlo.constant dense<8> : tensor<1xi32>
        %y = stablehlo.dynamic_iota %n, dim = 0 : (tensor<1xi32>) -> tensor<?xf32> return %x : {_VECTOR}"""
    )


def many_devices() -> bytes:
    """Several devices by its frame."""
    return bytes(dataclasses.replace(jax.export.deserialize(bytearray(honest())), nr_devices=2).serialize())


def two_partitions() -> bytes:
    """Several devices by its text alone."""
    return with_text(f"return %x : {_VECTOR}", attributes="mhlo.num_partitions = 2 : i32, mhlo.num_replicas = 1 : i32")


def sharded_text() -> bytes:
    return with_text(
        f'%y = stablehlo.add %x, %x {{mhlo.sharding = "{{devices=[2]<=[2]}}"}} : {_VECTOR} return %y : {_VECTOR}'
    )


def on_the_host() -> bytes:
    """An attribute by which XLA moves a computation somewhere else."""
    return with_text(
        f'%y = stablehlo.add %x, %x {{mhlo.frontend_attributes = {{_xla_compute_type = "host"}}}} : {_VECTOR} '
        f"return %y : {_VECTOR}"
    )


def without_safety_checks() -> bytes:
    return _exported(lambda x: x + 1, disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("anything")])


def other_platform() -> bytes:
    return _exported(lambda x: x + 1, platforms=("rocm",))


class _Shout(Effect):
    """An effect of no kind that jax knows."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shout)

    def __hash__(self) -> int:
        return 0


def ordered_effect() -> bytes:
    exported = jax.export.deserialize(bytearray(honest()))
    return bytes(dataclasses.replace(exported, ordered_effects=(_Shout(),)).serialize())


def other_inputs_than_said() -> bytes:
    """Its frame speaks of eight numbers, its text takes a billion."""
    return with_module(
        f"""module @m {{ func.func public @main(%x: tensor<1000000000xf32>) -> {_VECTOR} {{
          %y = stablehlo.slice %x [0:8] : (tensor<1000000000xf32>) -> {_VECTOR} return %y : {_VECTOR}
        }} }}"""
    )


def other_outputs_than_said() -> bytes:
    wide = "tensor<1000x8xf32>"
    return with_text(
        f"%y = stablehlo.broadcast_in_dim %x, dims = [1] : ({_VECTOR}) -> {wide} return %y : {wide}", results=wide
    )


def positional() -> bytes:
    """Not a function of shared and row."""
    shape = jax.ShapeDtypeStruct((8,), jnp.float32)
    return bytes(jax.export.export(jax.jit(lambda x: x), platforms=("cpu",))(shape).serialize())


def returns_nothing() -> bytes:
    shape = jax.ShapeDtypeStruct((8,), jnp.float32)
    traced = jax.export.export(jax.jit(lambda shared, row: {}), platforms=("cpu",))
    return bytes(traced({}, {"x": shape}).serialize())


def garbage() -> bytes:
    return bytes(range(256)) * 8


def truncated() -> bytes:
    return honest()[:600]


def swollen() -> bytes:
    return honest() + bytes(9 << 20)


def many_operations(count: int = 60_000) -> bytes:
    lines = [f"%v{index + 1} = stablehlo.add %v{index}, %v{index} : {_VECTOR}" for index in range(count)]
    return with_text("\n".join([f"%v0 = stablehlo.negate %x : {_VECTOR}", *lines, f"return %v{count} : {_VECTOR}"]))


#: Builders, and why each is refused.
REFUSED: Final[dict[Callable[[], bytes], str]] = {
    unknown_custom_call: "custom_call",
    kernel_of_another_world: "custom_call",
    tensorflow_function: "custom_call",
    callback: "callback",
    overflowing_kernel: "custom_call",
    crashing_kernel: "custom_call",
    patient_kernel: "custom_call",
    two_sources_of_settings: "custom_call",
    settings_of_another_form: "custom_call",
    settings_of_the_older_form: "custom_call",
    call_of_another_version: "custom_call",
    wide_setting: "custom_call",
    overflowing_setting: "custom_call",
    unknown_setting: "custom_call",
    missing_setting: "custom_call",
    matrix_by_rows: "custom_call",
    another_alias: "custom_call",
    other_batch: "custom_call",
    call_with_junk: "operation",
    addition_with_junk: "operation",
    addition_with_settings: "operation",
    composite_that_keeps_more: "composite",
    composite_that_crashes: "composite",
    composite_with_junk: "operation",
    all_reduce: "collective",
    outfeed: "io",
    rng: "rng",
    composite: "composite",
    endless_loop: "unbounded_loop",
    wrapping_loop: "unbounded_loop",
    false_step: "unbounded_loop",
    mixed_signs: "unbounded_loop",
    call_chain_bomb: "work",
    argument_chain_bomb: "too_large",
    loop_bomb: "work",
    self_call: "recursion",
    deep_calls: "recursion",
    deep_regions: "recursion",
    huge_constant: "constants",
    huge_memory: "memory",
    huge_input: "inputs",
    huge_output: "outputs",
    small_float: "dtype",
    wide_complex: "dtype",
    symbolic_shape: "dynamic_shape",
    shape_formula: "dynamic_shape",
    tree_bomb: "inputs",
    dynamic_text: "dynamic_shape",
    many_devices: "devices",
    two_partitions: "devices",
    sharded_text: "devices",
    on_the_host: "operation",
    without_safety_checks: "safety_checks",
    other_platform: "platform",
    ordered_effect: "effects",
    other_inputs_than_said: "inputs",
    other_outputs_than_said: "outputs",
    positional: "inputs",
    returns_nothing: "outputs",
    garbage: "unreadable",
    truncated: "unreadable",
    swollen: "too_large",
    many_operations: "too_large",
}


def compile_bomb(links: int = 4_000) -> bytes:
    """A few kilobytes over which XLA thinks for minutes."""
    return _exported(lambda x: jax.lax.fori_loop(0, links, lambda _, y: jnp.sin(y) * y, x, unroll=links))


def folding_bomb() -> bytes:
    """A constant that XLA works out while it compiles: a trillion additions."""
    ones, window = (1 << 12, 1 << 12), (1 << 8, 1 << 8)

    def fold(x):
        return x + jax.lax.reduce_window(jnp.ones(ones), 0.0, jax.lax.add, window, (1, 1), "SAME")[0, :8]

    return _exported(fold)


def deep_chain(links: int = 19_000) -> bytes:
    """Operations one behind the other, which XLA follows recursively: it takes minutes, or ends with its stack."""
    lines = [f"%v{index + 1} = stablehlo.add %v{index}, %v{index} : {_VECTOR}" for index in range(links)]
    start, end = f"%v0 = stablehlo.negate %x : {_VECTOR}", f"return %v{links} : {_VECTOR}"
    return with_text("\n".join([start, *lines, end]))


def memory_bomb(side: int = 300_000) -> bytes:
    """Arrays of some hundred gigabytes, which is within what the market's inspection allows."""

    def sort(x):
        return jnp.sort(jnp.outer(jnp.arange(side) + x[0], jnp.arange(side, dtype=jnp.float32)).ravel())[:8] + x

    return _exported(sort)


def long_loop(rounds: int = 30_000_000) -> bytes:
    """Ends after 10^15 rounds, as it says."""

    def inner(_, x):
        return jax.lax.fori_loop(0, rounds, lambda _, y: jnp.sin(y) + 1, x)

    return _exported(lambda x: jax.lax.fori_loop(0, rounds, inner, x))


#: Builders, and what they exhaust when compiled or run.
ADMITTED: Final[dict[Callable[[], bytes], str]] = {
    compile_bomb: "time to compile",
    folding_bomb: "time to compile",
    deep_chain: "time to compile, or the stack",
    memory_bomb: "memory",
    long_loop: "time to run",
}
