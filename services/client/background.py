"""An event loop in a thread of its own, which a notebook's blocking calls and any other loop can wait for."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from domain.errors import Refused

T = TypeVar("T")


class Closed(Refused):
    template = "this market was closed; open it again with pasar.connect()"


class Background:
    """Runs coroutines until ``stop``; a daemon, so that it does not keep an interpreter alive."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="pasar", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin it; the future is its end.

        Raises:
            Closed: The loop has stopped.
        """
        with self._lock:
            if not self._stopping:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise Closed

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it and wait for it, also inside another running loop; an interrupt ends it.

        Raises:
            Closed: The loop has stopped, or does before it is done.
        """
        try:
            self.check_may_wait()
        except RuntimeError:
            work.close()
            raise
        future = self.start(work)
        try:
            return future.result()
        except CancelledError:
            if self._stopping:
                raise Closed from None
            raise
        except BaseException:
            future.cancel()
            raise

    def check_may_wait(self) -> None:
        """Raises:
        RuntimeError: This is the loop's own thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("this would wait for itself: it was called on the market's own thread")

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call it soon in the loop; whatever was called before ``stop`` still happens.

        Raises:
            Closed: The loop has stopped.
        """
        with self._lock:
            if self._stopping:
                raise Closed
            self._loop.call_soon_threadsafe(function, *args)

    def later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call it in the loop after so many seconds, unless that has stopped."""
        with suppress(Closed):
            self.call(self._loop.call_later, seconds, function)

    @property
    def alive(self) -> bool:
        return not self._stopping

    def stop(self) -> None:
        """End the thread, after what was called before; who still waits for something is told ``Closed``."""
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


async def arrival(future: Future[T]) -> T:
    """Its result, in whatever loop this is awaited; who gives up waiting ends only the wait."""
    return await asyncio.shield(asyncio.wrap_future(future))
