"""Who draws now. Scripts share one interpreter: more at once only take time from each other and from the feed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Scripts that draw at once: one that computes for long does not stop the others.
MOST: Final = 3


class Turns:
    """A script takes a turn to draw, and lets another have it while it waits for an answer."""

    def __init__(self, most: int = MOST) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._mine = threading.local()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Draw when it is this thread's turn."""
        with self._free:
            self._mine.held = True
            try:
                yield
            finally:
                self._mine.held = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let another have the turn meanwhile."""
        if not getattr(self._mine, "held", False):
            yield
            return
        self._mine.held = False
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()
            self._mine.held = True


turns: Final = Turns()
