"""What the page's port offers to curl: events that go on where they were, the log as a file, the contract."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services import schema
from services.ledger.errors import LogLost
from services.ports import Stored, SystemClock
from services.projections.queries import _translated
from services.viewing import archive
from services.viewing.archive import Archive
from services.viewing.pulse import Beat
from tests.logs import zipped
from tests.page.recorded import demo
from ui.page import feed, process
from ui.page.process import Running


class Growing:
    """A log and its pulse; whenever somebody waits for news, some events happen."""

    def __init__(self, events: Sequence[Stored], *, shown: int, more: int = 7) -> None:
        self.log, self.head, self._more = Archive(events), shown, more
        self.lost = False

    async def events(self, key: str | None = None, *, after: int = 0, limit: int = 4_000) -> list[Stored]:
        with _translated():
            if self.lost:
                raise LogLost("the database failed while reading: it is gone")
            found = self.log.page(after, limit) if key is None else self.log.of(key, after, limit)
            return [one for one in found if one.position <= self.head]

    async def latest_position(self) -> int:
        return self.head

    def beat(self) -> Beat:
        now = datetime.now(UTC)
        return Beat("live", self.head, self.head, now, now)

    async def changed(self, timeout_s: float) -> None:
        self.head = min(self.log.head(), self.head + self._more)


@pytest.fixture
async def growing() -> AsyncIterator[Growing]:
    found = Growing(demo().log.page(0, 10_000), shown=40)
    process.show(Running(None, found, found, SystemClock()))  # type: ignore[arg-type]
    yield found
    process.show(None)


async def ask(route: Any, query: str = "", **headers: str) -> Response:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": sent}
    answer: Response = await route(Request(scope))
    return answer


async def body(answer: Response) -> bytes:
    if isinstance(answer, StreamingResponse):
        return b"".join([bytes(piece) async for piece in answer.body_iterator])  # type: ignore[arg-type]
    return bytes(answer.body)


def ids(text: bytes) -> list[int]:
    return [int(line.removeprefix(b"id: ")) for line in text.split(b"\n") if line.startswith(b"id: ")]


# ------------------------------------------------------------------------------------------------------------- /events
async def test_events_are_told_from_after_up_to_the_end_that_was_asked_for(growing: Growing) -> None:
    answer = await ask(feed.events, "after=10&upto=200")
    assert answer.media_type == "text/event-stream"
    text = await body(answer)
    assert ids(text) == list(range(11, 201))
    (first,) = (part for part in text.split(b"\n\n") if part.startswith(b"id: 11\n"))
    head, event, data = first.split(b"\n")
    stored = growing.log.page(10, 1)[0]
    assert (head, event) == (b"id: 11", b"event: " + stored.name.encode())
    assert bytes(msgspec.json.decode(data.removeprefix(b"data: "), type=dict[str, msgspec.Raw])["data"]) == stored.data


async def test_events_of_a_page_each_are_not_lost_between_pages(
    growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE_EVENTS", 3)
    assert ids(await body(await ask(feed.events, "after=0&upto=100"))) == list(range(1, 101))


async def test_events_about_a_key_are_those_that_speak_of_it(growing: Growing) -> None:
    wanted = [one.position for one in growing.log.of("EscrowReleased", 0, 10_000)]
    text = await body(await ask(feed.events, f"after=0&upto={growing.log.head()}&about=EscrowReleased"))
    assert ids(text) == wanted
    assert ids(await body(await ask(feed.events, "after=0&upto=300&about=nobody"))) == []


async def test_nothing_is_lost_or_doubled_over_lost_connections(growing: Growing) -> None:
    chance, seen, last = random.Random(4), list[int](), 0
    while last < growing.log.head():
        answer = await ask(feed.events, "after=0", last_event_id=str(last))
        assert isinstance(answer, StreamingResponse)
        text, cut = b"", chance.randint(1, 4_000)
        async for piece in answer.body_iterator:
            text += bytes(piece)  # type: ignore[arg-type]
            if len(text) > cut or last + len(ids(text)) >= growing.log.head():
                break
        whole = text[:cut].rpartition(b"\n\n")[0] + b"\n\n" if len(text) > cut else text  # what a browser has of it
        seen += ids(whole)
        last = seen[-1] if seen else 0
    assert seen == list(range(1, growing.log.head() + 1))


async def test_events_go_on_when_the_database_comes_back(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SILENCE_S", 0)
    growing.lost = True
    answer = await ask(feed.events, "after=0&upto=20")
    assert isinstance(answer, StreamingResponse)
    text = b""
    async for piece in answer.body_iterator:
        text += bytes(piece)  # type: ignore[arg-type]
        growing.lost = False
    assert text.startswith(b": ")
    assert b"the database" in text
    assert ids(text) == list(range(1, 21))


@pytest.mark.parametrize(
    "bad", ["after=x", "after=-1", "after=1.5", "upto=", "after=" + "9" * 30, "after=%C2%B2", "after=%00"]
)
async def test_number_that_is_none_gets_a_sentence(growing: Growing, bad: str) -> None:
    answer = await ask(feed.events, bad)
    assert answer.status_code == 400
    assert b"give the position of an event" in await body(answer)
    assert len(bytes(answer.body)) < 300


@pytest.mark.parametrize("about", ["%00", "a%0Ab", "%D9%A3", "x" * 200])
async def test_key_that_is_none_gets_a_sentence(growing: Growing, about: str) -> None:
    answer = await ask(feed.events, f"after=0&upto=5&about={about}")
    assert answer.status_code == 400
    assert b"give a job, a party, an escrow" in await body(answer)


# ------------------------------------------------------------------------------------------------- /log, /asyncapi.json
async def test_log_is_sent_as_a_file_that_can_be_opened(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "FILE_EVENTS", 16)
    answer = await ask(feed.download)
    assert answer.headers["content-disposition"] == 'attachment; filename="pasar-40.jsonl.gz"'
    assert isinstance(answer, StreamingResponse)
    assert list(archive.read(await body(answer)).page(0, 10_000)) == list(growing.log.page(0, 40))
    part = await ask(feed.download, "upto=17")
    assert archive.read(await body(part)).head() == 17
    growing.head = growing.log.head()
    saved = zipped(growing.log.page(0, growing.head))
    assert await body(await ask(feed.download, "upto=99999")) == saved


async def test_log_up_to_nowhere_gets_a_sentence(growing: Growing) -> None:
    answer = await ask(feed.download, "upto=nowhere")
    assert answer.status_code == 400
    assert b"/log?upto=4211" in await body(answer)


async def test_contract_is_the_one_that_is_published(growing: Growing) -> None:
    answer = await ask(feed.contract)
    assert answer.media_type == "application/json"
    assert msgspec.json.decode(await body(answer)) == msgspec.json.decode(msgspec.json.encode(schema.asyncapi()))
