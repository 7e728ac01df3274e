"""A call of a Python function as work for the market: a program, its packed arguments, and the form of its result.

The last positional argument, or what ``in_axes`` says, becomes the tasks' rows; all else is shared. A single call is a
map over one row, so that both are the same program: exported, inspected and compiled once.

The function is traced as the local call would be: Python numbers are weakly typed, and 64-bit arrays are as wide as
the configuration of jax allows. The caller's thread does it, because jax keeps parts of its configuration by thread.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.config import trace_context
from jax.extend.core import jaxpr_as_fun

from domain.events import Platform
from services import arrays
from services.client.errors import NotAnArgument, NotMapped
from services.programs import trees
from services.programs.export import Export, export_with_tree

#: Programs that are kept for further calls.
PROGRAMS_MAX: Final = 64
#: Names of arrays that a sentence lists.
NAMES_SAID: Final = 8

Axes = int | None | Sequence[Any]


class Form(NamedTuple):
    """What a program's result looks like.

    Attributes:
        out_tree: A ``jax.tree_util.PyTreeDef``.
        outputs: Shape and type of each leaf.
    """

    out_tree: Any
    outputs: tuple[Any, ...]


class Unfit(ValueError):
    """A result does not have its program's form; the message says where."""


class Call(NamedTuple):
    """Attributes:
    shared, mapped: Packed arguments; absent where there are none.
    tasks: Rows of the mapped ones, 1 where there are none.
    """

    program: bytes
    form: Form
    shared: bytes | None
    mapped: bytes | None
    tasks: int


class Calls:
    """Turns calls of one function into work, and keeps its programs by the shapes and types of the arguments."""

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnames: Sequence[str] = (),
        platforms: Sequence[Platform] = ("cpu",),
    ) -> None:
        self._function, self._platforms = function, tuple(platforms)
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        if unknown := set(static_argnames) - set(parameters):
            raise TypeError(f"static_argnames names {', '.join(sorted(unknown))}, which the function does not have")
        self._static = frozenset(static_argnames)
        places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._names = [name for name, one in parameters.items() if one.kind in places]
        self._programs: OrderedDict[Any, Export] = OrderedDict()

    def single(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The call as it stands: one task.

        Raises:
            NotExportable: It is no pure function of arrays with fixed shapes.
            TypeError: The function has no such arguments.
        """
        return self._call(args, kwargs, self._last(args), single=True)

    def mapped(self, args: Sequence[Any], kwargs: Mapping[str, Any], in_axes: Axes = ...) -> Call:  # type: ignore[assignment]
        """A task for each row.

        Args:
            in_axes: As of ``jax.vmap``, for the positional arguments; absent: the last one, over its leading axis.
                Keyword arguments are shared.
        Raises:
            NotExportable: As above, or the rows do not agree.
        """
        if in_axes is ...:  # type: ignore[comparison-overlap]
            axes = self._last(args)
        elif in_axes is None or isinstance(in_axes, int):
            axes = [in_axes] * len(args)
        else:
            axes = list(in_axes)
        if len(axes) != len(args):
            raise NotMapped(where="the call", reason=f"in_axes has {len(axes)} entries for {len(args)} arguments")
        return self._call(args, kwargs, axes, single=False)

    # -------------------------------------------------------------------------------------------------------- arguments
    def _is_static(self, place: int) -> bool:
        return place < len(self._names) and self._names[place] in self._static

    def _last(self, args: Sequence[Any]) -> list[Any]:
        """The axes where the last argument that is not static is mapped."""
        traced = [place for place in range(len(args)) if not self._is_static(place)]
        return [0 if traced and place == traced[-1] else None for place in range(len(args))]

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any], axes: Sequence[Any], *, single: bool) -> Call:
        self._signature.bind(*args, **kwargs)
        fixed: dict[int | str, Any] = {place: value for place, value in enumerate(args) if self._is_static(place)}
        fixed |= {name: value for name, value in kwargs.items() if name in self._static}
        traced: dict[int | str, Any] = {place: value for place, value in enumerate(args) if place not in fixed}
        traced |= {name: value for name, value in kwargs.items() if name not in fixed}
        leaves: list[_Leaf] = []
        definitions = []
        for name, value in traced.items():
            axis = axes[name] if isinstance(name, int) else None
            said = self._names[name] if isinstance(name, int) and name < len(self._names) else str(name)
            found, definition = _leaves(said, value, axis, single=single)
            leaves += found
            definitions.append((name, definition))
        rows = {leaf.where: len(leaf.array) for leaf in leaves if leaf.mapped}
        if len(set(rows.values())) > 1:
            lengths = ", ".join(f"{where} {length}" for where, length in rows.items())
            raise NotMapped(where="the call", reason=f"its arguments have different lengths: {lengths}")
        if (not rows and not single) or 0 in rows.values():
            raise NotMapped(where="the call", reason="it has no rows")
        exported = self._program(tuple(definitions), fixed, leaves, kwargs)
        shared = {leaf_name(at): leaf.array for at, leaf in enumerate(leaves) if not leaf.mapped}
        mapped = {leaf_name(at): leaf.array for at, leaf in enumerate(leaves) if leaf.mapped}
        return Call(
            exported.program,
            Form(exported.out_tree, exported.outputs),
            arrays.pack(shared) if shared else None,
            arrays.pack(mapped) if mapped else None,
            next(iter(rows.values()), 1),
        )

    # ---------------------------------------------------------------------------------------------------------- program
    def _program(
        self,
        definitions: tuple[tuple[int | str, Any], ...],
        fixed: Mapping[int | str, Any],
        leaves: Sequence["_Leaf"],
        kwargs: Mapping[str, Any],
    ) -> Export:
        try:
            statics = tuple((name, type(value), value) for name, value in fixed.items())
            key = (definitions, statics, tuple((leaf.mapped, leaf.spec.shape, leaf.spec.dtype, leaf.spec.weak_type)
                                               for leaf in leaves), _configuration())  # fmt: skip
            known = self._programs.get(key)
        except TypeError as error:
            raise TypeError(f"static arguments are remembered, so they must be hashable: {error}") from None
        if known is not None:
            self._programs.move_to_end(key)
            return known
        specs = [leaf.spec for leaf in leaves]

        def call(*flat: Any) -> Any:
            given, values = list(flat), dict(fixed)
            for name, definition in definitions:
                count = definition.num_leaves
                values[name] = jax.tree.unflatten(definition, given[:count])
                del given[:count]
            places = [values[place] for place in range(len(values)) if place in values]
            return self._function(*places, **{name: values[name] for name in kwargs})

        def task(shared: dict[str, Any], row: dict[str, Any]) -> Any:
            # Traced with the types of the local call first: a stored array cannot say that its type is weak.
            closed, shapes = jax.make_jaxpr(call, return_shape=True)(*specs)
            held = {**shared, **row}
            outputs = jaxpr_as_fun(closed)(*(held[leaf_name(at)] for at in range(len(specs))))
            return jax.tree.map(lambda shape, leaf: jnp.asarray(leaf, shape.dtype), shapes, _like(shapes, outputs))

        shapes = {leaf_name(at): jax.ShapeDtypeStruct(spec.shape, spec.dtype) for at, spec in enumerate(specs)}
        rows = {name: shapes[name] for at, name in enumerate(shapes) if leaves[at].mapped}
        shared = {name: shape for name, shape in shapes.items() if name not in rows}
        exported = self._programs[key] = export_with_tree(task, shared, rows, self._platforms)
        while len(self._programs) > PROGRAMS_MAX:
            self._programs.popitem(last=False)
        return exported


class _Leaf(NamedTuple):
    """Attributes:
    array: As it is sent, rows first where it is mapped.
    spec: What the function sees of it.
    """

    where: str
    array: arrays.Array
    spec: jax.ShapeDtypeStruct
    mapped: bool


def _like(tree: Any, leaves: Sequence[Any]) -> Any:
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def leaf_name(at: int) -> str:
    """What the argument's leaf with this number is called in a program."""
    return f"{at:04}"


Arrays = Mapping[str, arrays.Array]


def opened(form: Form | None, packed: bytes) -> Arrays:
    """A task's result as it came, checked against the form of its program.

    Args:
        form: Absent where the program is not one's own: then the arrays are taken as they are.
    Raises:
        BadArrays: It is no packed result.
        Unfit: It is another program's.
    """
    found = arrays.unpack(packed)
    if form is None:
        return found
    names = trees.names_of(form.out_tree)
    if found.keys() != set(names):
        raise Unfit(f"it holds the arrays {_listed(found)}, the program returns {_listed(names)}")
    for name, output in zip(names, form.outputs, strict=True):
        array = found[name]
        if (array.shape, array.dtype) != (output.shape, output.dtype):
            raise Unfit(f"array {name} is {array.dtype}{list(array.shape)}, the program returns {output.str_short()}")
    return found


def result(form: Form | None, found: Arrays) -> Any:
    """A task's result as the local call would return it; the arrays by name where the form is not known."""
    # The types are those of the trace, whatever this thread has configured since.
    with jax.enable_x64(True):
        held = {name: jnp.asarray(array) for name, array in found.items()}
    return held if form is None else trees.from_names(form.out_tree, held)


def stacked(form: Form | None, tasks: Sequence[Arrays]) -> Any:
    """Results of all tasks as one tree, as ``jax.vmap`` would return it."""
    return result(form, {name: np.stack([found[name] for found in tasks]) for name in tasks[0]})


def stackable(tasks: Sequence[Arrays]) -> bool:
    """Whether the results have the same arrays, which those of a stranger's program need not."""
    return len({tuple(sorted((name, a.shape, a.dtype.str) for name, a in found.items())) for found in tasks}) == 1


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:NAMES_SAID]) or "none"


def _leaves(name: str, value: Any, axis: Any, *, single: bool) -> tuple[list[_Leaf], Any]:
    """The argument's arrays, each with its axis, and its form."""
    found, definition = jax.tree_util.tree_flatten_with_path(value)
    wheres = [f"{name}{jax.tree_util.keystr(path)}" for path, _ in found]
    try:
        spread = jax.tree.broadcast(axis, value, is_leaf=lambda one: one is None)
        axes = jax.tree.leaves(spread, is_leaf=lambda one: one is None)
    except ValueError as error:
        raise NotMapped(where=name, reason=f"in_axes has another form than the argument ({error})") from None
    leaves = [_leaf(where, leaf, one, single=single) for where, (_, leaf), one in zip(wheres, found, axes, strict=True)]
    return leaves, definition


def _leaf(where: str, leaf: Any, axis: int | None, *, single: bool) -> _Leaf:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
        raise NotAnArgument(where=f"argument {where}", kind=type(leaf).__name__)
    try:
        aval = jax.api_util.shaped_abstractify(leaf)
    except TypeError:
        raise NotAnArgument(where=f"argument {where}", kind=f"{type(leaf).__name__} of {leaf.dtype}") from None  # type: ignore[union-attr]
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):
        raise NotAnArgument(where=f"argument {where}, unless you pass jax.random.key_data of it,", kind="random key")
    # jax's own conversion of a Python number refuses one that does not fit; an array is cut as the local call would
    array = np.asarray(leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)).astype(aval.dtype, copy=False)
    shape = aval.shape
    if axis is not None and single:
        array = array[np.newaxis]
    elif axis is not None:
        if not -array.ndim <= axis < array.ndim:
            raise NotMapped(where=f"argument {where}", reason=f"shape {shape} has no axis {axis}")
        array = np.moveaxis(array, axis, 0)
        shape = array.shape[1:]
    return _Leaf(where, array, jax.ShapeDtypeStruct(shape, aval.dtype, weak_type=aval.weak_type), axis is not None)


def _configuration() -> Any:
    """What of jax's configuration changes what a function is traced to."""
    config: Any = jax.config
    traced = trace_context()  # what jax keys its own caches by; it has no public name
    return traced, config.jax_default_prng_impl
