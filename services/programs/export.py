"""A job's program as bytes: exported from a JAX function by the client, loaded again only inside the sandbox.

jax is imported where it is used: the market and the parent of the sandbox need work keys, not jax.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from domain.errors import Refused
from domain.events import Platform

#: ``function(shared, row) -> outputs``, a tree of arrays.
Function = Callable[[dict[str, Any], dict[str, Any]], Any]

PLATFORMS: Final[tuple[Platform, ...]] = ("cpu", "cuda", "tpu")
#: Bytes that an array may have which a function captures instead of taking it as an input.
CAPTURED_BYTES_MAX: Final = 4 << 20
#: Of jaxpr primitives: those that call Python while the program runs.
_CALLBACKS: Final = ("pure_callback", "io_callback", "debug_callback", "debug_print", "outside_call")


class NotExportable(Refused):
    """A function that cannot become a program."""

    template = "the function cannot be exported"


class CallsHost(NotExportable):
    template = "the function calls Python while it runs ({primitive}); leave out callbacks and debug.print"


class HasEffects(NotExportable):
    template = "the function has side effects ({effects}); return what it computes instead"


class ShapeUnknown(NotExportable):
    template = "{where} has shape {shape}, which is not all numbers; export once for each shape"


class TypeUnsupported(NotExportable):
    template = "{where} has type {dtype}, which no blob holds; use one of {allowed}"


class Narrowed(NotExportable):
    template = (
        "{where} has type {dtype}, of which jax keeps only {kept}; pass that, or set jax_enable_x64 before you export"
    )


class NotAnArray(NotExportable):
    template = "{where} is a {kind} and not an array; pass arrays and numbers, and return them"


class CapturesTooMuch(NotExportable):
    template = "the function captures an array of {size} bytes (shape {shape}); pass it as an argument"


class DependsOnValues(NotExportable):
    template = (
        "Python control flow depends on a value that is known only when the program runs; "
        "use jax.lax.cond, jax.lax.while_loop or jnp.where, or name the argument in static_argnames ({reason})"
    )


class Untraceable(NotExportable):
    template = "jax cannot export the function: {reason}"


class Export(NamedTuple):
    """A program, and the true form of its outputs, which the bytes hold with plain tuples for named ones.

    Attributes:
        out_tree: A ``jax.tree_util.PyTreeDef``; see ``trees.from_names``.
        outputs: Shape and type of each leaf.
    """

    program: bytes
    out_tree: Any
    outputs: tuple[Any, ...]


def export_program(
    function: Function,
    shared: Mapping[str, Any] | None,
    row: Mapping[str, Any] | None,
    platforms: Sequence[Platform] = PLATFORMS,
) -> bytes:
    """The program of one task; the same function gives the same bytes in every process, at every path, by every name.

    Args:
        shared: Arrays that every task gets; shapes and types suffice (``jax.ShapeDtypeStruct``).
        row: One task's share of the mapped arrays, without their leading axis.
    Raises:
        NotExportable: It is no pure function of arrays with fixed shapes; the message says what to change.
    """
    return export_with_tree(function, shared, row, platforms).program


def export_with_tree(
    function: Function,
    shared: Mapping[str, Any] | None,
    row: Mapping[str, Any] | None,
    platforms: Sequence[Platform] = PLATFORMS,
) -> Export:
    """As ``export_program``, with the form of the outputs as the function returns them."""
    import jax
    import jax.export

    from services.programs.trees import plain

    trees = []

    def task(shared: dict[str, Any], row: dict[str, Any]) -> Any:
        outputs = function(shared, row)
        _check_outputs(outputs)
        trees.append(jax.tree.structure(outputs))
        return plain(outputs)

    inputs = _shapes("shared", shared), _shapes("row", row)
    try:
        traced = jax.jit(task).trace(*inputs)
        _check_traced(traced)
        exported = jax.export.export(jax.jit(task), platforms=tuple(platforms))(*inputs)
    except NotExportable:
        raise
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.NonConcreteBooleanIndexError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ) as error:
        raise DependsOnValues(reason=_first_line(error)) from error
    except (TypeError, ValueError, OverflowError, NotImplementedError, jax.errors.JAXTypeError) as error:
        raise Untraceable(reason=_first_line(error)) from error
    return Export(_canonical(exported), trees[-1], tuple(exported.out_avals))


def load(program: bytes) -> Any:
    """The ``jax.export.Exported`` in ``program``; a stranger's bytes are opened in the sandbox and nowhere else.

    Raises:
        Exception: Whatever jax raises on bytes that are no program.
    """
    import jax.export

    return jax.export.deserialize(bytearray(program))


def _canonical(exported: Any) -> bytes:
    """The export without a word about its source, and with the version of jax that made it."""
    import jax
    from jax.interpreters import mlir
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import stablehlo

    from services.programs.canonical import canonicalise

    with mlir.make_ir_context():
        module = exported.mlir_module(serialized=False)
        canonicalise(module)
        module.operation.attributes["pasar.jax_version"] = ir.StringAttr.get(jax.__version__)
        month = stablehlo.StablehloCompatibilityRequirement.WEEK_4
        text = stablehlo.serialize_portable_artifact(
            module, stablehlo.get_version_from_compatibility_requirement(month)
        )
    return bytes(dataclasses.replace(exported, mlir_module_serialized=text, fun_name="task").serialize())


def _shapes(where: str, arrays: Mapping[str, Any] | None) -> dict[str, Any]:
    import jax
    import numpy as np

    shaped = {}
    for name, value in (arrays or {}).items():
        if not isinstance(name, str):
            raise NotAnArray(where=f"the name {name!r} in {where}", kind=type(name).__name__)
        if not hasattr(value, "dtype"):
            value = np.asarray(value)
        _check_array(f"{where}[{name!r}]", value)
        kept = jax.dtypes.canonicalize_dtype(value.dtype)
        if kept != value.dtype:
            raise Narrowed(where=f"{where}[{name!r}]", dtype=value.dtype, kept=kept)
        shaped[name] = jax.ShapeDtypeStruct(value.shape, value.dtype)
    return shaped


def _check_array(where: str, value: Any) -> None:
    from services.arrays import DTYPES

    if not all(isinstance(length, int) for length in value.shape):
        raise ShapeUnknown(where=where, shape=value.shape)
    if value.dtype not in DTYPES:
        raise TypeUnsupported(where=where, dtype=value.dtype, allowed=", ".join(str(dtype) for dtype in DTYPES))


def _check_outputs(outputs: Any) -> None:
    import jax
    import jax.numpy as jnp

    leaves = jax.tree_util.tree_leaves_with_path(outputs)
    if not leaves:
        raise NotAnArray(where="the function's result", kind=type(outputs).__name__)
    for path, leaf in leaves:
        where = f"output{jax.tree_util.keystr(path)}"
        if not hasattr(leaf, "dtype"):
            if not isinstance(leaf, bool | int | float | complex):
                raise NotAnArray(where=where, kind=type(leaf).__name__)
            leaf = jnp.asarray(leaf)
        _check_array(where, leaf)


def _check_traced(traced: Any) -> None:
    """Raises:
    NotExportable: What was traced calls Python, has effects or captures large arrays.
    """
    closed = traced.jaxpr
    for equation in _equations(closed.jaxpr):
        if equation.primitive.name in _CALLBACKS:
            raise CallsHost(primitive=equation.primitive.name)
    if closed.effects:
        raise HasEffects(effects=", ".join(sorted(str(effect) for effect in closed.effects)))
    for constants in (closed.consts, *_constants(closed.jaxpr)):
        for array in constants:
            if getattr(array, "nbytes", 0) > CAPTURED_BYTES_MAX:
                raise CapturesTooMuch(size=array.nbytes, shape=array.shape)


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation):
            yield from _equations(getattr(inner, "jaxpr", inner))


def _constants(jaxpr: Any) -> Iterator[Sequence[Any]]:
    for equation in _equations(jaxpr):
        for inner in _inner(equation):
            yield getattr(inner, "consts", ())


def _inner(equation: Any) -> Iterator[Any]:
    """Functions that an equation holds, closed ones or not."""
    for parameter in equation.params.values():
        for value in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield value


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
