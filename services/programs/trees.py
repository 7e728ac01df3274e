"""Outputs of any form as arrays by name, which is what a blob holds, and back.

A flat dict keeps its names. Arrays in any other tree are numbered in the order of ``jax.tree.leaves``, with zeros in
front so that names sort as numbers do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax


def names_of(out_tree: Any) -> list[str]:
    """The name of each leaf, in order.

    Args:
        out_tree: A ``jax.tree_util.PyTreeDef``.
    """
    count = out_tree.num_leaves
    node = out_tree.node_data()
    if node is not None and node[0] is dict and all(child.node_data() is None for child in out_tree.children()):
        names = list(node[1])
        if all(isinstance(name, str) for name in names):  # others become a tuple on the way, see ``plain``
            return names
    width = len(str(max(count - 1, 0)))
    return [f"{number:0{width}}" for number in range(count)]


def leaves_by_name(out_tree: Any, leaves: Sequence[Any]) -> dict[str, Any]:
    """The arrays of a result by name.

    Args:
        leaves: In the order of ``jax.tree.leaves``, as many as the tree has.
    """
    return dict(zip(names_of(out_tree), leaves, strict=True))


def from_names(out_tree: Any, arrays: Mapping[str, Any]) -> Any:
    """The result that ``leaves_by_name`` took apart.

    Args:
        out_tree: Of the program, or the truer one that its exporter kept, with the same leaves.
    Raises:
        KeyError: An array is missing.
    """
    return jax.tree.unflatten(out_tree, [arrays[name] for name in names_of(out_tree)])


def plain(value: Any) -> Any:
    """The same leaves in the same order in tuples, lists and dicts, which is all that jax can serialise."""
    if value is None:
        return None
    taken = jax.tree_util.default_registry.flatten_one_level(value)
    if taken is None:
        return value
    children, data = taken
    if type(value) is dict and all(isinstance(key, str) for key in data):
        return {key: plain(child) for key, child in zip(data, children, strict=True)}
    if type(value) is list:
        return [plain(child) for child in children]
    return tuple(plain(child) for child in children)
