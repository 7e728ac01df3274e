"""The page's process: ``python -m ui.page.serve``; ``services.stack.page`` says how the environment sets it up."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from domain.errors import Refused
from services.stack.page import FD, Options, listen, url


def main() -> int:
    try:
        options = Options.from_environment(os.environ)
        inherited = os.environ.pop(FD, "")
        listening = socket.socket(fileno=int(inherited)) if inherited else listen(options)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    if not inherited:
        print(f"the market's page is {url(options, listening.fileno())}", flush=True)
    with suppress(
        OSError
    ):  # where memory ends, the page goes before the market: it keeps nothing that is not elsewhere
        Path("/proc/self/oom_score_adj").write_text("900")
    serve(listening)
    return 0


def serve(listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    import uvicorn

    config = uvicorn.Config(
        "ui.page.asgi:app", loop="uvloop", ws_max_size=1 << 16, log_level="warning", access_log=False, lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
