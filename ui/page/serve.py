"""The page's process: ``python -m ui.page.serve``; where it listens comes from the environment, see ``options``."""

import os
import socket
import sys

from domain.errors import Refused
from ui.page.options import Options


def main() -> int:
    import uvicorn

    try:
        options = Options.from_environment(os.environ)
        listening = listen(options)
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    config = uvicorn.Config(
        "ui.page.asgi:app", loop="uvloop", ws_max_size=1 << 16, log_level="warning", access_log=False, lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def listen(options: Options) -> socket.socket:
    """The socket, bound; its port is free or this fails at once."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((options.host, options.port))
    return found


if __name__ == "__main__":
    sys.exit(main())
