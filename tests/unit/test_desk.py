"""What reaches the jobs of a client when its market, its events or its own code fail; market and feed are fakes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.blobs import blob_ref
from domain.errors import EscrowTooSmall, Replayed, Unavailable, UnknownJob
from domain.events import (
    AnyEvent,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    JobCompleted,
    JobPosted,
    ResultCommitted,
    ResultSubmitted,
    ResultVerified,
    TaskAssigned,
)
from domain.meter import Meter
from domain.quote import Needs, Offer, quote
from services import arrays
from services.bus.client import RefusedByMarket
from services.bus.commands import Refusal
from services.bus.inspection import Finding
from services.client import buying, errors, quotes
from services.client.background import Background, Closed
from services.client.buying import Desk
from services.client.calls import Call, Calls
from services.client.jobs import Job, Made
from services.client.terms import Terms
from services.config import Settings
from services.projections.model import Seen
from tests.unit.test_story import AT, CLIENT, DIGEST, ESCROW, NONCE, REF, WORKER

METER = Meter(1_000, 0, 8, 64, 1, 1)


def refused(name: str) -> RefusedByMarket:
    return RefusedByMarket(Refusal(0, name, f"{name} was said"))


class FakeSession:
    """A market that says what the test wants to hear."""

    name, key, escrow, position = "anna", CLIENT, ESCROW, 0

    def __init__(self, feed: "FakeFeed") -> None:
        self.feed, self.opener = feed, self
        self.answers: list[Exception | None] = []
        self.recorded = True
        self.inspection: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.stocked: BaseException | None = None
        self.posted: list[str] = []
        self.cancelled: list[str] = []
        self.returned = arrays.pack({"0": np.float32(2)})

    async def inspect(self, program: bytes, *, admit: bool) -> Finding:
        await self.hold.wait()
        if self.inspection is not None:
            raise self.inspection
        return Finding(REF.address, DIGEST, METER, ("cpu",), "0")

    async def stock(self, *contents: bytes | None) -> None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as ended:
            self.stocked = ended
            raise

    async def post(self, work: Any, *, nonce: str) -> None:
        self.posted.append(nonce)
        answer = self.answers.pop(0) if self.answers else None
        if self.recorded:
            await self.feed.tell(*LIFE)
            self.recorded = False
        if answer is not None:
            raise answer

    async def cancel(self, job: str) -> None:
        self.cancelled.append(job)

    async def open(self, ref: Any) -> bytes:
        return self.returned


class FakeFeed:
    """Events that the test tells; ``fail`` ends it."""

    position = 0

    def __init__(self) -> None:
        self.stories: dict[str, tuple[Any, Callable[[], None]]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def watch(self, story: Any, escrow: str, heard: Callable[[], None]) -> None:
        self.stories[story.job] = story, heard

    def leave(self, job: str) -> None:
        self.stories.pop(job, None)

    async def run(self) -> None:
        await self.failed

    async def tell(self, *events: AnyEvent) -> None:
        for event in events:
            self.position += 1
            if JOB in self.stories:
                story, heard = self.stories[JOB]
                story.see(Seen(self.position, event, AT))
                heard()


class FakeReader:
    log: Any

    def __init__(self) -> None:
        self.log = self

    async def head(self) -> int:
        return 0

    async def wait_for(self, position: int) -> None: ...

    async def job(self, job: str) -> Any:
        raise UnknownJob(job=job)

    async def escrow(self, escrow: str) -> Any:
        raise Unavailable(reason="nobody")


class FakeMarket:
    def __init__(self) -> None:
        self._background = self

    def check_may_wait(self) -> None: ...

    def _later(self, seconds: float, function: Callable[[], None]) -> None: ...


JOB = "ab" * 12
LIFE: tuple[AnyEvent, ...] = (
    JobPosted(JOB, CLIENT, ESCROW, REF, None, None, 1, 1, 1_000, 0, 60, 128, ("cpu",), "xla", DIGEST, AT, 10),
    EscrowReserved(ESCROW, JOB, 1_010),
    TaskAssigned(JOB, 0, 0, WORKER, 1_000, AT),
    ResultCommitted(JOB, 0, 0, WORKER, DIGEST, None),
    ResultSubmitted(JOB, 0, 0, WORKER, NONCE, blob_ref(b"result", "00" * 16), DIGEST),
    ResultVerified(JOB, 0, 0, WORKER, "opened", settles=True),
    EscrowReleased(ESCROW, JOB, 0, 0, WORKER, 1_000),
    JobCompleted(JOB, 1, 0),
    FeeCharged(ESCROW, JOB, 10),
)


class Bench:
    """A desk among fakes, and one call to buy."""

    def __init__(self, desk: Desk, session: FakeSession, feed: FakeFeed) -> None:
        self.desk, self.session, self.feed = desk, session, feed

    def buy(self) -> Job:
        job = Job(FakeMarket(), JOB, 1, Made("double", CALL.form, mapped=False))  # type: ignore[arg-type]
        self.desk.begin(job, CALL, Terms(), NONCE)
        return job


CALL: Call = Calls(lambda x: x * 2).single((np.float32(1),), {})


@asynccontextmanager
async def a_desk(home: Path) -> AsyncIterator[Bench]:
    feed = FakeFeed()
    session = FakeSession(feed)
    fakes: Any = Settings(home=home), session, FakeReader(), feed
    async with asyncio.TaskGroup() as group:
        desk = Desk(*fakes, group)
        desk._spawn(desk._listen)
        try:
            yield Bench(desk, session, feed)
        finally:
            desk._shut(Closed())


@pytest.fixture(autouse=True)
def offers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def now(reader: Any, meter: Meter, needs: Needs, wanted: Any) -> Any:
        return quote(meter, [Offer(WORKER, True, "cpu", 1 << 20, 1_000)], needs, fee_ppm=10_000)

    monkeypatch.setattr(quotes, "quote_now", now)
    monkeypatch.setattr(buying, "LOOK_S", 0)


async def error_of(job: Job) -> BaseException | None:
    async with asyncio.timeout(10):
        with suppress(Exception):
            await asyncio.wrap_future(job._future)
    return job.exception()


async def test_job_is_bought_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        job = bench.buy()
        assert await error_of(job) is None
        assert job.result() == 2
        assert not bench.desk._jobs
        assert not bench.feed.stories
        assert not bench.desk._posting


@pytest.mark.parametrize("said", [Unavailable.__name__, EscrowTooSmall.__name__])
async def test_refusal_before_there_is_a_quote_ends_that_job_alone(tmp_path: Path, said: str) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.inspection = refused(said)
        assert isinstance(await error_of(bench.buy()), errors.Refused)
        bench.session.inspection = None
        assert await error_of(bench.buy()) is None


async def test_escrow_that_is_too_small_is_told_although_nobody_says_what_is_free(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.answers, bench.session.recorded = [refused(EscrowTooSmall.__name__)], False
        assert isinstance(await error_of(bench.buy()), RefusedByMarket)
        bench.desk.check()


async def test_lost_feed_ends_open_jobs_and_all_later_calls_with_its_reason(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.hold.clear()
        job = bench.buy()
        bench.feed.failed.set_exception(PermissionError("reader may not subscribe"))
        assert "reader may not subscribe" in str(await error_of(job))
        assert isinstance(await error_of(bench.buy()), errors.ConnectionLost)
        with pytest.raises(errors.ConnectionLost, match=r"pasar\.connect\(\)"):
            bench.desk.check()


async def test_job_that_waits_when_the_market_is_closed_is_told(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.hold.clear()
        job = bench.buy()
    assert isinstance(job.exception(), Closed)
    assert isinstance(bench.buy().exception(), Closed)


async def test_cancelled_before_it_is_posted_it_is_not_posted(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        job = bench.buy()
        assert await bench.desk.cancel(job)
        assert "cancelled before it was posted" in str(await error_of(job))
        assert not await bench.desk.cancel(job)
        assert (bench.session.posted, bench.session.cancelled) == ([], [])


async def test_lost_answer_is_asked_for_under_the_same_nonce(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.answers = [TimeoutError()]
        assert await error_of(bench.buy()) is None
        assert bench.session.posted == [NONCE]  # its events told first
    async with a_desk(tmp_path) as bench:
        bench.session.recorded = False
        bench.session.answers = [TimeoutError(), refused(Unavailable.__name__)]
        job = bench.buy()
        while len(bench.session.posted) < 3:  # noqa: ASYNC110  the fake has no event to wait for
            await asyncio.sleep(0)
        await bench.feed.tell(*LIFE)
        assert await error_of(job) is None
        assert bench.session.posted == [NONCE] * 3


async def test_job_of_which_nobody_knows_whether_it_was_posted_says_so(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.recorded = False
        bench.session.answers = [TimeoutError(), refused(Replayed.__name__), refused(Replayed.__name__)]
        error = await error_of(bench.buy())
        assert isinstance(error, errors.NoAnswer)
        assert JOB in str(error)
        bench.desk.check()


async def test_result_of_another_form_is_no_result(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as bench:
        bench.session.returned = arrays.pack({"0": np.zeros((7, 2), np.int8)})
        error = await error_of(bench.buy())
        assert isinstance(error, errors.ResultUnfit)
        assert "replicas=2" in str(error)


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    try:
        yield made
    finally:
        made.stop()


def test_who_waits_when_the_loop_stops_is_told(background: Background) -> None:
    began, found = threading.Event(), list[type]()

    async def for_ever() -> None:
        began.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            background.run(for_ever())
        except Closed as closed:
            found.append(type(closed))

    waiting = threading.Thread(target=wait)
    waiting.start()
    began.wait()
    background.stop()
    waiting.join()
    assert found == [Closed]
    with pytest.raises(Closed, match=r"pasar\.connect\(\)"):
        background.call(print)


def test_callback_on_the_market_s_thread_may_not_wait(background: Background) -> None:
    async def inside() -> None:
        background.check_may_wait()

    with pytest.raises(RuntimeError, match="wait for itself"):
        background.run(inside())
