"""The market now, of which a log and rows are asked that may be ahead of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from services.ports import Stored
from services.viewing.present import Answers, Present
from tests.page.recorded import demo

LOG = demo().log


class Reader:
    """All of a log, and how often it was asked."""

    settled = None  # nothing here asks for money

    def __init__(self) -> None:
        self.asked = 0

    async def events(self, key: str | None = None, *, after: int = 0, limit: int = 1_000) -> Sequence[Stored]:
        self.asked += 1
        return LOG.page(after, limit) if key is None else LOG.of(key, after, limit)


def present(reader: Reader, answers: Answers, position: int) -> Present:
    ask: Any = asyncio.run
    return Present(reader, ask, answers, position, None)  # type: ignore[arg-type]


def test_events_that_no_read_model_shows_yet_are_not_shown() -> None:
    view = present(Reader(), Answers(), 300)
    assert [one.position for one in view.events(after=297, limit=10)] == [298, 299, 300]
    assert view.events("EscrowReleased")[-1].position <= 300 < LOG.of("EscrowReleased", 0, 1_000)[-1].position
    assert [one.position for one in view.latest(limit=2)] == [299, 300]


def test_a_question_is_asked_once_at_a_position_and_again_at_the_next() -> None:
    reader, answers = Reader(), Answers()
    for _ in range(3):
        present(reader, answers, 300).events("JobPosted")
    assert reader.asked == 1
    assert present(reader, answers, 301).events("JobPosted")
    assert reader.asked == 2


def test_a_page_that_is_late_does_not_bring_an_old_answer_back() -> None:
    reader, answers = Reader(), Answers()
    newer, older = present(reader, answers, 301), present(reader, answers, 300)
    newer.events(after=295, limit=10)
    assert [one.position for one in older.events(after=295, limit=10)][-1] == 300
    assert [one.position for one in newer.events(after=295, limit=10)][-1] == 301
    assert reader.asked == 2
