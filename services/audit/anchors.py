"""What payouts bind into the chain: the log as it was, and who was paid for what."""

from collections.abc import Mapping, Sequence
from typing import Final

from domain import payout
from domain.books import NO_ANCHOR
from domain.events import ChainJoined, PayoutAbandoned, PayoutAllotted, PayoutPlanned, RoleGranted
from services.audit.invariant import Broken, Check, Invariant, need
from services.ledger import merkle
from services.ledger.codec import decode_meta
from services.ports import Stored

#: Leaves of the log that are kept to find the roots that payouts bind: a payout binds the log as it was a moment ago.
KEPT: Final = 1 << 16


class Trail:
    """The end of a log's tree: its root at any size that is not longer ago than ``KEPT`` leaves."""

    def __init__(self, base: merkle.CompactRange) -> None:
        """Args:
        base: The tree so far.
        """
        self._base, self._leaves = merkle.CompactRange(base.size, base.nodes), list[bytes]()

    def extend(self, leaves: Sequence[bytes]) -> None:
        self._leaves += leaves
        if len(self._leaves) > 2 * KEPT:
            self._move(self._base.size + len(self._leaves) - KEPT)

    def _move(self, size: int) -> None:
        passed = size - self._base.size
        self._base.extend(self._leaves[:passed])
        del self._leaves[:passed]

    def root(self, size: int) -> str | None:
        """The root over the log's first ``size`` events, in hex; none if that is too long ago to tell."""
        if size < self._base.size:
            return None
        self._move(size)
        return self._base.root.hex()


class Anchored(Invariant):
    """A payout binds the log's own root at an earlier event, the shares of those it pays, and the anchor before it.

    Roots of longer ago are left to whoever has the log: they are ``asked``.
    """

    name = "anchored"

    def __init__(self) -> None:
        self.joined = False
        self.trail: Trail | None = None
        self.asked: list[tuple[int, PayoutPlanned]] = []
        self.operator = ""
        self.planned: dict[int, PayoutPlanned] = {}
        self.allotted: list[PayoutAllotted] = []
        self.unfinished: PayoutPlanned | None = None

    def checks(self) -> Mapping[type, Check]:
        return {
            RoleGranted: self.grant,
            ChainJoined: self.join,
            PayoutPlanned: self.plan,
            PayoutAllotted: self.allot,
            PayoutAbandoned: self.abandon,
        }

    def grant(self, event: RoleGranted, stored: Stored) -> None:
        self.operator = self.operator or decode_meta(stored.meta, position=stored.position).actor

    def join(self, event: ChainJoined, stored: Stored) -> None:
        self.joined = True

    def extend(self, tree: merkle.CompactRange, leaves: Sequence[bytes]) -> None:
        """Follow the log's tree, from when payouts can be planned; ``leaves`` are about to be added to it."""
        if self.joined and self.trail is None:
            self.trail = Trail(tree)
        if self.trail is not None:
            self.trail.extend(leaves)

    def plan(self, event: PayoutPlanned, stored: Stored) -> None:
        self._finish()
        newest = next(reversed(self.planned.values()), None)
        need(event.previous == (newest.anchor if newest else NO_ANCHOR), "it does not follow the anchor before it")
        need(event.size < stored.position, f"it binds {event.size} events and is event {stored.position} itself")
        need(newest is None or event.size >= newest.size, "it binds less of the log than the payout before it")
        root = self.trail.root(event.size) if self.trail is not None else None
        if root is None:
            self.asked.append((stored.position, event))
        elif root != event.root:
            raise Broken(f"it binds another root over {event.size} events than the log has")
        self.planned[event.epoch] = self.unfinished = event

    def allot(self, event: PayoutAllotted, stored: Stored) -> None:
        self.allotted.append(event)

    def abandon(self, event: PayoutAbandoned, stored: Stored) -> None:
        self._finish()
        del self.planned[event.epoch]

    def finish(self, *, cut: bool = False) -> None:
        if not cut:
            self._finish()

    def _finish(self) -> None:
        """All of the newest payout was seen: it must bind these shares."""
        event, allotted = self.unfinished, self.allotted
        self.unfinished, self.allotted = None, []
        if event is None:
            return
        need(event.receipts == payout.receipts_root(allotted), "it binds other shares than it pays")
        said = (event.epoch, event.size, event.root, event.receipts, event.previous)
        need(event.anchor == payout.anchor(self.operator, *said), "its anchor is not a hash over what it binds")
