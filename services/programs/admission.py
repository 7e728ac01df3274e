"""Whether a stranger's program may run at all, and what one run of it takes: a pure function of its bytes.

The bytes are opened by jax's and MLIR's own readers, which trust them: call ``inspect`` in a process that may die.
Importing this module loads jax; ``verdict`` does not.
"""

from typing import Any, Final

import jax
import jax.export
from jax.interpreters import mlir

from domain.events import Platform
from domain.meter import Meter
from services.programs import graph, header, metering
from services.programs.canonical import canonicalise, identity
from services.programs.export import PLATFORMS
from services.programs.graph import Graph
from services.programs.shapes import Shaped
from services.programs.verdict import DEFAULT, AdmissionLimits, Inadmissible, Inspection, Reason

__all__ = ["DEFAULT", "AdmissionLimits", "Inadmissible", "Inspection", "Reason", "inspect"]

#: What MLIR calls the types that numpy knows by these names.
_DTYPES: Final = {
    "bool": "i1",
    "complex64": "complex<f32>",
    "bfloat16": "bf16",
    **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"ui{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"f{bits}" for bits in (16, 32, 64)},
}
_UNREADABLE: Final = "its text is no StableHLO that this version reads; export it with the market's range of jax"


def inspect(program: bytes, limits: AdmissionLimits = DEFAULT) -> Inspection:
    """Admit a program, from its bytes alone; the same bytes give the same answer everywhere.

    Raises:
        Inadmissible: It may not run, for the reason named.
    """
    if len(program) > limits.program_bytes:
        raise Inadmissible(
            "too_large",
            f"{len(program)} bytes, allowed are {limits.program_bytes}; pass arrays as inputs",
        )
    header.check(program, limits)
    try:
        exported = jax.export.deserialize(bytearray(program))
    except Exception as error:  # jax raises whatever it likes on bytes that it did not write
        raise Inadmissible("unreadable", "its bytes are no export of jax; make it with export_program") from error
    platforms = _platforms(exported)
    input_bytes = _checked(exported.in_avals, "inputs", limits.input_bytes)
    output_bytes = _checked(exported.out_avals, "outputs", limits.output_bytes)
    _check_trees(exported)
    with mlir.make_ir_context():
        try:
            module = exported.mlir_module(serialized=False)
            read = graph.read(module, limits)
            _check_calling(exported, read)
            cost = metering.count(read, limits)
            canonicalise(module)
            name = identity(exported, module)
        except Inadmissible:
            raise
        except (
            Exception
        ) as error:  # text that MLIR takes and StableHLO does not mean: attributes missing or of no sense
            raise Inadmissible("unreadable", _UNREADABLE) from error
    memory_bytes = cost.memory_bytes + input_bytes
    if memory_bytes > limits.memory_bytes:
        raise Inadmissible(
            "memory", f"it needs {memory_bytes} bytes, allowed are {limits.memory_bytes}; make it smaller"
        )
    meter = Meter(
        flops=cost.flops,
        transcendentals=cost.transcendentals,
        bytes_moved=cost.bytes_moved,
        memory_bytes=memory_bytes,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
    )
    return Inspection(name, meter, platforms, read.jax_version)


def _platforms(exported: Any) -> tuple[Platform, ...]:
    found = tuple(platform for platform in PLATFORMS if platform in exported.platforms)
    if not found or len(found) != len(exported.platforms):
        named = ", ".join(exported.platforms)[:80] or "none"
        raise Inadmissible("platform", f"it is exported for {named}; choose among {', '.join(PLATFORMS)}, each once")
    return found


def _checked(avals: Any, reason: Reason, bytes_max: int) -> int:
    """Bytes of the arrays, none of which is of a type or size that no blob holds."""
    total = 0
    for aval in avals:
        if aval.dtype.name not in _DTYPES:
            raise Inadmissible("dtype", f"{reason} of type {aval.dtype.name}; use {', '.join(_DTYPES)}")
        total += _shaped(aval).bytes
    if total > bytes_max:
        raise Inadmissible(
            reason, f"{total} bytes of {reason}, allowed are {bytes_max}; split the work into more tasks"
        )
    return total


def _check_trees(exported: Any) -> None:
    """A program is called as ``task(shared, row)``, both of them arrays by name, and returns at least one array."""
    form = "(shared, row)"
    try:
        leaves = jax.tree.unflatten(exported.in_tree, range(len(exported.in_avals)))
        (shared, row), named = leaves
    except (ValueError, TypeError) as error:
        raise Inadmissible("inputs", f"it takes other arguments than {form}; make it with export_program") from error
    for arrays in (shared, row):
        if not isinstance(arrays, dict) or not all(isinstance(array, int) for array in arrays.values()):
            raise Inadmissible("inputs", f"its arguments {form} are not dicts of arrays; make it with export_program")
    if named:
        raise Inadmissible("inputs", f"it takes arguments by keyword beside {form}; make it with export_program")
    if exported.out_tree.num_leaves != len(exported.out_avals) or not exported.out_avals:
        raise Inadmissible("outputs", "it returns no arrays, or others than it says; return what it computes")


def _check_calling(exported: Any, read: Graph) -> None:
    """What is called is what was described: the platform's number if there are several, then the inputs it uses."""
    main = read.functions["main"]
    kept = exported.module_kept_var_idx
    fits = list(kept) == sorted({*kept}) and all(index < len(exported.in_avals) for index in kept)
    inputs = [_shaped(exported.in_avals[index]) for index in kept] if fits else []
    numbers = [[]] if len(exported.platforms) == 1 else [[Shaped((), "i32")], [Shaped((), "i64")], []]
    outputs = tuple(_shaped(aval) for aval in exported.out_avals)
    if not fits or list(main.types) not in [number + inputs for number in numbers]:
        raise Inadmissible("inputs", "its text takes other arrays than it says; make it with export_program")
    if main.operations[-1].inputs != outputs:
        raise Inadmissible("outputs", "its text returns other arrays than it says; make it with export_program")


def _shaped(aval: Any) -> Shaped:
    return Shaped(tuple(aval.shape), _DTYPES[aval.dtype.name])
