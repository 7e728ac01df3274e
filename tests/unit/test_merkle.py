"""The Merkle tree by the published vectors of Certificate Transparency (RFC 6962 and RFC 9162)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from services.ledger.merkle import (
    EMPTY_ROOT,
    CompactRange,
    Tree,
    hash_leaf,
    hash_node,
    leaf,
    leaves,
    verify_consistency,
    verify_inclusion,
)
from services.ports import Record, Stored

LEAVES = [
    hash_leaf(bytes.fromhex(data))
    for data in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_tree_and_compact_range_have_the_published_roots() -> None:
    tree, compact = Tree(LEAVES), CompactRange()
    assert EMPTY_ROOT.hex() == ROOTS[0]
    for size, root in enumerate(ROOTS):
        assert tree.root(size).hex() == root
        assert CompactRange().grown(LEAVES[:size]).root.hex() == root
        assert compact.root.hex() == root
        compact.extend(LEAVES[size : size + 1])


def test_tree_gives_the_published_proofs() -> None:
    tree = Tree(LEAVES)
    assert [node.hex()[:8] for node in tree.inclusion(5, 8)] == ["bc1a0643", "ca854ea1", "d37ee418"]
    assert [node.hex()[:8] for node in tree.consistency(6, 8)] == ["0ebc5d34", "ca854ea1", "d37ee418"]
    assert [node.hex()[:8] for node in tree.consistency(2, 5)] == ["5f083f0a", "bc1a0643"]


def test_verifier_refuses_leaves_and_sizes_that_do_not_exist() -> None:
    tree = Tree(LEAVES)
    assert not verify_inclusion(LEAVES[0], 8, 8, tree.inclusion(0), tree.root())
    assert not verify_inclusion(LEAVES[0], -1, 8, tree.inclusion(0), tree.root())
    assert not verify_inclusion(LEAVES[0][:31], 0, 8, tree.inclusion(0), tree.root())
    assert not verify_consistency(9, 8, [], tree.root(), tree.root())
    assert not verify_consistency(3, 8, [], tree.root(3), tree.root())
    assert not verify_consistency(4, 8, [], tree.root(4), tree.root(4))


def test_verifier_refuses_a_proof_that_adds_up_and_is_too_long() -> None:
    first, second, third, fourth = LEAVES[:4]
    assert not verify_inclusion(first, 0, 1, [second], hash_node(second, first))
    left, extra = hash_node(first, second), LEAVES[7]
    proof = [third, fourth, left]
    old_root, root = hash_node(left, third), hash_node(left, hash_node(third, fourth))
    assert verify_consistency(3, 4, proof, old_root, root)
    assert not verify_consistency(3, 4, [*proof, extra], hash_node(extra, old_root), hash_node(extra, root))


def test_every_log_begins_with_the_empty_one_and_with_itself() -> None:
    tree = Tree(LEAVES)
    assert verify_consistency(0, 8, [], EMPTY_ROOT, tree.root())
    assert verify_consistency(8, 8, [], tree.root(), tree.root())
    assert not verify_consistency(8, 8, [], tree.root(), tree.root(7))
    assert not verify_consistency(0, 0, [], EMPTY_ROOT, tree.root())


def test_tree_refuses_what_is_not_in_it() -> None:
    tree = Tree(LEAVES)
    with pytest.raises(IndexError):
        tree.inclusion(8)
    with pytest.raises(IndexError):
        tree.consistency(0)
    with pytest.raises(IndexError):
        tree.root(9)


def test_compact_range_refuses_nodes_that_cannot_be_its_own() -> None:
    with pytest.raises(ValueError, match="3 leaves has 2"):
        CompactRange(3, [EMPTY_ROOT])


@dataclass
class Case:
    field: str
    value: object


STORED = Stored(7, bytes(16), 3, "A.v1", b"data", b"meta", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "case",
    [
        Case("position", 8),
        Case("stream", bytes(15) + b"\1"),
        Case("version", 4),
        Case("name", "B.v1"),
        Case("data", b"datb"),
        Case("meta", b"metb"),
        Case("recorded_at", STORED.recorded_at + timedelta(microseconds=1)),
    ],
    ids=lambda case: case.field,
)
def test_leaf_changes_when_any_field_changes(case: Case) -> None:
    assert leaf(STORED._replace(**{case.field: case.value})) != leaf(STORED)  # type: ignore[arg-type]


def test_leaf_changes_when_bytes_move_from_one_field_to_the_next() -> None:
    assert leaf(STORED._replace(meta=b"met", data=b"adata")) != leaf(STORED)
    assert leaf(STORED._replace(name="A.v1m", meta=b"eta")) != leaf(STORED)


def test_leaf_of_a_row_is_the_leaf_that_the_commit_hashed() -> None:
    record = Record(STORED.stream, STORED.version, STORED.name, STORED.data, STORED.meta)
    assert leaves(5, STORED.recorded_at, [record, record])[1] == leaf(STORED)
