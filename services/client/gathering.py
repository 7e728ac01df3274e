"""Waiting for several jobs or tasks at once."""

import asyncio
import queue
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from services.client.jobs import Waitable


def as_completed(handles: Iterable[Waitable], *, timeout: float | None = None, progress: bool = True) -> "AsCompleted":
    """Jobs, or the tasks of one job, in the order in which they end; for ``for`` and ``async for``.

    Args:
        timeout: Seconds for all of them together.
        progress: Show a bar on standard error, or in the notebook.
    Raises:
        TimeoutError: While iterating: not all have ended.
    """
    return AsCompleted(list(handles), timeout, progress)


def gather(*handles: Waitable | Iterable[Waitable], timeout: float | None = None) -> list[Any]:
    """The results of all these jobs or tasks, in their order.

    Args:
        timeout: Seconds for all of them together.
    Raises:
        TimeoutError, JobFailed: As the first ``result()`` that does.
    """
    flat = [one for each in handles for one in ([each] if isinstance(each, Waitable) else each)]
    end = None if timeout is None else monotonic() + timeout
    return [one.result(None if end is None else max(0.0, end - monotonic())) for one in flat]


class AsCompleted:
    """See ``as_completed``."""

    def __init__(self, handles: list[Waitable], timeout: float | None, progress: bool) -> None:
        self._handles, self._timeout, self._progress = handles, timeout, progress

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Waitable]:
        ended: queue.SimpleQueue[Waitable] = queue.SimpleQueue()  # holds each handle once
        for handle in self._handles:
            handle.add_done_callback(ended.put)
        end = None if self._timeout is None else monotonic() + self._timeout
        with self._bar() as step:
            for done in range(len(self._handles)):
                try:
                    handle = ended.get(timeout=None if end is None else max(0.0, end - monotonic()))
                except queue.Empty:
                    raise self._late(done) from None
                step()
                yield handle

    async def __aiter__(self) -> AsyncIterator[Waitable]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Queue[Waitable] = asyncio.Queue(maxsize=0)  # holds each handle once

        def put(handle: Waitable) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.put_nowait, handle)

        for handle in self._handles:
            handle.add_done_callback(put)
        end = None if self._timeout is None else loop.time() + self._timeout
        with self._bar() as step:
            for done in range(len(self._handles)):
                try:
                    async with asyncio.timeout_at(end):
                        handle = await ended.get()
                except TimeoutError:
                    raise self._late(done) from None
                step()
                yield handle

    def _late(self, done: int) -> TimeoutError:
        return TimeoutError(f"{done} of {len(self._handles)} ended within {self._timeout:g} s; the others go on")

    @contextmanager
    def _bar(self) -> "Iterator[Any]":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no widgets are installed: it shows text then
            from tqdm.auto import tqdm

            bar = tqdm(total=len(self._handles), disable=not self._progress)
        try:
            yield bar.update
        finally:
            bar.close()
