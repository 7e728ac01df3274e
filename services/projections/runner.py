"""The projector: keeps every live read model up with the log.

Events are offered by whoever hears of them first; what was not offered, was refused for want of room or has a gap is
read from the log. Effects and position share a transaction, so an event that is seen twice is folded once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog
from msgspec import Struct

from domain.errors import Corrupt, Unavailable
from services.ledger import codec
from services.ledger.errors import LogLost
from services.ports import Clock, EventLog, Stored, SystemClock
from services.projections import generations
from services.projections.generations import PROJECTIONS, TRACK, Generation
from services.projections.model import Projection, Seen
from services.projections.store import Decode, Fenced, fold, see, write

BATCH_MAX: Final = 4_000
#: Events that wait in memory; beyond it they are read from the log later.
QUEUE_MAX: Final = 50_000
#: How long the projector trusts that silence means no news, in seconds.
QUIET_S: Final = 1.0
#: Batches after which it looks whether a stopped read model was rebuilt.
_LOOK_AGAIN: Final = 250
_BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: What passes by itself: the server restarts, another process was faster, a resource ran out.
TRANSIENT: Final = (
    OSError,
    TimeoutError,
    Unavailable,
    LogLost,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)
_log = structlog.get_logger(__name__)


class Poison(Struct, frozen=True):
    """The event that stopped a read model."""

    position: int
    event: str
    error: str


class Projector:
    """Runs the live projections of a process."""

    def __init__(
        self,
        log: EventLog,
        database_url: str,
        projections: Sequence[Projection] = PROJECTIONS,
        *,
        decode: Decode = codec.decode,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        quiet_s: float = QUIET_S,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self.projections = {projection.name: projection for projection in projections}
        self.live: dict[str, Generation] = {}
        self.poisoned: dict[str, Poison] = {}
        self.head = 0
        self.last_loop_at: datetime | None = None
        self.trouble: str | None = None
        self._log, self._url, self._decode, self._sleep = log, database_url, decode, sleep
        self._clock = clock or SystemClock()
        self._quiet_s, self._batch_max, self._queue_max = quiet_s, batch_max, queue_max
        self._queue: deque[Sequence[Stored]] = deque()
        self._queued = 0
        self._behind = True
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()

    # -------------------------------------------------------------------------------------------------------- outside
    def offer(self, events: Sequence[Stored]) -> bool:
        """Hand over events in order.

        Returns:
            Whether there was room; what was refused is read from the log, nothing is lost.
        """
        if not events:
            return True
        self.head = max(self.head, events[-1].position)
        self._wake.set()
        if self._queued + len(events) > self._queue_max:
            self._behind = True
            return False
        self._queue.append(events)
        self._queued += len(events)
        return True

    async def caught_up(self, position: int) -> None:
        """Wait until every read model that is not stopped shows the event at ``position``."""
        await self.until(lambda: bool(self.live) and self._position(position) >= position)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds for this projector."""
        async with self._moved:
            await self._moved.wait_for(condition)

    def status(self) -> dict[str, Any]:
        """How the read models are, for people and supervisors."""
        return {
            "head": self.head,
            "queued": self._queued,
            "last_loop_at": self.last_loop_at,
            "trouble": self.trouble,
            "projections": {name: self._status(name) for name in self.projections},
        }

    def _status(self, name: str) -> dict[str, Any]:
        found, poison = self.live.get(name), self.poisoned.get(name)
        position = found.position if found else 0
        state = "stopped" if poison else "running" if found else "waiting"
        return {
            "state": state,
            "generation": found.number if found else None,
            "position": position,
            "lag": max(0, self.head - position),
            "poison": poison,
        }

    # -------------------------------------------------------------------------------------------------------- running
    async def run(self) -> None:
        """Follow the log until cancelled; what passes by itself is tried again, from where the read models are."""
        failures = 0
        while True:
            try:
                connection = await asyncpg.connect(self._url, server_settings={"synchronous_commit": "off"})
                try:
                    await generations.prepare(connection, list(self.projections.values()))
                    while True:
                        await self._locate(connection)
                        failures, self.trouble = 0, None
                        for _ in range(_LOOK_AGAIN):
                            if not await self._step(connection):
                                break
                finally:
                    connection.terminate()
            except TRANSIENT as error:
                self.trouble = f"{type(error).__name__}: {error}"
                _log.warning("projector waits", trouble=self.trouble, failures=failures)
                await self._sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1

    async def _locate(self, connection: asyncpg.Connection) -> None:
        """Find the live generations, and whether one has moved on past its poison."""
        self.head = max(self.head, await self._log.head())
        self.live = dict(await generations.live(connection, list(self.projections.values())))
        for name in self.projections.keys() - self.live.keys():
            error = "its rows are of another revision; run `pasar projection rebuild`"
            self.poisoned[name] = Poison(0, "", error)
        for name, found in self.live.items():
            poison = self.poisoned.get(name)
            if poison is not None and poison.position <= found.position:
                del self.poisoned[name]
        await self._tell()

    async def _step(self, connection: asyncpg.Connection) -> bool:
        """Fold one batch.

        Returns:
            False if the read models are not where they were thought to be.
        """
        self.last_loop_at = self._clock.now()
        running = [found for name, found in self.live.items() if name not in self.poisoned]
        if not running:
            await self._wait()
            return False
        events = await self._next(min(found.position for found in running))
        if not events:
            return await self._wait()
        try:
            await self._fold(connection, running, see(events, self._decode))
        except Fenced:
            return False
        await self._tell()
        return True

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _wait(self) -> bool:
        """Wait for news; whether there were any before the time was over."""
        try:
            async with asyncio.timeout(self._quiet_s):
                await self._wake.wait()
        except TimeoutError:
            self._behind = True
            return False
        return True

    def _position(self, otherwise: int) -> int:
        positions = (found.position for name, found in self.live.items() if name not in self.poisoned)
        return min(positions, default=otherwise)

    # ---------------------------------------------------------------------------------------------------------- input
    async def _next(self, position: int) -> Sequence[Stored]:
        """The events behind ``position``, from the queue as far as they follow it without gap, else from the log."""
        self._wake.clear()
        while self._queue and self._queue[0][-1].position <= position:
            self._queued -= len(self._queue.popleft())
        if not self._behind:
            events = self._take(position)
            if events or not self._queue:
                return events
        self._behind = False
        found = await self._log.read(position, self._batch_max)
        if found and (found[0].position != position + 1 or found[-1].position != position + len(found)):
            raise Corrupt(f"the log has a gap behind {position}")
        self._behind = self._behind or len(found) == self._batch_max
        self.head = max(self.head, position + len(found))
        return found or self._take(position)

    def _take(self, position: int) -> list[Stored]:
        """What is queued behind ``position``, up to the first gap."""
        taken: list[Stored] = []
        while self._queue and len(taken) < self._batch_max:
            events = self._queue[0]
            taken += _following(events, position + 1 + len(taken))
            if events[-1].position > position + len(taken):
                break
            self._queued -= len(self._queue.popleft())
        return taken

    # ---------------------------------------------------------------------------------------------------------- output
    async def _fold(self, connection: asyncpg.Connection, running: Sequence[Generation], events: list[Seen]) -> None:
        """Fold the events into all of ``running``; what fails is cut down to the read model and the event at fault."""
        last = events[-1].position
        behind = [found for found in running if found.position < last]
        if not behind:
            return
        try:
            moved = await write(connection, [(found, fold(found, events)) for found in behind], last)
        except (Fenced, *TRANSIENT):
            raise
        except Exception as error:  # whatever a fold or its rows do wrong stops that read model, and no other
            if len(behind) > 1:
                for found in behind:
                    await self._fold(connection, [found], events)
            elif len(events) > 1:
                half = len(events) // 2
                await self._fold(connection, behind, events[:half])
                name = behind[0].projection.name
                if name not in self.poisoned:
                    await self._fold(connection, [self.live[name]], events[half:])
            else:
                await self._stop(connection, behind[0], events[0], error)
            return
        self.live.update((found.projection.name, found) for found in moved)

    async def _stop(self, connection: asyncpg.Connection, found: Generation, seen: Seen, error: Exception) -> None:
        name = found.projection.name
        poison = Poison(seen.position, type(seen.event).__name__, f"{type(error).__name__}: {error}")
        self.poisoned[name] = poison
        _log.error(
            "projection stopped", projection=name, position=poison.position, event_type=poison.event, error=poison.error
        )
        await connection.execute(TRACK["poison"], name, found.number, poison.position, poison.error)


def _following(events: Sequence[Stored], expected: int) -> Sequence[Stored]:
    """The events that follow each other from ``expected`` on, each once."""
    if [event.position for event in events] == list(range(expected, expected + len(events))):
        return events
    found: list[Stored] = []
    for event in sorted(events, key=lambda event: event.position):
        if event.position == expected:
            found.append(event)
            expected += 1
    return found
