"""Proofs from the log in the database: a few dozen stored nodes, and the events of those subtrees that are too small.

A proof of k events in a log of n reads at most 256 k events and k log2(n / 256) nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from domain.errors import Corrupt
from services.ledger.merkle import (
    EMPTY_ROOT,
    STORED_LEVEL,
    CompactRange,
    Span,
    complete_in,
    consistency_spans,
    cover_spans,
    inclusion_spans,
    joined,
    leaf,
)
from services.ports import Stored


class Shelves(Protocol):
    """Where events and nodes are read from; ``LogReader`` is one."""

    async def within(self, spans: Sequence[tuple[int, int]]) -> Sequence[Stored]: ...
    async def nodes(self, wanted: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]: ...


class Proofs:
    """Proofs of a log's first ``size`` events, for any size that it has had."""

    def __init__(self, log: Shelves) -> None:
        self._log = log

    async def root(self, size: int) -> bytes:
        """Merkle root of the first ``size`` events."""
        return (await self._roots([Span(0, size)]))[0] if size else EMPTY_ROOT

    async def inclusion(self, position: int, size: int) -> list[bytes]:
        """Audit path of one event (RFC 9162, 2.1.3.1), for ``merkle.verify_inclusion`` of leaf ``position - 1``.

        Raises:
            IndexError: The event is not among them.
        """
        return await self._roots(inclusion_spans(position - 1, size))

    async def cover(self, positions: Sequence[int], size: int) -> list[bytes]:
        """One proof of several events, in order, for ``merkle.rebuilt_root``.

        Raises:
            IndexError: They are not in order, or not all among them.
        """
        return await self._roots(cover_spans([position - 1 for position in positions], size))

    async def consistency(self, old: int, size: int) -> list[bytes]:
        """Proof that ``size`` events begin with ``old`` (RFC 9162, 2.1.4.1), for ``merkle.verify_consistency``.

        Raises:
            IndexError: ``old`` is 0 or more than ``size``.
        """
        return await self._roots(consistency_spans(old, size))

    async def _roots(self, spans: Sequence[Span]) -> list[bytes]:
        parts = [complete_in(span) for span in spans]
        wanted = {part for one in parts for part in one}
        found = dict(await self._log.nodes([part for part in wanted if part[0] >= STORED_LEVEL]))
        found |= await self._small([part for part in wanted if part[0] < STORED_LEVEL])
        missing = sorted(wanted - found.keys())
        if missing:
            level, place = missing[-1]
            first, last = (place << level) + 1, place + 1 << level
            raise Corrupt(f"the log cannot tell the Merkle root over positions {first} to {last}")
        return [joined([found[part] for part in one]) for one in parts]

    async def _small(self, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Roots of subtrees that are not stored, from their events."""
        spans = [(place << level, place + 1 << level) for level, place in wanted]
        leaves = {stored.position: leaf(stored) for stored in await self._log.within(_merged(spans))}
        found: dict[tuple[int, int], bytes] = {}
        for part, (after, upto) in zip(wanted, spans, strict=True):
            tree = CompactRange()
            tree.extend(leaves[position] for position in range(after + 1, upto + 1) if position in leaves)
            if tree.size == upto - after:
                found[part] = tree.root
        return found


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint ranges, neighbours as one."""
    merged: list[tuple[int, int]] = []
    for after, upto in sorted(spans):
        if merged and merged[-1][1] == after:
            merged[-1] = (merged[-1][0], upto)
        else:
            merged.append((after, upto))
    return merged
