"""The frame around a program's text, looked at before jax opens it.

``jax.export.deserialize`` trusts its input: it follows offsets that a stranger chose. Two that point to the same place
double the work at each level of a tree, and a shape is a formula that it evaluates. So the frame is walked first, with
a budget, and only what ``export_program`` writes is let through. The accessors are those that jax generates from its
schema; ``tests/unit/test_admission.py`` pins them.
"""

from collections.abc import Callable
from typing import Any, Final

from jax._src.export import serialization_generated as schema

from services.programs.verdict import AdmissionLimits, Inadmissible

#: Levels of an input or output tree.
TREE_DEPTH_MAX: Final = 32
NAME_MAX: Final = 256


def check(program: bytes, limits: AdmissionLimits) -> None:
    """Raises:
    Inadmissible: The frame is broken, too large, or holds what no single-device program without effects holds.
    """
    try:
        _check(schema.Exported.GetRootAsExported(bytearray(program)), limits)
    except Inadmissible:
        raise
    except Exception as error:  # offsets out of range end in whatever struct, numpy or codecs raise
        raise Inadmissible("unreadable", "its bytes are no export of jax; make it with export_program") from error


def _check(frame: Any, limits: AdmissionLimits) -> None:
    if frame.OrderedEffectsLength() or frame.UnorderedEffectsLength():
        raise Inadmissible("effects", "it has side effects; leave out what prints or calls the host")
    if frame.DisabledChecksLength():
        raise Inadmissible("safety_checks", "safety checks were disabled at its export; export without disabled_checks")
    if (frame.NrDevices() or frame.NrDevicesShort()) != 1:
        raise Inadmissible("devices", "it is made for several devices; export without a mesh")
    _bounded(frame.PlatformsLength(), 8, "platform")
    inputs, outputs = limits.arrays, limits.arrays
    for length in (frame.InAvalsLength(), frame.InAvalsIdxsLength(), frame.InShardingsLength(),
                   frame.InShardingsIdxsLength(), frame.ModuleKeptVarIdxLength()):  # fmt: skip
        _bounded(length, inputs, "inputs")
    for length in (frame.OutAvalsLength(), frame.OutAvalsIdxsLength(), frame.OutShardingsLength(),
                   frame.OutShardingsIdxsLength()):  # fmt: skip
        _bounded(length, outputs, "outputs")
    _bounded(frame.UniqueAvalsLength(), 2 * limits.arrays, "inputs")
    for count, aval in (
        (frame.UniqueAvalsLength(), frame.UniqueAvals),
        (frame.InAvalsLength(), frame.InAvals),
        (frame.OutAvalsLength(), frame.OutAvals),
    ):
        for index in range(count):
            _check_aval(aval(index))
    if frame.UniqueAbstractMeshesLength() or frame.UniqueNamedShardingsLength():
        raise Inadmissible("devices", "its arrays are laid out over devices; export without a mesh or shardings")
    for count, sharding in (
        (frame.InShardingsLength(), frame.InShardings),
        (frame.OutShardingsLength(), frame.OutShardings),
    ):
        for index in range(count):
            if sharding(index).NamedSharding() is not None or not sharding(index).HloShardingProtoIsNone():
                raise Inadmissible("devices", "its arrays are laid out over devices; export without shardings")
    _check_tree(frame.InTree(), limits.arrays, "inputs")
    _check_tree(frame.OutTree(), limits.arrays, "outputs")


def _bounded(length: int, most: int, reason: Any) -> None:
    if length > most:
        raise Inadmissible(reason, f"{length} of them, allowed are {most}; put them into fewer arrays")


def _check_aval(aval: Any) -> None:
    _bounded(aval.ShapeLength(), 32, "dtype")
    for axis in range(aval.ShapeLength()):
        length = aval.Shape(axis)
        if not length.isdigit() or len(length) > 18:
            raise Inadmissible(
                "dynamic_shape", f"an axis of length {length[:40].decode()!r}; export with shapes that are numbers"
            )


def _check_tree(root: Any, nodes_max: int, reason: Any) -> None:
    """Count what a walk of the tree would meet, once for each way there."""
    left = nodes_max
    waiting: list[tuple[Any, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > TREE_DEPTH_MAX:
            raise Inadmissible(reason, f"a tree of more than {nodes_max} nodes or {TREE_DEPTH_MAX} levels; flatten it")
        if node.Kind() == schema.PyTreeDefKind.custom:
            raise Inadmissible(reason, "a tree of the exporter's own types; use tuples, lists and dicts")
        children = node.ChildrenLength()
        _bounded(children, nodes_max, reason)
        _check_names(node.ChildrenNames, node.ChildrenNamesLength(), children, reason)
        waiting += [(node.Children(index), depth + 1) for index in range(children)]


def _check_names(name: Callable[[int], bytes], count: int, children: int, reason: Any) -> None:
    if count and count != children:
        raise Inadmissible("unreadable", "a tree whose names do not fit; make it with export_program")
    for index in range(count):
        _bounded(len(name(index)), NAME_MAX, reason)
