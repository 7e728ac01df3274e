"""An event loop in a thread of its own, which a notebook's blocking calls and any other loop can wait for."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from domain.errors import Refused

T = TypeVar("T")


class Closed(Refused):
    template = "this market was closed; open it again with pasar.connect()"


class Background:
    """Runs coroutines until ``stop``; a daemon, so that it does not keep an interpreter alive."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="pasar", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin it; the future is its end.

        Raises:
            Closed: The loop has stopped.
        """
        if not self._thread.is_alive():
            work.close()
            raise Closed
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it and wait for it, also inside another running loop; an interrupt ends it.

        Raises:
            Closed: The loop has stopped.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("this would wait for itself: it was called on the market's own thread")
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call it soon in the loop; nothing happens once that has stopped."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(function, *args)

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call it in the loop after so many seconds."""
        self.call(self._loop.call_later, seconds, function)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread, after what was called before."""
        self.call(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


async def arrival(future: Future[T]) -> T:
    """Its result, in whatever loop this is awaited; who gives up waiting ends only the wait."""
    return await asyncio.shield(asyncio.wrap_future(future))
