"""What the scripts of one process share. Streamlit gives them no arguments, so they find it here."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, ClassVar, Final, Protocol, TypeVar

from domain.blobs import address_of
from domain.errors import Refused
from services.config import Settings
from services.ports import Clock
from services.projections.queries import Reader
from services.viewing.archive import Archive, read
from services.viewing.past import Folds, Past, Progress
from services.viewing.present import Answers, LogFacts, Present
from services.viewing.pulse import Beat, Pulse
from services.viewing.view import View
from ui.page.turns import turns

T = TypeVar("T")
#: How long a script waits for the database, in seconds.
PATIENCE_S: Final = 30.0
#: Downloaded logs that are looked at here at the same time.
ARCHIVES_MAX: Final = 8
#: What all of them may take, in bytes; the last one is kept however large it is.
ARCHIVES_BYTES_MAX: Final = 256 << 20


class NoAnswer(Refused):
    template: ClassVar[str] = "the database did not answer in {seconds:.0f} s; reload, or see `pasar status`"


class NoSuchLog(Refused):
    template: ClassVar[str] = "the log {log} is not here any more; open the file again on the Audit page"


class Market(Protocol):
    """The market that is shown: a running one, or in tests one that was recorded."""

    clock: Clock
    #: Where it runs; absent for a recorded one.
    settings: Settings | None

    def view(self, upto: int | None, progress: Progress | None = None) -> View:
        """As it is, or as it was after an event."""
        ...

    def beat(self) -> Beat: ...

    def ask(self, work: Coroutine[Any, Any, T], /) -> T:
        """Do it in the process's loop and wait for it."""
        ...


class Running:
    """The market that this process is connected to. Its scripts run in threads of their own."""

    def __init__(self, settings: Settings, reader: Reader, pulse: Pulse, clock: Clock) -> None:
        self.settings: Settings | None = settings
        self.reader, self.pulse, self.clock = reader, pulse, clock
        self._loop = asyncio.get_running_loop()
        self._answers = Answers()
        self._folds = Folds(LogFacts(reader, self.ask), turns.waiting)

    def view(self, upto: int | None, progress: Progress | None = None) -> View:
        beat = self.pulse.beat()
        if upto is None:
            return Present(self.reader, self.ask, self._answers, beat.position, beat.at)
        return Past(self._folds.at(upto, progress), LogFacts(self.reader, self.ask))

    def beat(self) -> Beat:
        return self.pulse.beat()

    def ask(self, work: Coroutine[Any, Any, T], /) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            with turns.waiting():
                return future.result(PATIENCE_S)
        except TimeoutError:
            future.cancel()
            raise NoAnswer(seconds=PATIENCE_S) from None


class Archives:
    """Logs that somebody opened here from a file, by the beginning of the file's digest; those looked at last stay."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Archive, Folds]] = OrderedDict()

    def open(self, file: bytes) -> str:
        """Take a file in; what it is called from here on.

        Raises:
            NoLog: It is none.
        """
        name = address_of(file).removeprefix("sha256:")[:16]
        archive = read(file)
        with self._lock:
            self._kept.pop(name, None)
            self._kept[name] = archive, Folds(archive, turns.waiting)
            while len(self._kept) > ARCHIVES_MAX or (len(self._kept) > 1 and self._bytes() > ARCHIVES_BYTES_MAX):
                self._kept.popitem(last=False)
        return name

    def _bytes(self) -> int:
        return sum(archive.size for archive, _ in self._kept.values())

    def view(self, name: str, upto: int | None, progress: Progress | None = None) -> View:
        """The log as of an event, or as far as it can be followed.

        Raises:
            NoSuchLog: It was not opened here, or long ago.
        """
        archive, folds = self._found(name)
        return Past(folds.at(archive.sound if upto is None else min(upto, archive.sound), progress), archive)

    def log(self, name: str) -> Archive:
        """All of its events.

        Raises:
            NoSuchLog: It was not opened here, or long ago.
        """
        return self._found(name)[0]

    def _found(self, name: str) -> tuple[Archive, Folds]:
        with self._lock:
            found = self._kept.get(name)
            if found is None:
                raise NoSuchLog(log=name)
            self._kept.move_to_end(name)
            return found


archives = Archives()
_market: Market | None = None


def show(market: Market | None) -> None:
    """From here on scripts see this market."""
    global _market
    _market = market


def running() -> Running:
    """The market that this process is connected to."""
    assert isinstance(_market, Running), "requests come while the process serves"
    return _market


def market() -> Market:
    """The market that is shown."""
    assert _market is not None, "scripts run while the process serves"
    return _market
