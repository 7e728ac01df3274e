"""The supervisor, until it is told to stop: ``python -m services.stack [--workers JSON]``."""

import argparse
import asyncio
import os
import sys

import msgspec

from domain.errors import Refused
from services import logs
from services.config import from_environment
from services.stack import page
from services.stack.daemon import serve
from services.stack.roles import market_services
from services.worker.options import WorkerOptions


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.stack")
    parser.add_argument("--workers", default="{}", help="options of each worker by its name, as JSON")
    settings = from_environment()
    logs.configure(settings, "stack")
    workers = msgspec.json.decode(parser.parse_args().workers, type=dict[str, WorkerOptions])
    try:
        shown = page.services(page.Options.from_environment(os.environ))
        asyncio.run(serve(settings, (*market_services(workers), *shown)))
    except Refused as refused:
        print(refused, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
