"""What one run of a program takes, counted by walking its text.

Loops count as often as they go round, branches as their dearest one, calls as what they call; each function is walked
once for every combination of known scalars that it is called with, so that chains of calls which double at each link
stay cheap to count. Whole numbers throughout: the same text gives the same counts on every machine.

Memory is the most that is alive between any two operations, as if every operation wrote an array of its own; fusing
only makes it less. Sources: G. Golub, C. Van Loan, Matrix Computations, 4th edition, for the factorisations;
J. Cooley, J. Tukey, 1965, for 5 n log2 n.
"""

import math
import re
from typing import Final, NamedTuple

from services.programs import copies, kernels, scalars
from services.programs.graph import Block, Graph, Operation
from services.programs.operations import (
    ARITHMETIC,
    COMPLEX,
    FILLING,
    FREE,
    MOVING,
    PICKING,
    TRANSCENDENTAL,
)
from services.programs.scalars import Counter, Known
from services.programs.shapes import Shaped
from services.programs.verdict import AdmissionLimits, Inadmissible

#: Operations that a compiler's own form of a composite takes for each element; XLA's of the error function has so many.
POLYNOMIAL: Final = 32


class Cost(NamedTuple):
    """Of a part of a program.

    Attributes:
        memory_bytes: Most that is alive at a time of what the part itself makes.
    """

    flops: int = 0
    transcendentals: int = 0
    bytes_moved: int = 0
    memory_bytes: int = 0

    def times(self, count: int) -> "Cost":
        """This part run so often, one run after the other."""
        return Cost(self.flops * count, self.transcendentals * count, self.bytes_moved * count, self.memory_bytes)

    def then(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
            self.bytes_moved + other.bytes_moved,
            max(self.memory_bytes, other.memory_bytes),
        )


class _Walked(NamedTuple):
    cost: Cost
    results: tuple[Known, ...]


_Facts = dict[int, Known]
#: Calls that are being walked, by function and known arguments.
_UNDER_WAY: Final = _Walked(Cost(), ())


def count(graph: Graph, limits: AdmissionLimits) -> Cost:
    """The cost of one run of the program's main function, its arguments not among the memory.

    Raises:
        Inadmissible: It has a loop without end in sight, calls itself, or takes more than the limits.
    """
    walker = _Walker(graph, limits)
    main = graph.functions["main"]
    return walker.function("main", (None,) * len(main.arguments), 0, 0).cost


class _Walker:
    def __init__(self, graph: Graph, limits: AdmissionLimits) -> None:
        self._graph, self._limits = graph, limits
        self._visits = limits.visits
        self._copies = copies.count(graph)
        self._walked: dict[tuple[str, tuple[Known, ...], int], _Walked] = {}

    def function(self, name: str, arguments: tuple[Known, ...], depth: int, level: int) -> _Walked:
        if depth > self._limits.depth:
            raise Inadmissible("recursion", f"calls and loops are nested more than {self._limits.depth} deep")
        # Levels matter only to a function that is handed a counter of a loop around it.
        level = level if any(isinstance(known, Counter | frozenset) for known in arguments) else 0
        key = (name, arguments, level)
        walked = self._walked.get(key)
        if walked is _UNDER_WAY:
            raise Inadmissible("recursion", f"function {name[:80]} calls itself; use jax.lax's loops")
        if walked is None:
            self._walked[key] = _UNDER_WAY
            block = self._graph.functions[name]
            walked = self._block(block, dict(zip(block.arguments, arguments, strict=True)), depth, level)
            self._walked[key] = walked
        return walked

    def _block(self, block: Block, facts: _Facts, depth: int, level: int) -> _Walked:
        flops = transcendentals = bytes_moved = live = peak = 0
        for operation in block.operations:
            self._visits -= 1
            if self._visits < 0:
                raise Inadmissible("too_large", "its functions are called in too many ways; write loops with lax.scan")
            cost, results = self._operation(operation, facts, depth, level)
            facts.update(zip(operation.results, results, strict=True))
            flops += cost.flops
            transcendentals += cost.transcendentals
            bytes_moved += cost.bytes_moved + self._copies.get(operation, 0)
            made = _bytes(operation.outputs)
            peak = max(peak, live + max(made, cost.memory_bytes))
            live += made - operation.freed_bytes
        total = Cost(flops, transcendentals, bytes_moved, peak)
        self._check(total)
        return _Walked(total, tuple(facts[value] for value in block.operations[-1].operands))

    def _check(self, cost: Cost) -> None:
        most = max(cost.flops, cost.transcendentals, cost.bytes_moved)
        if most > self._limits.work:
            raise Inadmissible(
                "work", f"one run takes more than {self._limits.work:.0e} operations or bytes; split it into tasks"
            )
        if cost.memory_bytes > self._limits.memory_bytes:
            raise Inadmissible(
                "memory",
                f"its arrays take {cost.memory_bytes} bytes at a time, allowed are {self._limits.memory_bytes}; "
                "work on smaller parts with lax.map or lax.scan",
            )

    def _operation(self, operation: Operation, facts: _Facts, depth: int, level: int) -> _Walked:
        name = operation.name
        known = tuple(facts[value] for value in operation.operands)
        if name == "func.call":
            return self.function(operation.callee, known, depth + 1, level)
        if name == "stablehlo.while":
            return self._while(operation, known, facts, depth + 1, level + 1)
        if name in ("stablehlo.case", "stablehlo.if"):
            return self._branches(operation, facts, depth + 1, level)
        if name == "stablehlo.composite":
            told = self.function(operation.callee, known, depth + 1, level).cost
            cost = Cost(*map(max, told, _by_name(operation)))
            return _Walked(cost, (None,) * len(operation.results))
        if operation.regions:
            return _Walked(self._repeated(operation, facts, depth + 1, level), (None,) * len(operation.results))
        return _Walked(_plain(operation), scalars.result(operation, known))

    def _while(self, operation: Operation, starts: tuple[Known, ...], facts: _Facts, depth: int, level: int) -> _Walked:
        self._nested(depth)
        condition, body = operation.regions
        passed_on = body.operations[-1].operands
        inside: list[Known] = []
        for index, start in enumerate(starts):
            constant = passed_on[index] == body.arguments[index] and isinstance(start, int)
            shaped = operation.inputs[index]
            counts = not shaped.shape and shaped.dtype in scalars.WHOLE
            inside.append(start if constant else Counter(level, index, 0) if counts else None)
        facts.update(zip(condition.arguments, inside, strict=True))
        asked = self._block(condition, facts, depth, level)
        facts.update(zip(body.arguments, inside, strict=True))
        round_ = self._block(body, facts, depth, level)
        trips = scalars.trips(asked.results[0], starts, round_.results, level, operation.inputs)
        if trips < 0:
            raise Inadmissible(
                "unbounded_loop",
                "nothing in its text says how often a while loop goes round at most; use lax.scan or fori_loop with "
                "fixed bounds, or wrap the function in loop_bound(trips); some of jax.numpy.linalg has such "
                "loops on tpu only: export it for cpu and cuda",
            )
        cost = asked.cost.then(round_.cost).times(trips).then(asked.cost)
        cost = cost._replace(memory_bytes=_bytes(operation.outputs) + cost.memory_bytes)
        self._check(cost)
        results = tuple(start if known is start else None for start, known in zip(starts, inside, strict=True))
        return _Walked(cost, results)

    def _branches(self, operation: Operation, facts: _Facts, depth: int, level: int) -> _Walked:
        self._nested(depth)
        walked = [self._block(region, facts, depth, level) for region in operation.regions]
        cost = Cost(*(max(counts) for counts in zip(*(branch.cost for branch in walked), strict=True)))
        first = walked[0].results
        same = all(branch.results == first for branch in walked)
        return _Walked(cost, first if same else (None,) * len(first))

    def _repeated(self, operation: Operation, facts: _Facts, depth: int, level: int) -> Cost:
        """An operation that applies functions of scalars to many elements."""
        self._nested(depth)
        costs = []
        for region in operation.regions:
            facts.update(dict.fromkeys(region.arguments))
            costs.append(self._block(region, facts, depth, level).cost)
        total = Cost()
        for cost, times in zip(costs, _applications(operation), strict=True):
            total = total.then(Cost(cost.flops, cost.transcendentals).times(times))
        moved = _bytes(operation.inputs) + _bytes(operation.outputs)
        if operation.name == "stablehlo.scatter":
            arrays = len(operation.results)
            moved = 2 * _bytes(operation.inputs[arrays + 1 :]) + operation.inputs[arrays].bytes
        return total._replace(bytes_moved=moved)

    def _nested(self, depth: int) -> None:
        if depth > self._limits.depth:
            raise Inadmissible("recursion", f"calls and loops are nested more than {self._limits.depth} deep")


def _plain(operation: Operation) -> Cost:
    """An operation without regions."""
    name, outputs = operation.name, operation.outputs
    if name in FREE:
        return Cost()
    if name in FILLING:
        return Cost(bytes_moved=_bytes(outputs))
    if name in PICKING:
        return Cost(bytes_moved=2 * _bytes(outputs))
    if name == "stablehlo.dynamic_update_slice":
        return Cost(bytes_moved=2 * operation.inputs[1].bytes)
    moved = _bytes(operation.inputs) + _bytes(outputs)
    if name in MOVING:
        return Cost(bytes_moved=moved)
    if name in TRANSCENDENTAL:
        return Cost(transcendentals=_elements(outputs) * _complex(operation, 2), bytes_moved=moved)
    if name in ARITHMETIC:
        return Cost(_elements(outputs) * _complex(operation, COMPLEX.get(name, 2)), bytes_moved=moved)
    if name == "stablehlo.custom_call":
        return Cost(kernels.flops(operation.kernel_call()), bytes_moved=moved, memory_bytes=moved)
    return Cost(_FORMULAS[name](operation), bytes_moved=moved)


def _by_name(operation: Operation) -> Cost:
    """A composite whose decomposition is put aside: a polynomial for each element, a sort, or products of groups."""
    flops, moved = POLYNOMIAL * _elements(operation.outputs), _bytes(operation.inputs) + _bytes(operation.outputs)
    name, first = operation.text("name"), operation.inputs[0]
    if name == '"chlo.top_k"':
        flops += first.elements * _log2(first.shape[-1] if first.shape else 1)
    elif (
        name == '"chlo.ragged_dot"'
    ):  # rows, columns and what is summed over, for each group: each in two of the arrays
        groups = operation.inputs[-1].elements
        flops += 2 * math.isqrt(first.elements * operation.inputs[1].elements * groups * operation.outputs[0].elements)
    return Cost(flops, bytes_moved=moved)


def _bytes(types: tuple[Shaped, ...]) -> int:
    return sum(shaped.bytes for shaped in types)


def _elements(types: tuple[Shaped, ...]) -> int:
    return sum(shaped.elements for shaped in types)


def _complex(operation: Operation, factor: int) -> int:
    return factor if any(shaped.dtype.startswith("complex") for shaped in operation.inputs) else 1


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text)]


def _dot(operation: Operation) -> int:
    """A multiplication and an addition for each element of the result and of what is summed over."""
    found = re.search(r"lhs_contracting_dimensions = \[([\d, ]*)\]", operation.text("dot_dimension_numbers"))
    axes = _numbers(found[1]) if found else []
    summed = math.prod(operation.inputs[0].shape[axis] for axis in axes)
    return 2 * operation.outputs[0].elements * summed * _complex(operation, 4)


def _convolution(operation: Operation) -> int:
    """As if no element of the window fell on the padding."""
    kernel = operation.text("dimension_numbers").partition("]x[")[2].partition("]")[0].split(", ")
    window = operation.inputs[1]
    features = window.shape[kernel.index("o")]
    summed = window.elements // features if features else 0
    return 2 * operation.outputs[0].elements * summed * _complex(operation, 4)


def _fft(operation: Operation) -> int:
    """5 n log2 n for each transform, half of it where one side is real; log2 rounded up."""
    lengths = _numbers(operation.text("fft_length").partition(":")[2])
    n = math.prod(lengths)
    widest = max(operation.inputs[0].elements, operation.outputs[0].elements)
    transforms = widest // n if n else 0
    real = not all(shaped.dtype.startswith("complex") for shaped in (operation.inputs[0], operation.outputs[0]))
    return 5 * n * _log2(n) * transforms // (2 if real else 1)


def _triangular_solve(operation: Operation) -> int:
    matrix, sides = operation.inputs
    return matrix.shape[-1] * sides.elements * _complex(operation, 4)


def _cholesky(operation: Operation) -> int:
    (matrix,) = operation.inputs
    return matrix.elements * matrix.shape[-1] // 3 * _complex(operation, 4)


_FORMULAS: Final = {
    "stablehlo.dot_general": _dot,
    "stablehlo.convolution": _convolution,
    "stablehlo.fft": _fft,
    "stablehlo.triangular_solve": _triangular_solve,
    "stablehlo.cholesky": _cholesky,
}


def _applications(operation: Operation) -> tuple[int, ...]:
    """How often each of an operation's functions is applied."""
    first = operation.inputs[0]
    out = operation.outputs[0].elements
    match operation.name:
        case "stablehlo.reduce":
            return (max(0, first.elements - out),)
        case "stablehlo.reduce_window":
            window = math.prod(_numbers(operation.text("window_dimensions").partition(":")[2]))
            return (out * max(0, window - 1),)
        case "stablehlo.sort":
            length = first.shape[int(operation.text("dimension").split()[0])] if first.shape else 1
            return (first.elements * _log2(length),)
        case "stablehlo.scatter":
            return (operation.inputs[-1].elements,)
        case "stablehlo.select_and_scatter":
            window = math.prod(_numbers(operation.text("window_dimensions").partition(":")[2]))
            source = operation.inputs[1].elements
            return (source * max(0, window - 1), source)
        case _:  # map
            return (out,)


def _log2(n: int) -> int:
    return (n - 1).bit_length() if n > 0 else 0
