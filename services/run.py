"""One process of the market: ``python -m services.run ROLE [--name NAME]``. The supervisor starts these."""

import argparse
import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable

import msgspec
import structlog
import uvloop

from services import bootstrap, config, logs
from services.config import Settings
from services.worker.options import WorkerOptions

log = structlog.get_logger()


async def _settlement(settings: Settings, name: str) -> None:
    from services.settlement import start  # what it loads is for these two processes only

    await start.run_settlement(settings, name)


async def _arbiter(settings: Settings, name: str) -> None:
    from services.settlement import start

    await start.run_arbiter(settings, name)


ROLES: dict[str, Callable[[Settings, str], Awaitable[None]]] = {
    "market": bootstrap.run_market,
    "relay": bootstrap.run_relay,
    "projector": bootstrap.run_projector,
    "referee": bootstrap.run_referee,
    "inspector": bootstrap.run_inspector,
    "settlement": _settlement,
    "arbiter": _arbiter,
}


async def serve(role: str, settings: Settings, name: str) -> None:
    """Run a role until SIGTERM or SIGINT."""
    task = asyncio.ensure_future(ROLES[role](settings, name))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    log.info("stopped")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.run", description=__doc__)
    parser.add_argument("role", choices=[*sorted(ROLES), "worker"])
    parser.add_argument("--name", help="distinguishes processes of the same role")
    parser.add_argument("--options", help="for a worker: its WorkerOptions, as JSON")
    arguments = parser.parse_args()
    settings = config.from_environment()
    name = arguments.name or arguments.role
    logs.configure(settings, name)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # the world and the queues are large and hold no cycles
    if arguments.role == "worker":
        options = msgspec.json.decode(arguments.options, type=WorkerOptions)
        uvloop.run(bootstrap.run_worker(settings, name, options))
    else:
        uvloop.run(serve(arguments.role, settings, name))


if __name__ == "__main__":
    main()
