"""A wire that comes back: it connects again after every loss, and requests wait a moment for it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.bus import commands, wake
from services.bus.wire import BusError, Message, NoResponders, Wire
from services.ports import Clock

RETRY_S = 0.2

log = structlog.get_logger()


class Link:
    """Requests over the newest wire. ``run`` keeps it connected, and hears when ``market`` has begun anew."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]], market: str, clock: Clock) -> None:
        self._connect, self._wakes, self._clock = connect, wake.Wakes(market), clock
        self._wire: Wire | None = None
        self._connected = asyncio.Event()

    async def run(self) -> None:
        """Stay connected for ever."""
        while True:
            try:
                self._wire = await self._connect()
                self._wire.subscribe(wake.SUBJECT, self._woken)
                self._connected.set()
                await self._wire.closed
            except (BusError, OSError, TimeoutError) as error:
                log.debug("not connected", error=str(error) or type(error).__name__)
            self._connected.clear()
            await asyncio.sleep(RETRY_S)

    def _woken(self, messages: list[Message]) -> None:
        now = self._clock.now()
        if self._wire is not None and any(self._wakes.is_new(message.data, now) for message in messages):
            self._wire.abandon(commands.SUBJECT, "the market has begun anew; whether it knew of this is unknown")

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """One request; while nobody is connected or answers, it waits within its time.

        Raises:
            TimeoutError: No answer came in time.
            BusError: The connection or the market was lost while it waited for the answer, or the broker refused.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                await self._connected.wait()
                assert self._wire is not None
                try:
                    return await self._wire.request(subject, data, timeout_s=None)
                except NoResponders:
                    await asyncio.sleep(RETRY_S)
