"""What is known of a program's scalars without running it, as far as it takes to count loops.

A loop is counted if its text shows a counter: a whole number that starts known, grows by a known step in each round,
and is compared with a known number by the loop's condition, alone or together with others by ``and``. That is what
``jax.lax.scan``, ``fori_loop`` and ``bounded.loop_bound`` write.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from jaxlib.mlir import ir

from services.programs.graph import Operation
from services.programs.shapes import Shaped


class Counter(NamedTuple):
    """Argument ``slot`` of the loop at nesting level ``level``, plus ``offset``."""

    level: int
    slot: int
    offset: int


class Bound(NamedTuple):
    """A loop goes on only while ``counter`` is below ``limit``, or above it."""

    counter: Counter
    above: bool
    limit: int


#: A number, a loop's counter, what a condition demands, or nothing.
Known = int | Counter | frozenset[Bound] | None

_RANGES: Final = {
    **{f"i{bits}": range(-(1 << bits - 1), 1 << bits - 1) for bits in (8, 16, 32, 64)},
    **{f"ui{bits}": range(1 << bits) for bits in (8, 16, 32, 64)},
}
WHOLE: Final = frozenset(_RANGES)
_SAME: Final = frozenset({"stablehlo.reshape", "stablehlo.broadcast_in_dim", "stablehlo.optimization_barrier"})
_MIRRORED: Final = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE"}


def result(operation: Operation, operands: Sequence[Known]) -> tuple[Known, ...]:
    """What is known of the results of an operation without regions or callee."""
    outputs = operation.outputs
    if operation.name == "stablehlo.optimization_barrier":
        return tuple(operands)
    if len(outputs) != 1 or outputs[0].shape:
        return (None,) * len(outputs)
    (output,) = outputs
    if operation.name == "stablehlo.constant":
        return (_constant(operation, output),)
    if operation.name in _SAME:
        return (operands[0],)
    if operation.name == "stablehlo.convert":
        return (_converted(operands[0], operation.inputs[0], output),)
    if len(operands) != 2:
        return (None,)
    left, right = operands
    if operation.name == "stablehlo.and":
        if not (isinstance(left, frozenset) or isinstance(right, frozenset)):
            return (None,)
        return (_bounds(left) | _bounds(right),)
    if operation.name == "stablehlo.compare":
        return (_compare(operation, left, right),)
    return (_fitting(_combine(operation.name, left, right), output),)


def trips(bounds: Known, starts: Sequence[Known], ends: Sequence[Known], level: int, types: Sequence[Shaped]) -> int:
    """How often a loop goes round at most; -1 if its text does not say.

    Args:
        bounds: What is known of its condition.
        starts, ends: Of its arguments before the loop, and after one round of it.
    """
    found = (_trips(bound, starts, ends, types) for bound in _bounds(bounds) if bound.counter.level == level)
    return min((count for count in found if count >= 0), default=-1)


def _trips(bound: Bound, starts: Sequence[Known], ends: Sequence[Known], types: Sequence[Shaped]) -> int:
    level, slot, offset = bound.counter
    start, end = starts[slot], ends[slot]
    if not isinstance(start, int) or not isinstance(end, Counter) or (end.level, end.slot) != (level, slot):
        return -1
    sign = -1 if bound.above else 1
    step, distance = sign * end.offset, sign * (bound.limit - (start + offset))
    if distance <= 0:
        count = 0
    elif step > 0:
        count = -(-distance // step)
    else:
        return -1
    last = start + count * end.offset
    # A counter that leaves the range of its type starts again at its other end, and the loop never ends.
    fits = _RANGES[types[slot].dtype]
    return count if all(value in fits for value in (last, start + offset, last + offset)) else -1


def _bounds(known: Known) -> frozenset[Bound]:
    return known if isinstance(known, frozenset) else frozenset()


def _constant(operation: Operation, output: Shaped) -> Known:
    if output.dtype not in _RANGES and output.dtype != "i1":
        return None
    value = ir.DenseIntElementsAttr(operation.source.attributes["value"])
    return int(value[0])


def _fitting(known: Known, output: Shaped) -> Known:
    """A number that its type cannot hold is not known; a counter is checked where it is compared."""
    if isinstance(known, int):
        return known if output.dtype in _RANGES and known in _RANGES[output.dtype] else None
    if isinstance(known, Counter):
        return known if output.dtype in _RANGES else None
    return None


def _converted(known: Known, source: Shaped, output: Shaped) -> Known:
    if isinstance(known, Counter):
        before, after = _RANGES[source.dtype], _RANGES.get(output.dtype, range(0))
        return known if before[0] in after and before[-1] in after else None
    if isinstance(known, frozenset):
        return known if output.dtype == "i1" else None
    return _fitting(known, output)


def _combine(name: str, left: Known, right: Known) -> Known:
    if isinstance(left, int) and isinstance(right, Counter):
        if name == "stablehlo.add":
            return right._replace(offset=right.offset + left)
        return None
    if not isinstance(right, int):
        return None
    if isinstance(left, Counter):
        if name == "stablehlo.add":
            return left._replace(offset=left.offset + right)
        return left._replace(offset=left.offset - right) if name == "stablehlo.subtract" else None
    if not isinstance(left, int):
        return None
    match name:
        case "stablehlo.add":
            return left + right
        case "stablehlo.subtract":
            return left - right
        case "stablehlo.multiply":
            return left * right
        case "stablehlo.minimum":
            return min(left, right)
        case "stablehlo.maximum":
            return max(left, right)
    return None


def _compare(operation: Operation, left: Known, right: Known) -> Known:
    dtype, kind = operation.inputs[0].dtype, _word(operation.text("compare_type"))
    word = _word(operation.text("comparison_direction"))
    if dtype == "i1" and word == "NE" and right == 0:  # how jax reads a condition as a truth value
        return left
    if dtype not in _RANGES or kind not in ("", "NOTYPE", "UNSIGNED" if dtype.startswith("u") else "SIGNED"):
        return None
    if isinstance(right, Counter) and isinstance(left, int):
        left, right, word = right, left, _MIRRORED.get(word, "")
    if not isinstance(left, Counter) or not isinstance(right, int):
        return None
    match word:
        case "LT":
            return frozenset({Bound(left, False, right)})
        case "LE":
            return frozenset({Bound(left, False, right + 1)})
        case "GT":
            return frozenset({Bound(left, True, right)})
        case "GE":
            return frozenset({Bound(left, True, right - 1)})
    return None


def _word(attribute: str) -> str:
    """``LT`` of ``#stablehlo<comparison_direction LT>``."""
    return attribute.removesuffix(">").rpartition(" ")[2]
