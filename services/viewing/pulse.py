"""What has just happened, for all viewers of this process: one subscription to the stream, however many look."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Literal

import structlog
from msgspec import Struct

from domain.errors import Corrupt, Refused
from services.bus.consume import Consumer
from services.bus.wire import Wire
from services.ledger.codec import decode_stored
from services.ports import Clock, Stored
from services.projections.event_index import keys
from services.projections.queries import Reader

#: Events that are kept at hand; who is further behind reads the log.
RECENT: Final = 500
#: How often the read models are asked for their position while they are behind, and how long after a failure.
LOOK_S: Final = 0.03
RETRY_S: Final = 0.5

State = Literal["live", "interrupted", "stopped"]
log = structlog.get_logger()


class Beat(Struct, frozen=True):
    """Attributes:
    position: What the read models show. heard: What the stream has said.
    at: When the last event that is shown was recorded; absent where that is not at hand.
    since: Since when the state holds. why: What is wrong, and what helps; empty while all is well.
    """

    state: State
    position: int
    heard: int
    at: datetime | None
    since: datetime
    why: str = ""


class Pulse:
    """Follows the stream and the read models; ``changed()`` ends when something moved."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]], reader: Reader, clock: Clock) -> None:
        self._reader, self._clock = reader, clock
        self._consumer = Consumer(connect, lambda: self._heard, self._offer)
        self._recent: deque[tuple[Stored, frozenset[str]]] = deque(maxlen=RECENT)
        self._heard = self._shown = 0
        self._at: datetime | None = None
        self._stopped = ""
        self._state: State = "interrupted"
        self._since = clock.now()
        self._next = asyncio.Event()

    async def start(self) -> None:
        """Know where the market is.

        Raises:
            Refused: The database does not answer.
        """
        await self._look()
        self._heard = max(0, self._shown - RECENT)
        self._keep(await self._reader.log.read(self._heard, RECENT))
        self._tell()

    async def run(self) -> None:
        """Follow for ever, over interruptions of the broker and of the database."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._consumer.run())
            group.create_task(self._watch())

    def beat(self) -> Beat:
        """How it is now."""
        why = self._stopped
        if not why and self._state == "interrupted":
            why = "the stream of events does not answer; this page tries again by itself"
        return Beat(self._state, self._shown, self._heard, self._at, self._since, why)

    def recent(self, limit: int) -> Sequence[Stored]:
        """The last events that were heard, in order."""
        return [stored for stored, _ in list(self._recent)[-limit:]]

    def moved(self, after: int, about: Iterable[str]) -> int | None:
        """The last shown position behind ``after`` that concerns any of these keys, or all if there are none."""
        wanted, shown = frozenset(about), self._shown
        if shown <= after:
            return None
        first = self._recent[0][0].position if self._recent else shown + 1
        if not wanted or after + 1 < first:
            return shown
        of_these = (s.position for s, spoken in reversed(self._recent) if s.position <= shown and spoken & wanted)
        last = next(of_these, 0)
        return last if last > after else None

    async def changed(self, timeout_s: float) -> None:
        """Wait until something moved, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._next.wait()

    async def _offer(self, events: list[Stored]) -> None:
        self._keep(events)
        self._tell()

    def _keep(self, events: Iterable[Stored]) -> None:
        for stored in events:
            if stored.position > self._heard:
                try:
                    spoken_of = frozenset(keys(decode_stored(stored)))
                except Corrupt:  # the projector stops there and says so
                    spoken_of = frozenset()
                self._recent.append((stored, spoken_of))
                self._heard = stored.position

    async def _watch(self) -> None:
        """Keep the state, and follow the read models where the stream has gone ahead."""
        while True:
            state: State = "stopped" if self._stopped else "live" if self._consumer.connected else "interrupted"
            if state != self._state:
                self._state, self._since = state, self._clock.now()
                self._tell()
            if self._shown >= self._heard:
                await self.changed(RETRY_S)
            try:
                await self._look()
            except Refused as refused:
                self._stopped = str(refused)
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        found = await self._reader.positions()
        stopped = next((one for one in found if one.poison is not None), None)
        self._stopped = (
            ""
            if stopped is None
            else (f"read model {stopped.name} stopped at event {stopped.position}; see `pasar projection list`")
        )
        shown = min((one.position for one in found), default=0)
        if shown != self._shown:
            self._shown = shown
            self._tell()

    def _tell(self) -> None:
        shown = (stored.recorded_at for stored, _ in reversed(self._recent) if stored.position <= self._shown)
        self._at = next(shown, None)
        self._next.set()
        self._next = asyncio.Event()
