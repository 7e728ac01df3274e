"""The whole market at any position or time, folded again from the log. Notebooks and audits call only this."""

import gc
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.errors import Corrupt
from domain.market import World
from services.ledger import codec, merkle
from services.ports import Stored

_ROLE_GRANTED = "RoleGranted.v1"


class History(Protocol):
    """A log that can be read from the beginning."""

    async def head(self) -> int:
        """The last position; 0 when the log is empty."""
        ...

    def iterate(self, after: int, upto: int) -> AsyncIterator[list[Stored]]:
        """Every event behind ``after`` up to ``upto``, in order, in pages."""
        ...


class Replayed(NamedTuple):
    """The market as it was when the event at ``position`` had happened.

    Attributes:
        tree: The Merkle tree over the log up to there; its root names this history.
        at: When that event was recorded; absent before the first one.
    """

    world: World
    position: int
    tree: merkle.CompactRange
    at: datetime | None


async def replay(log: History, upto: int | datetime | None = None, *, operator: str = "") -> Replayed:
    """Fold the log by the market's own rules.

    Args:
        upto: The last position, or the time after which nothing has happened yet; the whole log if absent.
        operator: Who runs the market; found in the log if not given.
    Raises:
        Corrupt: An event does not decode, does not fit the rules or is in another place than they give it.
    """
    head = await log.head()
    last = min(upto, head) if isinstance(upto, int) else head
    world, tree, at = World(operator), merkle.CompactRange(), None
    with undisturbed():
        async for page in log.iterate(0, last):
            known = page if not isinstance(upto, datetime) else page[: _count_until(page, upto)]
            appoint(world, known)
            _fold(world, known)
            tree.extend(map(merkle.leaf, known))
            at = known[-1].recorded_at if known else at
            if len(known) < len(page):
                break
    return Replayed(world, tree.size, tree, at)


def appoint(world: World, page: Sequence[Stored]) -> None:
    """Find the operator of a world that has none: only the operator can have granted the first role."""
    if world.operator:
        return
    first = next((stored for stored in page if stored.name == _ROLE_GRANTED), None)
    if first is not None:
        world.operator = codec.decode_meta(first.meta, position=first.position).actor
        world.roles = {("operator", world.operator)}


def _fold(world: World, page: Sequence[Stored]) -> None:
    decode, apply, place = codec.decode, world.apply, world.place
    position = 0
    try:
        for position, stream, version, name, data, _, _ in page:
            event = decode(name, data)
            apply(event)
            _, placed, number = place(event)
            if version != number or stream != placed:
                raise Corrupt(f"event {position} is number {version} of its stream, the rules make it {number}")
    except (KeyError, IndexError, AssertionError) as error:
        raise Corrupt(f"event {position} does not fit the rules: {error}") from error


def _count_until(page: Sequence[Stored], at: datetime) -> int:
    return bisect_right(page, at, key=lambda stored: stored.recorded_at)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without the cycle collector: a replay makes millions of objects and no cycles, which it would look for."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
