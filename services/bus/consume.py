"""Consume: JetStream -> a read loop, from a position on, in order, without acknowledgements.

A projection keeps its own position, so its consumer is ephemeral and starts behind it. Two pulls stay open, and what
one read of the socket brings is handed over as one list.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.bus.events import STREAM, call, stored_from
from services.bus.wire import BusError, Message, Wire
from services.ports import Stored

PULL_MAX = 1_000
PULLS_OPEN = 2
RETRY_S = 0.2
#: How long without any delivery before the stream is asked whether there was one.
SILENCE_S = 1.0
#: How long the answer may take; a broker that hangs is as good as gone.
ANSWER_S = 3.0
_NANOSECONDS = 1_000_000_000
#: Where deliveries of the event stream would be acknowledged; another stream's are not events, whatever they say.
_DELIVERY = f"$JS.ACK.{STREAM}.".encode()

log = structlog.get_logger()


class Consumer:
    """Delivers events behind ``position()`` to ``offer``.

    After a lost broker or a wiped stream it starts again there.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        position: Callable[[], int],
        offer: Callable[[list[Stored]], Awaitable[None]],
        *,
        subjects: Sequence[str] = ("pasar.events.>",),
    ) -> None:
        self._connect, self._position, self._offer, self._subjects = connect, position, offer, tuple(subjects)
        self._arrived: asyncio.Queue[list[Message]] = asyncio.Queue()
        self.connected = False

    async def run(self) -> None:
        """Consume for ever."""
        while True:
            try:
                wire = await self._connect()
                try:
                    await self._consume(wire)
                finally:
                    self.connected = False
                    wire.close()
            except (BusError, OSError, TimeoutError) as error:
                log.warning("consumer waits for the broker", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _consume(self, wire: Wire) -> None:
        name, inbox = f"c{secrets.token_hex(6)}", wire.new_inbox()
        start = self._position() + 1
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "filter_subjects": self._subjects,
            "max_waiting": 16,
            "inactive_threshold": 30 * _NANOSECONDS,
            "mem_storage": True,
        }
        request = {"stream_name": STREAM, "config": config}
        await call(wire, f"CONSUMER.CREATE.{STREAM}.{name}", request)
        pull = json.dumps({"batch": PULL_MAX, "expires": 20 * _NANOSECONDS}).encode()
        next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name}"
        self._arrived = asyncio.Queue(maxsize=0)  # bounded by the pulls: at most PULLS_OPEN x PULL_MAX messages
        wire.subscribe(inbox, self._arrived.put_nowait)
        for _ in range(PULLS_OPEN):
            wire.publish(next_subject, pull, reply=inbox)
        self.connected = True
        taken = 0
        while True:
            messages = await self._next(wire, name)
            events = []
            for message in messages:
                if message.reply.startswith(_DELIVERY):
                    events.append(stored_from(int(message.reply.split(b".", 6)[5]), message))
                elif message.headers.startswith(b"NATS/1.0 408"):
                    wire.publish(next_subject, pull, reply=inbox)
                else:
                    raise BusError("the consumer is gone")
            if events:
                await self._offer(events)
            taken += len(events)
            while taken >= PULL_MAX:
                taken -= PULL_MAX
                wire.publish(next_subject, pull, reply=inbox)

    async def _next(self, wire: Wire, consumer: str) -> list[Message]:
        """The next messages; in a silence the broker is asked whether it still knows the consumer.

        Raises:
            BusError: It does not, or cannot be asked.
        """
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    return await self._arrived.get()
            except TimeoutError:
                if wire.closed.done():
                    raise BusError("the connection to the broker is lost") from None
                await call(wire, f"CONSUMER.INFO.{STREAM}.{consumer}", timeout_s=ANSWER_S)
