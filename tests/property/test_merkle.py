"""Proofs of any leaf and any two sizes hold, and no change to a proof does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.merkle import (
    CompactRange,
    Tree,
    hash_leaf,
    hash_node,
    rebuilt_root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [hash_leaf(bytes([number])) for number in range(130)]
TREE = Tree(LEAVES)
SIZES = st.integers(1, len(LEAVES))


def recursive_root(leaf_hashes: list[bytes]) -> bytes:
    """The definition in RFC 9162, section 2.1.1, word for word."""
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    split = 1
    while split * 2 < len(leaf_hashes):
        split *= 2
    return hash_node(recursive_root(leaf_hashes[:split]), recursive_root(leaf_hashes[split:]))


@st.composite
def mutations(draw: st.DrawFn, proof: list[bytes]) -> list[bytes]:
    """The proof with something wrong in it."""
    wrong = [bytes(32), hash_leaf(b"other"), *LEAVES[:3]]
    kinds = ["append", "prepend"] + (["drop", "flip", "replace"] if proof else [])
    if len(set(proof)) > 1:
        kinds += ["swap", "reverse"]
    kind = draw(st.sampled_from(kinds))
    at = draw(st.integers(0, len(proof) - 1)) if proof else 0
    changed = list(proof)
    if kind == "append":
        changed.append(draw(st.sampled_from(wrong)))
    elif kind == "prepend":
        changed.insert(0, draw(st.sampled_from(wrong)))
    elif kind == "drop":
        del changed[at]
    elif kind == "flip":
        bit = draw(st.integers(0, 255))
        changed[at] = bytes(byte ^ (1 << bit % 8 if bit // 8 == index else 0) for index, byte in enumerate(changed[at]))
    elif kind == "replace":
        changed[at] = bytes(31)
    elif kind == "swap":
        other = (at + 1) % len(changed)
        changed[at], changed[other] = changed[other], changed[at]
    else:
        changed.reverse()
    return changed if changed != proof else [*proof, bytes(32)]


@given(SIZES)
def test_roots_are_those_of_the_definition(size: int) -> None:
    expected = recursive_root(LEAVES[:size])
    assert TREE.root(size) == Tree(LEAVES[:size]).root() == CompactRange().grown(LEAVES[:size]).root == expected


@given(st.lists(st.integers(0, 9), max_size=8))
def test_tree_and_compact_range_do_not_depend_on_how_leaves_arrive(steps: list[int]) -> None:
    tree, compact, size = Tree(), CompactRange(), 0
    for step in steps:
        tree.extend(LEAVES[size : size + step])
        compact = CompactRange(compact.size, compact.nodes).grown(LEAVES[size : size + step])
        size += step
    assert (len(tree), compact.size) == (size, size)
    assert tree.root() == compact.root == TREE.root(size)


@given(st.data(), SIZES)
def test_inclusion_is_proved_for_every_leaf_and_nothing_else(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = TREE.inclusion(index, size), TREE.root(size)
    assert verify_inclusion(LEAVES[index], index, size, proof, root)
    assert not verify_inclusion(hash_leaf(b"other"), index, size, proof, root)
    assert not verify_inclusion(LEAVES[index], index, size, proof, hash_leaf(b"other"))
    assert not verify_inclusion(LEAVES[index], index, size, data.draw(mutations(proof)), root)
    other = data.draw(st.integers(0, size).filter(lambda number: number != index))
    assert not verify_inclusion(LEAVES[index], other, size, proof, root)


@given(st.data(), SIZES)
def test_consistency_is_proved_for_every_earlier_size_and_nothing_else(data: st.DataObject, size: int) -> None:
    old = data.draw(st.integers(1, size))
    proof, old_root, root = TREE.consistency(old, size), TREE.root(old), TREE.root(size)
    assert verify_consistency(old, size, proof, old_root, root)
    assert not verify_consistency(old, size, proof, hash_leaf(b"other"), root)
    assert not verify_consistency(old, size, proof, old_root, hash_leaf(b"other"))
    assert not verify_consistency(old, size, data.draw(mutations(proof)), old_root, root)
    other = data.draw(st.integers(0, size).filter(lambda number: number != old))
    assert not verify_consistency(other, size, proof, old_root, root)


@given(SIZES, st.data())
def test_cover_proves_any_leaves_at_once(size: int, data: st.DataObject) -> None:
    indexes = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    known, nodes, root = [(i, LEAVES[i]) for i in indexes], TREE.cover(indexes, size), TREE.root(size)
    assert rebuilt_root(known, size, nodes) == root
    assert len(nodes) <= sum(len(TREE.inclusion(i, size)) for i in indexes) or not indexes
    for other in (nodes[:-1], [*nodes, bytes(32)]):
        if other != nodes:
            with pytest.raises(ValueError, match="nodes"):
                rebuilt_root(known, size, other)
    if nodes:
        at = data.draw(st.integers(0, len(nodes) - 1))
        assert rebuilt_root(known, size, [*nodes[:at], hash_leaf(b"other"), *nodes[at + 1 :]]) != root
    if known:
        at = data.draw(st.integers(0, len(known) - 1))
        forged = [(index, hash_leaf(b"other") if place == at else found) for place, (index, found) in enumerate(known)]
        assert rebuilt_root(forged, size, nodes) != root
        with pytest.raises(ValueError, match="in order"):
            rebuilt_root([*known, known[-1]], size, nodes)


@given(SIZES, st.integers(0, 129))
def test_cover_of_one_leaf_is_its_audit_path(size: int, index: int) -> None:
    index %= size
    assert sorted(TREE.cover([index], size)) == sorted(TREE.inclusion(index, size))
