"""The supervisor, until it is told to stop: ``python -m services.stack [--workers N]``."""

import argparse
import asyncio
import sys

from domain.errors import Refused
from services import logs
from services.config import from_environment
from services.stack.daemon import serve
from services.stack.roles import market_services


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.stack")
    parser.add_argument("--workers", type=int, default=0)
    settings = from_environment()
    logs.configure(settings, "stack")
    try:
        asyncio.run(serve(settings, market_services(workers=parser.parse_args().workers)))
    except Refused as refused:
        print(refused, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
