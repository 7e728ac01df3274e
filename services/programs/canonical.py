"""One text and one name for equal programs.

The text that jax writes names things after the source: where each operation stood, what helpers and arguments were
called. Here all of that is dropped or numbered, so that moving, renaming or reformatting a function changes nothing.
What remains decides what is computed; its SHA-256 is the program's identity, which anybody recomputes from the blob.

The text is written by the MLIR of one jaxlib. Another version may write it otherwise, and then give other identities
to the same programs; pinned by ``tests/unit/test_identity.py``.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from jaxlib.mlir import ir, passmanager

from services.programs.graph import entries

VERSION: Final = "pasar/program/1"
_REMARKS: Final = frozenset({"jax.result_info", "jax.arg_info"})
_CALLS: Final = {"func.call": "callee", "stablehlo.composite": "decomposition"}


def canonicalise(module: ir.Module) -> None:
    """Drop or number, in place, all that a module says about its source. The context must be entered."""
    passmanager.PassManager.parse("builtin.module(strip-debuginfo)").run(module.operation)
    module.operation.attributes["sym_name"] = ir.StringAttr.get("program")
    functions = [function.operation for function in module.body.operations]
    names: dict[str, str] = {}
    for function in functions:
        old = ir.StringAttr(function.attributes["sym_name"]).value
        names[old] = old if old == "main" else f"f{len(names)}"
    for function in functions:
        function.attributes["sym_name"] = ir.StringAttr.get(names[ir.StringAttr(function.attributes["sym_name"]).value])
        for attribute in ("arg_attrs", "res_attrs"):
            _drop_remarks(function, attribute)
        for operation in _all(function):
            if operation.name in _CALLS:
                attribute = _CALLS[operation.name]
                called = ir.FlatSymbolRefAttr(operation.attributes[attribute]).value
                operation.attributes[attribute] = ir.FlatSymbolRefAttr.get(names[called])
            elif "sdy.sharding_rule" in operation.attributes:  # how to spread it over devices, of which there is one
                del operation.attributes["sdy.sharding_rule"]


def identity(exported: Any, module: ir.Module) -> str:
    """64 hex digits of an export whose module is canonical: equal if and only if the programs are written equally.

    Args:
        exported: The ``jax.export.Exported``.
    """
    parts = [
        VERSION,
        f"platforms {','.join(exported.platforms)}",
        f"convention {exported.calling_convention_version} {exported.uses_global_constants}",
        f"kept {','.join(map(str, exported.module_kept_var_idx))}",
        f"in {tree(exported.in_tree)} {_shapes(exported.in_avals)}",
        f"out {tree(exported.out_tree)} {_shapes(exported.out_avals)}",
        str(module.operation.get_asm(enable_debug_info=False, print_generic_op_form=True)),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def tree(definition: Any) -> str:
    """A tree of tuples, lists and dicts as text; each leaf is a ``*``."""
    node = definition.node_data()
    if node is None:
        return "*"
    kind, data = node
    children = [tree(child) for child in definition.children()]
    if kind is dict:
        children = [f"{key!r}:{child}" for key, child in zip(data, children, strict=True)]
    return f"{kind.__name__}({','.join(children)})"


def _shapes(avals: Any) -> str:
    return " ".join(f"{aval.dtype.name}{list(aval.shape)}" for aval in avals)


def _drop_remarks(function: ir.Operation, attribute: str) -> None:
    if attribute not in function.attributes:
        return
    kept = [
        ir.DictAttr.get({remark.name: remark.attr for remark in entries(remarks) if remark.name not in _REMARKS})
        for remarks in ir.ArrayAttr(function.attributes[attribute])
    ]
    if any(len(remarks) for remarks in kept):
        function.attributes[attribute] = ir.ArrayAttr.get(kept)
    else:
        del function.attributes[attribute]


def _all(operation: ir.Operation) -> Iterator[ir.Operation]:
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from _all(inner.operation)
