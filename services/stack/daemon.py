"""The stack as a process of its own: ``python -m services.stack`` is the supervisor that `pasar up` leaves behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from time import monotonic, sleep
from typing import ClassVar, Final

import msgspec
import structlog

from domain.errors import Refused
from services.config import Settings
from services.stack import state
from services.stack.page import Options
from services.stack.process import Service, tail
from services.stack.state import StackState
from services.stack.supervisor import Stack, environment, secrets
from services.worker.options import WorkerOptions

log = structlog.get_logger()

POLL_S: Final = 0.05
STOP_S: Final = 60.0


class StartFailed(Refused):
    template: ClassVar[str] = "the stack did not start: {reason}"


async def serve(
    settings: Settings, services: Sequence[Service], *, on_change: Callable[[StackState], None] = lambda _: None
) -> None:
    """Run the stack until SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    starting = asyncio.current_task()
    assert starting is not None

    def tell() -> None:
        if not told.is_set() and not up:
            starting.cancel()
        told.set()

    up = False
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    with suppress(asyncio.CancelledError):
        async with Stack(settings, services, on_change=on_change) as stack:
            up = True
            log.info("stack is up", pid=os.getpid(), nats_url=stack.settings.nats_url)
            await told.wait()
    if not up:  # told to stop before it was up
        state.forget(settings)
    log.info("stack has stopped")


def spawn(
    settings: Settings,
    *,
    workers: Mapping[str, WorkerOptions],
    page: Options | None = None,
    on_change: Callable[[StackState], None] = lambda _: None,
) -> StackState:
    """Start a supervisor that outlives this process, and wait until everything is ready.

    Args:
        page: How the page is served; as the environment says if absent.
    Raises:
        AlreadyRunning: A stack runs on this PASAR_HOME.
        StartFailed: It ended before it was up.
    """
    if (pid := state.holder(settings)) is not None:
        raise state.AlreadyRunning(home=settings.home, pid=pid)
    state.forget(settings)
    settings.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = settings.logs / "stack.out"
    known = {name: value for name, value in {**environment(settings), **secrets(settings)}.items() if value}
    with output.open("wb") as file:
        supervisor = subprocess.Popen(
            (sys.executable, "-m", "services.stack", "--workers", msgspec.json.encode(workers).decode()),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, **known, **(page.environment if page is not None else {})},
        )
    seen: StackState | None = None
    while True:
        ended = supervisor.poll()
        now = state.read(settings)
        if now is not None and now != seen:
            on_change(now)
        seen = now
        if ended is not None:
            raise StartFailed(reason=(now.problem if now else "") or tail(output))
        if now is not None and now.pid == supervisor.pid and now.state in ("up", "failing"):
            Thread(target=supervisor.wait, name="pasar supervisor", daemon=True).start()  # it lives on
            return now
        sleep(POLL_S)


def down(settings: Settings, *, timeout_s: float = STOP_S) -> int:
    """Stop the stack and wait until it is gone, by force when it does not go in time; the supervisor's pid.

    Raises:
        NotRunning: There is nothing to stop.
    """
    pid = state.holder(settings)
    if pid is None:
        state.forget(settings)
        raise state.NotRunning(home=settings.home)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = monotonic() + timeout_s
        while monotonic() < deadline:
            if state.holder(settings) is None:
                state.forget(settings)
                return pid
            sleep(POLL_S)
    raise StartFailed(reason=f"process {pid} does not end")
