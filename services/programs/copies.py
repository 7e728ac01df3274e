"""Where a program that seems to write a few numbers copies whole arrays.

``dynamic_update_slice`` and ``scatter`` write into their operand, and a loop hands its arrays on, only where nobody
needs the old array afterwards; a compiler copies it otherwise. A text that forces such copies in each round would take
thousands of times what it is metered for, so they are counted here, as read once and written once. Scalars are left
out.

An array may be overwritten by the operation that uses it last, in the block that it was made in. Constants, the
arguments of ``main``, and what a loop or branch takes from around it are never overwritten.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from services.programs.graph import Block, Graph, Operation
from services.programs.shapes import Shaped

#: What an array's storage was before: its own, or what nobody may write to; otherwise the number of an argument.
_OWN: Final = -1
_FIXED: Final = -2
_CALLS: Final = ("func.call", "stablehlo.composite")
_BRANCHES: Final = ("stablehlo.case", "stablehlo.if")
_RENAMED: Final = ("stablehlo.reshape", "stablehlo.optimization_barrier")


class _Summary(NamedTuple):
    """Of a function: arguments that it takes the storage of, and whose storage each result has, by argument's place."""

    taken: frozenset[int]
    results: tuple[int, ...]


class _Storage:
    """Of one array and its other names: the block that may overwrite it, and what it was before."""

    __slots__ = ("home", "last", "root")

    def __init__(self, home: object, root: int) -> None:
        self.home, self.root, self.last = home, root, -1


def count(graph: Graph) -> dict[Operation, int]:
    """Bytes that operations move for copies beside their work; those of a loop's round or a branch by its return."""
    copies = _Copies(graph)
    for name in _bottom_up(graph):
        copies.function(name)
    return copies.moved


def _bottom_up(graph: Graph) -> Iterator[str]:
    """Functions, each after those that it calls; of functions that call each other, in some order."""
    calls = {name: _callees(block) for name, block in graph.functions.items()}
    entered: set[str] = set()
    for start in graph.functions:
        waiting = [(start, False)]
        while waiting:
            name, done = waiting.pop()
            if done:
                yield name
            elif name not in entered:
                entered.add(name)
                waiting += [(name, True), *((callee, False) for callee in calls[name])]


def _callees(block: Block) -> list[str]:
    found: list[str] = []
    for operation in block.operations:
        if operation.name in _CALLS:
            found.append(operation.callee)
        for region in operation.regions:
            found += _callees(region)
    return found


def _used(operation: Operation) -> set[int]:
    used = set(operation.operands)
    for region in operation.regions:
        for inner in region.operations:
            used |= _used(inner)
    return used


class _Copies:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._summaries: dict[str, _Summary] = {}
        self._storages: dict[int, _Storage] = {}
        self._taken: set[int] = set()
        self.moved: dict[Operation, int] = {}

    def function(self, name: str) -> None:
        block = self._graph.functions[name]
        self._block(block, writable=name != "main")
        places = {value: place for place, value in enumerate(block.arguments)}
        results: list[int] = []
        seen: set[_Storage] = set()
        for value in block.operations[-1].operands:
            storage = self._storages[value]
            root = _FIXED if storage in seen or storage.home is not block else storage.root
            results.append(places.get(root, root))
            seen.add(storage)
        taken = {places[value] for value in self._taken if value in places}
        self._summaries[name] = _Summary(frozenset(taken | {root for root in results if root >= 0}), tuple(results))

    def _block(self, block: Block, *, writable: bool = True) -> None:
        for value in block.arguments:
            self._storages[value] = _Storage(block if writable else None, value)
        for at, operation in enumerate(block.operations):
            for value in _used(operation):
                if value in self._storages:
                    self._storages[value].last = at
            for index, value in enumerate(operation.results):
                known = self._same(operation, index)
                fixed = operation.name == "stablehlo.constant"
                self._storages[value] = known or _Storage(block, _FIXED if fixed else _OWN)
        for at, operation in enumerate(block.operations):
            self._operation(operation, block, at)

    def _same(self, operation: Operation, index: int) -> _Storage | None:
        """The storage of a result that is another name of an operand."""
        if operation.name in _RENAMED or (operation.name == "stablehlo.while" and not _changed(operation, index)):
            return self._storages[operation.operands[index]]
        return None

    def _operation(self, operation: Operation, block: Block, at: int) -> None:
        name = operation.name
        if name == "stablehlo.dynamic_update_slice":
            self._update(operation, (0,), block, at)
        elif name == "stablehlo.scatter":
            self._update(operation, range(len(operation.results)), block, at)
        elif name in _CALLS:
            self._call(operation, block, at)
        elif name == "stablehlo.while":
            self._while(operation, block, at)
        elif name in _BRANCHES:
            for region in operation.regions:
                self._block(region)
                self._hand_out(region, range(len(operation.results)))

    def _take(self, operation: Operation, places: Sequence[int], block: Block, at: int) -> list[int]:
        """What the storage of these operands was, once the operation may write to it."""
        roots: list[int] = []
        seen: set[_Storage] = set()
        for place in places:
            storage = self._storages[operation.operands[place]]
            free = storage.home is block and storage.last == at and storage.root != _FIXED and storage not in seen
            seen.add(storage)
            if not free:
                self._copy(operation, operation.inputs[place])
            elif storage.root >= 0:
                self._taken.add(storage.root)
            roots.append(storage.root if free else _OWN)
        return roots

    def _update(self, operation: Operation, places: Sequence[int], block: Block, at: int) -> None:
        for result, root in zip(operation.results, self._take(operation, places, block, at), strict=True):
            self._storages[result].root = root

    def _call(self, operation: Operation, block: Block, at: int) -> None:
        summary = self._summaries.get(operation.callee)
        if summary is None:
            return  # functions that call each other: whoever counts them refuses them
        places = sorted(summary.taken)
        roots = dict(zip(places, self._take(operation, places, block, at), strict=True))
        for result, root in zip(operation.results, summary.results, strict=True):
            self._storages[result].root = roots.get(root, root)

    def _while(self, operation: Operation, block: Block, at: int) -> None:
        condition, body = operation.regions
        self._block(condition)
        self._block(body)
        changed = [index for index in range(len(operation.operands)) if _changed(operation, index)]
        self._hand_out(body, changed)
        arrays = [index for index in changed if operation.inputs[index].shape]
        roots = self._take(operation, arrays, block, at)
        for index in changed:
            self._storages[operation.results[index]].root = _OWN
        for index, root in zip(arrays, roots, strict=True):
            self._storages[operation.results[index]].root = root

    def _hand_out(self, block: Block, places: Sequence[int]) -> None:
        """A block's results: made in it, each once, or its own argument of the same place."""
        last = block.operations[-1]
        seen: set[_Storage] = set()
        for place in places:
            storage = self._storages[last.operands[place]]
            own = block.arguments[place] if block.arguments else _OWN
            if storage.home is not block or storage in seen or storage.root not in (_OWN, own):
                self._copy(last, last.inputs[place])
            seen.add(storage)

    def _copy(self, operation: Operation, array: Shaped) -> None:
        if array.shape:
            self.moved[operation] = self.moved.get(operation, 0) + 2 * array.bytes


def _changed(operation: Operation, index: int) -> bool:
    """Whether a loop's rounds hand on another value than they got."""
    body = operation.regions[1]
    return body.operations[-1].operands[index] != body.arguments[index]
