"""What the running stack says about itself in ``PASAR_HOME/run``: a lock, held while it lives, and a state file.

The lock decides whether a stack runs; the file only describes it, and may be left over from one that was killed.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
from msgspec import Struct, structs

from domain.errors import Refused
from services.config import Settings


class AlreadyRunning(Refused):
    template: ClassVar[str] = "a stack already runs on {home} as process {pid}; stop it with `pasar down`"


class NotRunning(Refused):
    template: ClassVar[str] = "no stack runs on {home}; start one with `pasar up`"


class ServiceState(Struct, frozen=True, kw_only=True):
    """Attributes:
    state: ``waiting`` between a death and the next start.
    since: When it entered this state.
    restarts: Starts after the first one.
    """

    name: str
    state: Literal["starting", "ready", "waiting", "stopped"]
    since: datetime
    pid: int | None = None
    restarts: int = 0
    failing: bool = False


class StackState(Struct, frozen=True, kw_only=True):
    """Attributes:
    state: ``failing`` while a service keeps dying; ``failed`` when the stack gave up, for the reason in ``problem``.
    """

    state: Literal["starting", "up", "failing", "stopping", "failed"]
    pid: int
    started_at: datetime
    database_url: str
    nats_url: str
    page_url: str = ""
    problem: str = ""
    services: tuple[ServiceState, ...] = ()


def now() -> datetime:
    return datetime.now(UTC)


def _run_directory(settings: Settings) -> Path:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = settings.home / "run"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


@contextmanager
def lock(settings: Settings) -> Iterator[None]:
    """Hold this PASAR_HOME; it is let go when the process ends in whatever way.

    Raises:
        AlreadyRunning: Another stack holds it.
    """
    with (_run_directory(settings) / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunning(home=settings.home, pid=file.read().strip() or "unknown") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def holder(settings: Settings) -> int | None:
    """The process that runs a stack on this PASAR_HOME now."""
    path = settings.home / "run" / "lock"
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text else None
        return None


def write(settings: Settings, state: StackState) -> None:
    """Replace the state file in one step."""
    path = _run_directory(settings) / "stack.json"
    draft = path.with_name(f".stack.json.{os.getpid()}")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    draft.replace(path)


def read(settings: Settings) -> StackState | None:
    """What the last stack wrote, alive or not."""
    try:
        return msgspec.json.decode((settings.home / "run" / "stack.json").read_bytes(), type=StackState)
    except FileNotFoundError:
        return None


def forget(settings: Settings) -> None:
    """Remove the state file of a stack that has stopped."""
    (settings.home / "run" / "stack.json").unlink(missing_ok=True)


def running(settings: Settings) -> StackState:
    """The state of the stack that runs now.

    Raises:
        NotRunning: None does.
    """
    state = read(settings)
    pid = holder(settings)
    if pid is None or state is None or state.pid != pid:
        raise NotRunning(home=settings.home)
    return state


def attach(settings: Settings) -> Settings:
    """The settings with the addresses of the running stack filled in; external ones stand.

    Raises:
        NotRunning: An address is missing and no stack runs.
    """
    if settings.database_url and settings.nats_url:
        return settings
    state = running(settings)
    return structs.replace(
        settings,
        database_url=settings.database_url or state.database_url,
        nats_url=settings.nats_url or state.nats_url,
        market_key=None,
    )
