"""What the tests of the embedded stack share: dummy services, and waiting for a fact instead of sleeping."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from services.config import Settings
from services.stack import state
from services.stack.process import Service
from services.stack.state import StackState

DEADLINE_S = 20.0
_READY = "from services.stack.ready import announce_ready; import signal, subprocess, sys; announce_ready();"


async def eventually(fact: Callable[[], object], *, timeout_s: float = DEADLINE_S) -> None:
    """Until ``fact()`` is true."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def wait_until(fact: Callable[[], object], *, timeout_s: float = DEADLINE_S) -> None:
    asyncio.run(eventually(fact, timeout_s=timeout_s))


def dummy(name: str, *, then: str = "signal.pause()", ready_s: float = 20.0, restart: bool = True) -> Service:
    """A service that is ready at once and then does ``then``."""
    return Service(name=name, argv=(sys.executable, "-c", f"{_READY} {then}"), ready_s=ready_s, restart=restart)


def outside(home: Path) -> Settings:
    """Settings under which neither PostgreSQL nor nats-server is started."""
    return Settings(home=home, database_url="postgresql://elsewhere/pasar", nats_url="nats://127.0.0.1:1")


def gone(pids: list[int]) -> bool:
    """Whether none of the processes is alive (one that only waits to be reaped is not)."""
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


class Supervisor:
    """A supervisor in a process of its own, with everything in it: PostgreSQL, nats-server and one service."""

    def __init__(self, home: Path, *, python: str = sys.executable, **options: object) -> None:
        self.settings = Settings(home=home)
        self.process = subprocess.Popen(
            (python, str(Path(__file__).with_name("supervise.py")), str(home)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def until_up(self) -> StackState:
        def up() -> bool:
            assert self.process.poll() is None, self.process.communicate()[0]
            now = state.read(self.settings)
            return now is not None and now.state == "up"

        wait_until(up)
        now = state.read(self.settings)
        assert now is not None
        return now

    def family(self) -> list[int]:
        """Every process below the supervisor, and itself."""
        root = psutil.Process(self.process.pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, and wait for the end of the supervisor; its status."""
        os.kill(self.process.pid, number)
        self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode
