"""How a service says that it serves: one line on a pipe that the supervisor reads, as s6 and systemd do it.

No file to go stale and nothing to poll: the pipe closes by itself when the service dies first.
"""

import os
from typing import Final

READY_FD: Final = "PASAR_READY_FD"


def announce_ready() -> None:
    """Tell the supervisor, if there is one, that this service now answers. Further calls do nothing."""
    number = os.environ.pop(READY_FD, None)
    if number is None:
        return
    descriptor = int(number)
    try:
        os.write(descriptor, b"\n")
    except BrokenPipeError:
        pass  # the supervisor no longer waits
    finally:
        os.close(descriptor)
