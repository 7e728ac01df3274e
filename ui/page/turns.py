"""Who draws now. Scripts share one interpreter: more at once only take time from each other and from the feed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

#: Scripts that draw at once: one that computes for long does not stop the others.
MOST: Final = 3
#: Of the last drawing in the average.
_WEIGHT: Final = 0.1


class Turns:
    """A script takes a turn to draw, and lets another have it while it waits for an answer.

    Attributes:
        cost_s: What a drawing took of the machine lately, in seconds.
    """

    def __init__(self, most: int = MOST, clock: Callable[[], float] = perf_counter) -> None:
        self._most, self._clock = most, clock
        self._free = threading.BoundedSemaphore(most)
        self._mine = threading.local()
        self.cost_s = 0.0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Draw when it is this thread's turn."""
        with self._free:
            self._mine.held, self._mine.waited_s = True, 0.0
            began = self._clock()
            try:
                yield
            finally:
                self._mine.held = False
                spent_s = (self._clock() - began - self._mine.waited_s) / self._most
                self.cost_s += _WEIGHT * (spent_s - self.cost_s)  # a lost update does no harm

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let another have the turn meanwhile."""
        if not getattr(self._mine, "held", False):
            yield
            return
        self._mine.held = False
        self._free.release()
        began = self._clock()
        try:
            yield
        finally:
            self._free.acquire()
            self._mine.held = True
            self._mine.waited_s += self._clock() - began


turns: Final = Turns()
