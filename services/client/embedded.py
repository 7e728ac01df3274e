"""Finding the market to talk to: the one that the environment names, the one that runs here, or a new one."""

import shutil
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

from msgspec import structs

from services.config import Settings, from_environment
from services.stack import daemon, state
from services.stack.daemon import StartFailed
from services.stack.roles import local_workers
from services.stack.state import AlreadyRunning

_POLL_S: Final = 0.05
_START_S: Final = 120.0


class Place(NamedTuple):
    """A market that runs.

    Attributes:
        settings: With its addresses.
        started: Whether it was started here.
        temporary: Its home, if that goes with it.
        external: Whether it is none of this machine's.
    """

    settings: Settings
    started: bool = False
    temporary: Path | None = None
    external: bool = False


def find(home: Path | None, workers: int, *, ephemeral: bool) -> Place:
    """The market, running.

    Raises:
        StartFailed: It did not start.
    """
    if ephemeral:
        return _temporary(workers)
    settings = from_environment()
    if home is not None:
        settings = structs.replace(settings, home=home.expanduser().absolute())
    if settings.database_url and settings.nats_url:
        return Place(settings, external=True)
    started = False
    if state.holder(settings) is None:
        try:
            daemon.spawn(settings, workers=local_workers(workers))
            started = True
        except AlreadyRunning:  # another notebook was quicker
            pass
    _until_up(settings)
    return Place(state.attach(settings), started)


def page_url(place: Place) -> str:
    """Where the market's page is; empty if it has none that is known here."""
    found = state.read(place.settings) if state.holder(place.settings) is not None else None
    return found.page_url if found is not None else ""


def stop(place: Place) -> None:
    """Stop it, and remove what was temporary."""
    daemon.down(place.settings)
    if place.temporary is not None:
        shutil.rmtree(place.temporary, ignore_errors=True)


def _temporary(workers: int) -> Place:
    home = Path(tempfile.mkdtemp(prefix="pasar-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    settings = structs.replace(from_environment({}), home=home)
    try:
        daemon.spawn(settings, workers=local_workers(workers))
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return Place(state.attach(settings), True, home)


def _until_up(settings: Settings) -> None:
    """Wait for a stack that somebody else is starting."""
    deadline = monotonic() + _START_S
    while True:
        now = state.running(settings) if state.holder(settings) is not None else None
        if now is not None and now.state in ("up", "failing"):
            return
        if now is None or monotonic() > deadline:
            found = state.read(settings)
            raise StartFailed(reason=(found.problem if found else "") or "it is not up; see `pasar status`")
        sleep(_POLL_S)
