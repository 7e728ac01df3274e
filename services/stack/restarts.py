"""When to start a service again that died: at once, then ever later, and when to call it failing."""

from collections import deque
from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 5.0
#: A service that lived this long is healthy: its next death counts as a first one.
HEALTHY_S: Final = 10.0
DEATHS_MAX: Final = 10
WINDOW_S: Final = 60.0


class Restarts:
    """The deaths of one service; times in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.count = 0
        self._in_a_row = 0
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)

    def died(self, *, at: float, after_s: float) -> float:
        """Note a death after ``after_s`` of life; the seconds to wait before the next start."""
        self._in_a_row = 0 if after_s >= HEALTHY_S else self._in_a_row
        delay = min(LONGEST_S, FIRST_S * 2.0**self._in_a_row)
        self._in_a_row = min(self._in_a_row + 1, 16)
        self._deaths.append(at)
        self.count += 1
        return delay

    def failing(self, *, at: float) -> bool:
        """Whether it died ten times within the last minute."""
        return len(self._deaths) == DEATHS_MAX and at - self._deaths[0] <= WINDOW_S
