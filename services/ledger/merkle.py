"""The Merkle tree over the log, by RFC 6962 (RFC 9162 section 2.1): what anybody needs to check the log alone.

A leaf is ``SHA-256(0x00 || record)``, a node ``SHA-256(0x01 || left || right)``. The event at position p is leaf p - 1.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from domain.merkle import EMPTY_ROOT as EMPTY_ROOT
from domain.merkle import hash_leaf as hash_leaf
from domain.merkle import hash_node as hash_node
from domain.merkle import joined as joined
from services.ports import Record, Stored

#: Complete subtrees of 2^8 leaves and more are stored with the log.
STORED_LEVEL: Final = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: 0x00 of a leaf, 0x01 for this form of record, position, microseconds since 1970, stream, version, then the lengths of
#: name, meta and data, which follow. Every field has a fixed width or a length before it: no two events share a record.
_HEADER = Struct(">BBQq16siHII")


@lru_cache(maxsize=64)
def microseconds(at: datetime) -> int:
    """Whole microseconds since 1970."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _hash_record(position: int, at_us: int, record: Record | Stored) -> bytes:
    name = record.name.encode()
    data, meta = record.data, record.meta
    header = _HEADER.pack(0, 1, position, at_us, record.stream, record.version, len(name), len(meta), len(data))
    return hashlib.sha256(b"".join((header, name, meta, data))).digest()


def leaf(stored: Stored) -> bytes:
    """Leaf hash of an event: it covers every field of the row."""
    return _hash_record(stored.position, microseconds(stored.recorded_at), stored)


def leaves(after: int, at: datetime, records: Iterable[Record]) -> list[bytes]:
    """Leaf hashes of one commit: the records behind position ``after``, recorded at ``at``."""
    at_us = microseconds(at)
    return [_hash_record(position, at_us, record) for position, record in enumerate(records, after + 1)]


class Node(NamedTuple):
    """A complete subtree: the leaves from ``place << level`` on, 2^level of them."""

    level: int
    place: int
    hash: bytes


class Span(NamedTuple):
    """Leaves from ``start`` to before ``end``."""

    start: int
    end: int


class CompactRange:
    """The head of a growing tree: the roots of its complete subtrees, largest first, and nothing else."""

    __slots__ = ("nodes", "size")

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.nodes = list(nodes)
        if len(self.nodes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees, not {len(self.nodes)}")

    def extend(self, new: Iterable[bytes]) -> list[Node]:
        """Add leaf hashes at the end.

        Returns:
            The subtrees of ``STORED_LEVEL`` and more that are complete now.
        """
        size, nodes, sha = self.size, self.nodes, hashlib.sha256
        complete: list[Node] = []
        for node in new:
            carry, level = size, 0
            while carry & 1:
                node = sha(b"\1" + nodes.pop() + node).digest()
                carry >>= 1
                level += 1
                if level >= STORED_LEVEL:
                    complete.append(Node(level, carry, node))
            nodes.append(node)
            size += 1
        self.size = size
        return complete

    def copy(self) -> "CompactRange":
        return CompactRange(self.size, self.nodes)

    def grown(self, new: Iterable[bytes]) -> "CompactRange":
        """A copy with leaf hashes added."""
        copy = self.copy()
        copy.extend(new)
        return copy

    @property
    def root(self) -> bytes:
        """Hash of the whole tree."""
        return joined(self.nodes) if self.nodes else EMPTY_ROOT

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompactRange) and (self.size, self.nodes) == (other.size, other.nodes)

    def __repr__(self) -> str:
        return f"CompactRange(size={self.size}, root={self.root.hex()[:16]}...)"


class Tree:
    """A whole tree in memory: proofs for any of its leaves and any earlier size cost O(log n) hashes."""

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        self.extend(leaf_hashes)

    def __len__(self) -> int:
        return len(self._levels[0])

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaf hashes at the end."""
        below, level = self._levels[0], 1
        below.extend(leaf_hashes)
        while len(below) > 1:
            if level == len(self._levels):
                self._levels.append([])
            parents = self._levels[level]
            parents.extend(hash_node(below[2 * i], below[2 * i + 1]) for i in range(len(parents), len(below) // 2))
            below, level = parents, level + 1

    def root(self, size: int | None = None) -> bytes:
        """Root of the first ``size`` leaves; of all of them if not given."""
        size = self._checked(size)
        return self._subroot(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof that leaf ``index`` is in the tree of the first ``size`` leaves (RFC 9162, 2.1.3.1)."""
        return [self._subroot(*span) for span in inclusion_spans(index, self._checked(size))]

    def consistency(self, old: int, size: int | None = None) -> list[bytes]:
        """Proof that the tree of ``size`` leaves begins with that of ``old`` leaves (RFC 9162, 2.1.4.1)."""
        return [self._subroot(*span) for span in consistency_spans(old, self._checked(size))]

    def cover(self, indexes: Sequence[int], size: int | None = None) -> list[bytes]:
        """Proof that these leaves, in order, are in the tree of the first ``size`` leaves; see ``rebuilt_root``."""
        return [self._subroot(*span) for span in cover_spans(indexes, self._checked(size))]

    def _checked(self, size: int | None) -> int:
        if size is None:
            return len(self)
        if not 0 <= size <= len(self):
            raise IndexError(f"the tree has {len(self)} leaves, not {size}")
        return size

    def _subroot(self, start: int, end: int) -> bytes:
        width = end - start
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _split(width)
        return hash_node(self._subroot(start, middle), self._subroot(middle, end))


def _split(width: int) -> int:
    """The largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


# ------------------------------------------------------------------------------------------- which subtrees a proof has
def inclusion_spans(index: int, size: int) -> list[Span]:
    """The subtrees whose roots prove leaf ``index``, in the order of RFC 9162, section 2.1.3.1.

    Raises:
        IndexError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} is not in a tree of {size} leaves")
    found: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            found.append(Span(middle, end))
            end = middle
        else:
            found.append(Span(start, middle))
            start = middle
    return found[::-1]


def consistency_spans(old: int, size: int) -> list[Span]:
    """The subtrees whose roots prove that ``size`` leaves begin with ``old``, as in RFC 9162, section 2.1.4.1.

    Raises:
        IndexError: There is no such earlier tree.
    """
    if not 0 < old <= size:
        raise IndexError(f"a tree of {size} leaves has no earlier tree of {old}")
    found: list[Span] = []
    start, end, whole = 0, size, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            found.append(Span(middle, end))
            end = middle
        else:
            found.append(Span(start, middle))
            start, whole = middle, False
    if not whole:
        found.append(Span(start, end))
    return found[::-1]


def cover_spans(indexes: Sequence[int], size: int) -> list[Span]:
    """The largest subtrees that hold none of these leaves, from left to right: the union of their audit paths, once.

    Raises:
        IndexError: The leaves are not in order, or not all in the tree.
    """
    _in_order(indexes, size)
    return list(_gaps(indexes, 0, len(indexes), Span(0, size))) if size else []


def _gaps(indexes: Sequence[int], low: int, high: int, span: Span) -> Iterator[Span]:
    """Those within ``span``, where ``indexes[low:high]`` are."""
    start, end = span
    if low == high:
        yield span
    elif high - low < end - start:
        middle = start + _split(end - start)
        cut = bisect_left(indexes, middle, low, high)
        yield from _gaps(indexes, low, cut, Span(start, middle))
        yield from _gaps(indexes, cut, high, Span(middle, end))


def complete_in(span: Span) -> list[tuple[int, int]]:
    """Level and place of the complete subtrees that a subtree of the tree consists of, from left to right."""
    start, end = span
    found: list[tuple[int, int]] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def rebuilt_root(known: Sequence[tuple[int, bytes]], size: int, nodes: Sequence[bytes]) -> bytes:
    """Root of the tree of ``size`` leaves, from some leaves (index and hash) and the nodes that ``cover_spans`` names.

    Raises:
        ValueError: The leaves are not in order and in the tree, or it takes more or fewer nodes.
    """
    indexes = [index for index, _ in known]
    try:
        _in_order(indexes, size)
    except IndexError as error:
        raise ValueError(str(error)) from None
    if not size:
        return EMPTY_ROOT
    rest = iter(nodes)

    def root(low: int, high: int, start: int, end: int) -> bytes:
        if low == high:
            return next(rest)
        if end - start == 1:
            return known[low][1]
        middle = start + _split(end - start)
        cut = bisect_left(indexes, middle, low, high)
        left = root(low, cut, start, middle)
        return hash_node(left, root(cut, high, middle, end))

    try:
        found = root(0, len(known), 0, size)
    except StopIteration:
        raise ValueError("nodes are missing") from None
    if next(rest, None) is not None:
        raise ValueError("there are more nodes than the tree has")
    return found


def _in_order(indexes: Sequence[int], size: int) -> None:
    if any(one >= two for one, two in pairwise(indexes)):
        raise IndexError("the leaves are not in order")
    if indexes and not (indexes[0] >= 0 and indexes[-1] < size):
        raise IndexError(f"the leaves are not all in a tree of {size}")


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that ``leaf_hash`` is leaf ``index`` of the tree with ``root``.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size or not _hashes(leaf_hash, root, *proof):
        return False
    place, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = hash_node(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = hash_node(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether the proof shows that the tree with ``root`` begins with the one with ``old_root``.

    Every log begins with the empty one, which needs no proof.

    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 <= old <= size or not _hashes(old_root, root, *proof):
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT and (size > 0 or root == EMPTY_ROOT)
    if old == size:
        return not proof and old_root == root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path or not proof:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    found_old = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            found_old, found = hash_node(sibling, found_old), hash_node(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = hash_node(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found_old == old_root and found == root


def _hashes(*values: bytes) -> bool:
    return all(len(value) == 32 for value in values)
