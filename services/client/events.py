"""The market's events, for `for` and for `async for`, whichever thread and loop they are read in."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Final

from msgspec import Struct

from domain.events import AnyEvent
from domain.ids import kind_of
from services.client.background import Background, arrival
from services.client.session import read
from services.ledger.codec import decode_meta
from services.ports import Stored

#: Events that wait for their reader before the subscription waits too.
WAITING_MAX: Final = 1_000
Source = Callable[[int], AsyncIterator[Stored]]


class Recorded(Struct, frozen=True):
    """An event and its place in the log.

    Attributes:
        kind: What it tells of, as the subject says: ``job``, ``task``, ``escrow`` ...; see ``domain.ids.Kind``.
        type: Its name and version, as ``JobPosted.v1``.
        actor: Key of the party whose command it follows from.
        data: The event itself.
    """

    position: int
    kind: str
    type: str
    at: datetime
    actor: str
    data: AnyEvent


def recorded(stored: Stored) -> Recorded:
    """The event as a reader sees it."""
    actor = decode_meta(stored.meta, position=stored.position).actor
    return Recorded(stored.position, kind_of(stored.stream).name, stored.name, stored.recorded_at, actor, read(stored))


class Events:
    """Events in order, without gap or double; each iteration begins anew.

    ``async for`` goes on with what happens, ``for`` ends where the log ends now; both end at ``upto`` and ``limit``.
    """

    def __init__(
        self, background: Background, kept: Source, live: Source, *, after: int, upto: int | None, limit: int | None
    ) -> None:
        self._background, self._kept, self._live = background, kept, live
        self._after, self._upto, self._limit = after, upto, limit

    def __iter__(self) -> Iterator[Recorded]:
        run = self._background.run
        flow, taken = run(_opened(self._kept(self._after))), 0
        try:
            while page := run(flow.page()):
                for one in page:
                    if self._is_past(one.position - 1, taken):
                        return
                    yield one
                    taken += 1
        finally:
            run(flow.close())

    async def __aiter__(self) -> AsyncIterator[Recorded]:
        start = self._background.start
        flow, taken = await arrival(start(_opened(self._live(self._after)))), 0
        try:
            while not self._is_past(self._after, taken) and (page := await arrival(start(flow.page()))):
                for one in page:
                    if self._is_past(one.position - 1, taken):
                        return
                    yield one
                    taken += 1
                    if self._is_past(one.position, taken):  # do not wait for what may never come
                        return
        finally:
            await arrival(start(flow.close()))

    def _is_past(self, position: int, taken: int) -> bool:
        """Whether nothing behind this position is wanted any more."""
        return (self._upto is not None and position >= self._upto) or taken == self._limit


class _Flow:
    """A source read ahead on the market's thread, in pages."""

    def __init__(self, source: AsyncIterator[Stored]) -> None:
        self._waiting: asyncio.Queue[Stored | None] = asyncio.Queue(WAITING_MAX)
        self._pump = asyncio.get_running_loop().create_task(self._run(source))

    async def _run(self, source: AsyncIterator[Stored]) -> None:
        try:
            async with aclosing(source) as events:  # type: ignore[type-var]  # every source is a generator
                async for stored in events:
                    await self._waiting.put(stored)
        finally:
            with suppress(asyncio.QueueFull):
                self._waiting.put_nowait(None)

    async def page(self) -> list[Recorded]:
        """What has come meanwhile, at least one event; nothing at the end."""
        found = [await self._waiting.get()]
        while not self._waiting.empty():
            found.append(self._waiting.get_nowait())
        if found[-1] is None:
            self._waiting.put_nowait(None)
            if len(found) == 1:
                await self._pump  # why it ended, if not by itself
        return [recorded(one) for one in found if one is not None]

    async def close(self) -> None:
        self._pump.cancel()
        with suppress(asyncio.CancelledError):
            await self._pump


async def _opened(source: AsyncIterator[Stored]) -> _Flow:
    return _Flow(source)
