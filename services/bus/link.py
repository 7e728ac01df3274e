"""A wire that comes back: it connects again after every loss, and requests wait a moment for it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.bus.wire import BusError, NoResponders, Wire

RETRY_S = 0.2

log = structlog.get_logger()


class Link:
    """Requests over the newest wire. ``run`` keeps it connected."""

    def __init__(self, connect: Callable[[], Awaitable[Wire]]) -> None:
        self._connect = connect
        self._wire: Wire | None = None
        self._connected = asyncio.Event()

    async def run(self) -> None:
        """Stay connected for ever."""
        while True:
            try:
                self._wire = await self._connect()
                self._connected.set()
                await self._wire.closed
            except (BusError, OSError, TimeoutError) as error:
                log.debug("not connected", error=str(error) or type(error).__name__)
            self._connected.clear()
            await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()

    async def request(self, subject: str, data: bytes, timeout_s: float) -> bytes:
        """One request; while nobody is connected or answers, it waits within its time.

        Raises:
            TimeoutError: No answer came in time.
            BusError: The connection was lost while it waited for the answer, or the broker refused.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                await self._connected.wait()
                assert self._wire is not None
                try:
                    return await self._wire.request(subject, data, timeout_s=timeout_s)
                except NoResponders:
                    await asyncio.sleep(RETRY_S)
