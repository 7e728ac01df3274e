"""Outlives the supervisor for a moment: ends the process groups that it kept, should it have been killed.

Run as a file. The supervisor writes ``+ GROUP SIGNAL`` for each child it starts and ``- GROUP`` when it has ended; when
the pipe closes, whatever still stands on the list gets its signal. On Linux the kernel has told the children already
(``child.py``); this reaches what they started themselves, and stands in where a kernel cannot tell them.
"""

import os
import signal
import sys
from collections.abc import Iterable


def survivors(lines: Iterable[str]) -> dict[int, int]:
    """Groups that were started and have not ended, each with its signal."""
    groups: dict[int, int] = {}
    for line in lines:
        match line.split():
            case ["+", group, number]:
                groups[int(group)] = int(number)
            case ["-", group]:
                groups.pop(int(group), None)
    return groups


if __name__ == "__main__":
    os.setpgid(0, 0)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    for group, number in survivors(sys.stdin).items():
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            continue
