"""A market that was recorded, as the page's scripts see one that runs."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from services.config import Settings
from services.ports import Stored
from services.viewing import archive
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past, Progress
from services.viewing.pulse import Beat
from services.viewing.view import View
from tests.payouts import told
from ui.page import app, process

T = TypeVar("T")
LOGS = Path(__file__).parents[1] / "golden" / "logs"


class Moment:
    """A clock that stands still."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


class Live(Past):
    """The end of a log, shown as what moves."""

    live = True


class Recorded:
    """Attributes:
    upto: The last event that has happened; raise it to let something happen.
    """

    settings: Settings | None = None

    def __init__(self, events: Sequence[Stored]) -> None:
        self.log = Archive(events)
        self.upto = len(events)
        self._folds = Folds(self.log)
        self.clock = Moment(events[-1].recorded_at if events else datetime(2026, 11, 22, tzinfo=UTC))

    def view(self, upto: int | None, progress: Progress | None = None) -> View:
        if upto is None:
            return Live(self._folds.at(self.upto), self.log)
        return Past(self._folds.at(min(upto, self.upto), progress), self.log)

    def beat(self) -> Beat:
        now = self.clock.now()
        return Beat("live", self.upto, self.upto, now, now)

    def ask(self, work: Coroutine[Any, Any, T], /) -> T:
        return asyncio.run(work)


def demo() -> Recorded:
    """The log that ``pasar demo`` left: 24 tasks by two workers each, a third one that cheats, a referee."""
    return Recorded(archive.read((LOGS / "demo.jsonl.gz").read_bytes()).page(0, 10_000))


def payday() -> Recorded:
    """A market on a chain, with a payout of each fate."""
    return Recorded(told().records)


def look(market: process.Market, page: str = "market", query: Mapping[str, str] | None = None) -> AppTest:
    """A page as a fresh browser finds it at its address; what a script raises fails the test."""
    process.show(market)
    at = AppTest.from_file(app.__file__, default_timeout=20)
    at.query_params.update(query or {})
    if page != "market":
        at._page_hash = calc_hash(page)  # as a browser names it; the public way knows pages in files only
    at.run()
    assert not at.exception, at.exception
    return at


def text(at: AppTest) -> str:
    """All HTML of the page."""
    return "\n".join(one.value for one in at.get("html"))
