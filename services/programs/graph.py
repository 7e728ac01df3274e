"""A program's text as plain values: its functions, their operations, and the size of everything they name.

Reading refuses every operation, type, attribute, constant and call that is not allowed, so that whoever walks the
graph afterwards meets nothing unknown.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from jaxlib.mlir import ir

from services.programs import kernels
from services.programs.operations import ALLOWED, ATTRIBUTES, COMPOSITE_ATTRIBUTES, COMPOSITES, REFUSED
from services.programs.shapes import ELEMENT_BYTES, Shaped
from services.programs.verdict import AdmissionLimits, Inadmissible

#: Axes of an array; as in ``services.arrays``.
AXES_MAX: Final = 32
#: Attributes that say something about a value and nothing about what is computed.
_REMARKS: Final = frozenset({"jax.result_info", "jax.arg_info", "jax.global_constant", "sdy.sharding_rule"})
_FUNCTION_ATTRIBUTES: Final = frozenset(
    {"sym_name", "sym_visibility", "function_type", "arg_attrs", "res_attrs", "no_inline"}
)
_MODULE_ATTRIBUTES: Final = frozenset(
    {"sym_name", "jax.uses_shape_polymorphism", "mhlo.num_partitions", "mhlo.num_replicas", "pasar.jax_version"}
)
#: Says how to spread a call over devices, of which there is one.
_SHARDING_RULE: Final = "sdy.sharding_rule"
_NONE: Final = frozenset[str]()
_ON_DEVICES: Final = ("sdy.", "mhlo.sharding", "mhlo.num_", "mhlo.is_same_data", "mhlo.spmd")


class Operation:
    """One operation.

    Attributes:
        inputs, outputs: Types of ``operands`` and ``results``, which are numbers of values.
        freed_bytes: What is needed no longer once it has run: of values made in its block.
        source: Where further attributes are; valid as long as the module.
    """

    __slots__ = ("freed_bytes", "inputs", "name", "operands", "outputs", "regions", "results", "source")

    def __init__(
        self,
        source: ir.Operation,
        operands: tuple[int, ...],
        inputs: tuple[Shaped, ...],
        results: tuple[int, ...],
        outputs: tuple[Shaped, ...],
        regions: "tuple[Block, ...]",
    ) -> None:
        self.name: str = source.name
        self.source = source
        self.operands, self.inputs = operands, inputs
        self.results, self.outputs = results, outputs
        self.regions = regions
        self.freed_bytes = 0

    @property
    def callee(self) -> str:
        """Function that a call or composite stands for."""
        name = "callee" if self.name == "func.call" else "decomposition"
        return str(ir.FlatSymbolRefAttr(self.source.attributes[name]).value)

    def kernel_call(self) -> kernels.Call:
        """What a custom call says."""
        said = {name: self.text(name) for name in map(str, self.source.attributes)}
        target = ir.StringAttr(self.source.attributes["call_target_name"]).value
        return kernels.Call(target, self.inputs, self.outputs, said)

    def text(self, name: str) -> str:
        """An attribute as MLIR writes it, empty if it has none of this name."""
        return str(self.source.attributes[name]) if name in self.source.attributes else ""


class Block(NamedTuple):
    """Operations in order, the last of which hands values out."""

    arguments: tuple[int, ...]
    types: tuple[Shaped, ...]
    operations: tuple[Operation, ...]


class Graph(NamedTuple):
    """A whole program.

    Attributes:
        jax_version: Of the exporter, empty if not said.
    """

    functions: dict[str, Block]
    jax_version: str


def read(module: ir.Module, limits: AdmissionLimits) -> Graph:
    """The program's graph.

    Raises:
        Inadmissible: The text holds anything that is not allowed, or too much.
    """
    return _Reader(limits).module(module)


class _Reader:
    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._left = limits.operations
        self._constant_bytes = 0
        self._numbers: dict[ir.Value[Any], int] = {}
        self._types: dict[ir.Type, Shaped] = {}

    def module(self, module: ir.Module) -> Graph:
        attributes = module.operation.attributes
        for name in attributes:
            if name not in _MODULE_ATTRIBUTES:
                raise _attribute("the module", name)
        for name in ("mhlo.num_partitions", "mhlo.num_replicas"):
            if name in attributes and str(attributes[name]) != "1 : i32":
                raise Inadmissible("devices", "a task runs on one device; export without a mesh")
        functions: dict[str, Block] = {}
        for function in module.body.operations:
            source = function.operation
            if source.name != "func.func":
                raise _operation(source.name)
            functions[ir.StringAttr(source.attributes["sym_name"]).value] = self._function(source)
        if "main" not in functions:
            raise Inadmissible("unreadable", "it has no function main; make it with export_program")
        version = ir.StringAttr(attributes["pasar.jax_version"]).value if "pasar.jax_version" in attributes else ""
        return Graph(functions, version)

    def _function(self, source: ir.Operation) -> Block:
        for name in source.attributes:
            if name not in _FUNCTION_ATTRIBUTES:
                raise _attribute("a function", name)
        for name in ("arg_attrs", "res_attrs"):
            if name in source.attributes:
                for remarks in ir.ArrayAttr(source.attributes[name]):
                    for remark in entries(remarks):
                        if remark.name not in _REMARKS:
                            raise _attribute("an argument or result", remark.name)
        return self._region(source.regions[0], 0)[0]

    def _region(self, region: ir.Region, depth: int) -> tuple[Block, set[int]]:
        """The region's only block, and the values that it takes from around it."""
        if depth > self._limits.depth:
            raise Inadmissible("recursion", f"loops and branches are nested more than {self._limits.depth} deep")
        blocks = list(region.blocks)
        if len(blocks) != 1:
            raise Inadmissible("operation", "a function or loop has more than one block; use jax.lax's control flow")
        (block,) = blocks
        arguments = tuple(self._number(value) for value in block.arguments)
        types = tuple(self._type(value.type) for value in block.arguments)
        operations: list[Operation] = []
        used: list[set[int]] = []
        for view in block.operations:
            operation, uses = self._operation(view.operation, depth)
            operations.append(operation)
            used.append(uses)
        made: dict[int, int] = {}
        for operation in operations:
            made.update(zip(operation.results, (shaped.bytes for shaped in operation.outputs), strict=True))
        seen: set[int] = set()
        for operation, uses in zip(reversed(operations), reversed(used), strict=True):
            ending = (uses | set(operation.results)) - seen
            operation.freed_bytes = sum(made.get(value, 0) for value in ending)
            seen |= uses
        return Block(arguments, types, tuple(operations)), seen - made.keys() - set(arguments)

    def _operation(self, source: ir.Operation, depth: int) -> tuple[Operation, set[int]]:
        self._left -= 1
        if self._left < 0:
            raise Inadmissible(
                "too_large", f"more than {self._limits.operations} operations; write loops with jax.lax.scan"
            )
        name: str = source.name
        if name not in ALLOWED:
            raise _operation(name)
        self._check_attributes(source)
        if name == "stablehlo.constant":
            self._constant(source)
        operands = tuple(self._number(value) for value in source.operands)
        inputs = tuple(self._type(value.type) for value in source.operands)
        outputs = tuple(self._type(value.type) for value in source.results)
        results = tuple(self._number(value) for value in source.results)
        uses, regions = set(operands), []
        for region in source.regions:
            block, captured = self._region(region, depth + 1)
            regions.append(block)
            uses |= captured
        operation = Operation(source, operands, inputs, results, outputs, tuple(regions))
        if name == "stablehlo.custom_call":
            call = operation.kernel_call()
            if wrong := kernels.check(call):
                raise Inadmissible("custom_call", f"its call of {call.kernel} has {wrong}; use jax.numpy.linalg")
        return operation, uses

    def _check_attributes(self, source: ir.Operation) -> None:
        name: str = source.name
        allowed = ATTRIBUTES.get(name, _NONE)
        if name == "stablehlo.custom_call":
            _check_kernel(source)
            allowed = kernels.ATTRIBUTES | {_SHARDING_RULE}
        elif name == "stablehlo.composite":
            _check_composite(source)
        for attribute in map(str, source.attributes):
            if attribute not in allowed:
                raise _attribute(name, attribute)

    def _constant(self, source: ir.Operation) -> None:
        shaped = self._type(source.results[0].type)
        try:
            value = source.attributes["value"]
        except TypeError:  # the bindings have no class for complex elements
            repeated = "dense<(" in str(source.get_asm(large_elements_limit=1))
        else:
            if not isinstance(value, ir.DenseElementsAttr):
                raise Inadmissible("constants", f"a constant of type {shaped.dtype} is no array; pass it as an input")
            repeated = value.is_splat
        self._constant_bytes += ELEMENT_BYTES[shaped.dtype] if repeated else shaped.bytes
        if self._constant_bytes > self._limits.constant_bytes:
            raise Inadmissible(
                "constants",
                f"its constants take more than {self._limits.constant_bytes} bytes; "
                "pass arrays as inputs instead of capturing them",
            )

    def _number(self, value: ir.Value[Any]) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    def _type(self, kind: ir.Type) -> Shaped:
        shaped = self._types.get(kind)
        if shaped is None:
            shaped = self._types[kind] = _shaped(kind)
        return shaped


def _shaped(kind: ir.Type) -> Shaped:
    text = str(kind)
    if not isinstance(kind, ir.RankedTensorType):
        if "token" in text:
            raise Inadmissible("effects", "it orders side effects by tokens; leave out what prints or calls the host")
        raise Inadmissible("dtype", f"values of type {text[:80]}; use arrays")
    tensor = ir.RankedTensorType(kind)
    if not tensor.has_static_shape:
        raise Inadmissible("dynamic_shape", f"an array of type {text[:80]}; export with shapes that are numbers")
    if tensor.encoding is not None:
        raise Inadmissible("dtype", f"an array of type {text[:80]}; export without layouts or bounds")
    dtype = str(tensor.element_type)
    if dtype not in ELEMENT_BYTES:
        raise Inadmissible("dtype", f"elements of type {dtype[:80]}; use {', '.join(ELEMENT_BYTES)}")
    shape = tuple(tensor.shape)
    if len(shape) > AXES_MAX:
        raise Inadmissible("dtype", f"an array of {len(shape)} axes; use at most {AXES_MAX}")
    return Shaped(shape, dtype)


def _check_kernel(source: ir.Operation) -> None:
    kernel = ir.StringAttr(source.attributes["call_target_name"]).value
    if "callback" in kernel:
        raise Inadmissible("callback", f"it calls back into the host by {kernel[:80]}; compute everything in jax")
    if kernel not in kernels.ROUTINES:
        raise Inadmissible("custom_call", f"it calls {kernel[:80]}, which no worker offers; use jax.numpy's operations")
    if "has_side_effect" in source.attributes and ir.BoolAttr(source.attributes["has_side_effect"]).value:
        raise Inadmissible("effects", f"its call of {kernel} claims a side effect; leave it out")


def _check_composite(source: ir.Operation) -> None:
    composite = ir.StringAttr(source.attributes["name"]).value
    if composite not in COMPOSITES:
        raise Inadmissible("composite", f"{composite[:80]} is no function that is known here; write it out")
    if "composite_attributes" in source.attributes:
        for one in entries(source.attributes["composite_attributes"]):
            if one.name not in COMPOSITE_ATTRIBUTES.get(composite, {}):
                raise _attribute(composite, one.name)
            if not re.fullmatch(COMPOSITE_ATTRIBUTES[composite][one.name], str(one.attr)):
                raise Inadmissible("composite", f"{composite} has {one.name} = {str(one.attr)[:80]}; use jax's own")
    if composite == "chlo.top_k":
        kept = ir.RankedTensorType(source.results[0].type).shape[-1]
        if str(ir.DictAttr(source.attributes["composite_attributes"])) != f"{{k = {kept} : i64}}":
            raise Inadmissible("composite", f"{composite} keeps other than its result's {kept}; use jax.lax.top_k")


def entries(dictionary: ir.Attribute) -> Iterator[ir.NamedAttribute]:
    """What a dictionary attribute holds; its class says nothing about being iterable, and is."""
    held: Any = ir.DictAttr(dictionary)
    yield from held


def _operation(name: str) -> Inadmissible:
    if name.startswith("sdy."):
        return Inadmissible("devices", f"{name} spreads it over devices; export without a mesh")
    reason, remedy = REFUSED.get(name, ("operation", "no worker runs it; use jax.numpy's operations"))
    return Inadmissible(reason, f"it holds {name[:80]}; {remedy}")


def _attribute(where: str, name: str) -> Inadmissible:
    if name.startswith(_ON_DEVICES):
        return Inadmissible("devices", f"{where} carries {name[:80]}; export without a mesh or shardings")
    return Inadmissible("operation", f"{where} carries the attribute {name[:80]!r}; export without it")
