"""Viewers without a browser: what the page's server has to do for people who look from machines of their own.

Each holds the two sockets that a tab holds, and asks for the page anew when it is told that something moved.
"""

import asyncio
import queue
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import msgspec
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from ui.page.feed import REDRAW_S


class Message(msgspec.Struct):
    """What ``/live`` says, as far as a viewer needs it."""

    position: int
    moved: int | None
    pace_s: float


class Viewer:
    """Attributes:
    drawn: Redraws that are complete.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._address = url.replace("http", "ws", 1)
        self.drawn = 0
        self._at = 0.0
        self._position = 0

    async def run(self) -> None:
        """Look at Market until cancelled."""
        async with (
            connect(
                f"{self._address}/_stcore/stream", subprotocols=["streamlit"], origin=self._url, max_size=None
            ) as page,  # type: ignore[list-item, arg-type]
            connect(f"{self._address}/live", origin=self._url) as live,  # type: ignore[arg-type]
        ):
            await self._draw(page)
            while True:
                await live.send(msgspec.json.encode({"drawn": self._position, "about": []}), text=True)
                message = msgspec.json.decode(await live.recv(), type=Message)
                self._position = self._position or message.position
                if message.moved is None or message.moved <= self._position:
                    continue
                spread = random.random() * (message.pace_s - REDRAW_S)
                waiting = asyncio.sleep(max(0.0, spread, message.pace_s - (monotonic() - self._at)))
                message = await self._listening(live, waiting, message)
                await self._draw(page)
                self._position = message.position

    async def _listening(self, live: ClientConnection, waiting: Any, last: Message) -> Message:
        """Hear what is said meanwhile; the last of it."""
        done = asyncio.ensure_future(waiting)
        while not done.done():
            heard = asyncio.ensure_future(live.recv())
            await asyncio.wait({done, heard}, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                last = msgspec.json.decode(heard.result(), type=Message)
            else:
                heard.cancel()
        return last

    async def _draw(self, page: ClientConnection) -> None:
        wanted = BackMsg()
        wanted.rerun_script.query_string = ""
        await page.send(wanted.SerializeToString())
        while True:
            data = await page.recv()
            assert isinstance(data, bytes)
            if ForwardMsg.FromString(data).WhichOneof("type") == "script_finished":
                break
        self.drawn += 1
        self._at = monotonic()


@contextmanager
def looking(url: str, count: int) -> Iterator[list[Viewer]]:
    """So many viewers, in a thread of their own."""
    viewers = [Viewer(url) for _ in range(count)]
    ends: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
    failed: list[object] = []

    async def look() -> None:
        tasks = [asyncio.ensure_future(viewer.run()) for viewer in viewers]
        all_ = asyncio.gather(*tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        ends.put(lambda: loop.call_soon_threadsafe(all_.cancel))
        with suppress(asyncio.CancelledError):
            await all_
        failed.extend(task.exception() for task in tasks if task.done() and not task.cancelled())

    thread = threading.Thread(target=lambda: asyncio.run(look()))
    thread.start()
    end = ends.get()
    try:
        while not all(viewer.drawn for viewer in viewers) and thread.is_alive():
            thread.join(0.05)
        yield viewers
    finally:
        if thread.is_alive():
            end()
        thread.join()
    assert not failed, failed
