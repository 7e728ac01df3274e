"""Relay: log -> JetStream, in order, exactly once, with no memory of its own.

The stream is the checkpoint: each publication expects the sequence before it, so a second relay, a lost acknowledgement
or a wiped broker all show as a wrong last sequence; the relay reads the sequence again and goes on from there.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence

import structlog

from domain.errors import Unavailable
from services.bus.events import BATCH_MAX, ensure_stream, headers_of, subject_of
from services.bus.wire import BusError, Wire
from services.ledger.errors import LogLost
from services.ports import Clock, EventLog, Stored

#: Up to this many events go as plain messages: the broker answers one in 0.9 ms, an atomic batch in 3.4 ms.
SINGLE_MAX = 8
#: From one atomic batch to the next: each costs the broker milliseconds whatever its size, so what is committed
#: meanwhile goes together. The first of a while goes at once.
PACE_S = 0.03
#: The longest time without a look at the log when nobody wakes the relay.
POLL_S = 0.5
RETRY_S = 0.2

log = structlog.get_logger()


class WrongLastSequence(BusError):
    """Somebody else published, or the stream lost its end."""


class Relay:
    """Publishes what the log has and the stream has not."""

    def __init__(self, events: EventLog, connect: Callable[[], Awaitable[Wire]], clock: Clock) -> None:
        self._events, self._connect, self._clock = events, connect, clock
        self._wake = asyncio.Event()
        self.position = 0
        self.conflicts = 0
        self.connected = False

    def wake(self) -> None:
        """The log has grown."""
        self._wake.set()

    def status(self) -> dict[str, object]:
        """What the process reports of itself."""
        return {
            "position": self.position,
            "connected": self.connected,
            "conflicts": self.conflicts,
            "at": self._clock.now().isoformat(),
        }

    async def run(self) -> None:
        """Relay for ever; a lost broker or database is waited for."""
        while True:
            try:
                wire = await self._connect()
                try:
                    await self._relay(wire)
                finally:
                    self.connected = False
                    wire.close()
            except (BusError, LogLost, Unavailable, OSError, TimeoutError) as error:
                log.warning("relay waits", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _relay(self, wire: Wire) -> None:
        wire.subscribe("pasar.head", lambda _: self._wake.set())
        self.position = await ensure_stream(wire)
        self.connected = True
        log.info("relaying", position=self.position)
        while True:
            self._wake.clear()
            events = await self._events.read(self.position, BATCH_MAX)
            if not events:
                await self._idle(wire)
                continue
            clock = asyncio.get_running_loop().time
            began = clock()
            try:
                self.position = await publish(wire, events, self.position)
            except WrongLastSequence:
                self.conflicts += 1
                self.position = await ensure_stream(wire)
            if SINGLE_MAX < len(events) < BATCH_MAX:
                await asyncio.sleep(max(0.0, began + PACE_S - clock()))

    async def _idle(self, wire: Wire) -> None:
        if wire.closed.done():
            raise BusError("the connection to the broker is lost")
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return


async def publish(wire: Wire, events: Sequence[Stored], last: int) -> int:
    """Publish events whose first follows ``last``, all or a leading part of them.

    Returns:
        The stream's new last sequence.
    Raises:
        WrongLastSequence: The stream does not end at ``last``.
        BusError, TimeoutError: The broker refused or did not answer.
    """
    assert events[0].position == last + 1, "the relay publishes the log without gap"
    if len(events) <= SINGLE_MAX:
        return await _publish_chained(wire, events, last)
    return await _publish_batch(wire, events, last)


async def _publish_chained(wire: Wire, events: Sequence[Stored], last: int) -> int:
    answers = []
    for offset, event in enumerate(events):
        subject = subject_of(event.stream, event.name)
        token, answer = wire.ask(subject)
        expected = f"Nats-Expected-Last-Sequence: {last + offset}\r\n".encode()
        headers = b"NATS/1.0\r\n" + expected + headers_of(event) + b"\r\n"
        wire.publish(subject, event.data, reply=token, headers=headers)
        answers.append(answer)
    async with asyncio.timeout(10):
        acknowledged = [_sequence(await answer) for answer in answers]
    return acknowledged[-1]


async def _publish_batch(wire: Wire, events: Sequence[Stored], last: int) -> int:
    """ADR-50 atomic batch: all events or none."""
    batch, final = secrets.token_hex(8), len(events)
    token, answer = wire.ask("")
    for number, event in enumerate(events, start=1):
        lines = f"NATS/1.0\r\nNats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n"
        if number == 1:
            lines += f"Nats-Expected-Last-Sequence: {last}\r\n"
        if number == final:
            lines += "Nats-Batch-Commit: 1\r\n"
        headers = lines.encode() + headers_of(event) + b"\r\n"
        reply = token if number == final else ""
        wire.publish(subject_of(event.stream, event.name), event.data, reply=reply, headers=headers)
    await wire.drain()
    async with asyncio.timeout(10):
        return _sequence(await answer)


def _sequence(answer: bytes) -> int:
    acknowledged = json.loads(answer)
    error = acknowledged.get("error")
    if error is None:
        return int(acknowledged["seq"])
    if error.get("err_code") == 10071:
        raise WrongLastSequence(error["description"])
    raise BusError(error["description"])
