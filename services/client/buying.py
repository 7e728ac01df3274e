"""The desk: all of a client's business on the market's thread, from a quote to the last result."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import structlog

from domain.blobs import BlobRef, address_of
from domain.errors import BlobMissing, Corrupt, JobClosed, Refused, Replayed, Unavailable, UnknownEscrow, UnknownJob
from domain.events import JobCompleted
from services import bootstrap
from services.arrays import BadArrays
from services.bus.client import RefusedByMarket
from services.bus.inspection import Finding
from services.bus.wire import BusError
from services.client import pricing
from services.client.background import Closed
from services.client.bill import Quote
from services.client.calls import Call, Form, Unfit, opened
from services.client.errors import (
    ConnectionLost,
    JobFailed,
    NoAnswer,
    NobodyEligible,
    OverBudget,
    ResultLost,
    ResultUnfit,
    told,
)
from services.client.feed import Feed
from services.client.jobs import Job, Made, failure
from services.client.session import Session, Work, follow, session
from services.client.story import Story
from services.client.terms import Terms
from services.config import Settings
from services.ledger.codec import decode_stored
from services.ledger.errors import LogLost
from services.ledger.root import SignedRoot
from services.ports import Stored
from services.programs.export import load
from services.projections import queries
from services.projections.model import Seen
from services.projections.queries import Reader
from services.receipt.form import Receipt
from services.receipt.make import make

T = TypeVar("T")
#: Results that are fetched at a time.
FETCHES: Final = 16
#: Events of one page.
PAGE: Final = 1_000
#: How often a job is sent whose answer was lost, and how long each time its events are waited for, in seconds.
SENDS: Final = 3
LOOK_S: Final = 1.0

log = structlog.get_logger()


class Desk:
    """One client's business; ``open`` it and use it in that loop.

    Nothing that goes wrong with one job reaches another. What goes wrong with all of them, as an end of the feed, ends
    every open job and all later calls with the same error.

    Attributes:
        dead: Why nothing can be done here any more.
    """

    def __init__(
        self, settings: Settings, session: Session, reader: Reader, feed: Feed, group: asyncio.TaskGroup
    ) -> None:
        self._settings, self.session, self._reader, self._feed, self._group = settings, session, reader, feed, group
        self._findings: dict[str, Finding] = {}
        self._fetching = asyncio.Semaphore(FETCHES)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._jobs: dict[str, Job] = {}
        self._pricing: dict[str, asyncio.Task[None]] = {}
        self._posting: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.dead: Refused | None = None
        self._own = settings.home / "clients" / session.name / "programs"
        self._own.mkdir(parents=True, exist_ok=True, mode=0o700)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, name: str) -> AsyncIterator["Desk"]:
        """The desk of the party called ``name``.

        Raises:
            Unavailable, NoReadModels: The market does not answer.
        """
        assert settings.database_url is not None, "the market was found before"
        async with session(settings, name) as client, await Reader.open(settings.database_url) as reader:
            head = await reader.log.head()
            await reader.wait_for(head)
            feed = Feed(settings, head)
            async with asyncio.TaskGroup() as group:
                desk = cls(settings, client, reader, feed, group)
                desk._spawn(desk._listen)
                try:
                    yield desk
                finally:
                    desk._shut(Closed())

    def check(self) -> None:
        """Raises:
        Closed, ConnectionLost: Nothing can be done here any more.
        """
        if self.dead is not None:
            raise self.dead

    # ---------------------------------------------------------------------------------------------------------- looking
    async def ask(self, question: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        """An answer of the read models, after all that this client did."""
        await self._reader.wait_for(self.session.position)
        return await question(self._reader)

    async def escrow(self) -> queries.Escrow:
        """This client's escrow, empty if it was never funded."""
        try:
            return await self.ask(lambda reader: reader.escrow(self.session.escrow))
        except UnknownEscrow:
            none = dict.fromkeys(_AMOUNTS, 0)
            return queries.Escrow(escrow=self.session.escrow, client=self.session.key, last_pos=0, **none)

    async def kept(self, key: str | None, after: int) -> AsyncIterator[Stored]:
        """The events behind a position that the log holds now, of one job or of all."""
        head = await self._reader.log.head()
        await self._reader.wait_for(head)
        while page := await self._reader.events(key, after=after, limit=PAGE):
            for stored in page:
                if stored.position > head:
                    return
                yield stored
            after = page[-1].position

    async def until_completed(self, job: str, after: int) -> AsyncIterator[Stored]:
        """A job's events behind a position, until it is completed."""
        async for stored in follow(self._settings, after=after, subject=f"pasar.events.*.{job}.>"):
            yield stored
            if stored.name.startswith(f"{JobCompleted.__name__}."):
                return

    async def receipt(self, job: str) -> Receipt:
        """The receipt of a completed job.

        Raises:
            NoReceiptYet: It is not over.
        """
        settings, reader = self._settings, self._reader
        await reader.wait_for(await reader.log.head())

        async def root(covers: int) -> SignedRoot:
            return await bootstrap.signed_root(settings, covers=covers)

        return await make(reader, bootstrap.operator(settings), job, root)

    # ----------------------------------------------------------------------------------------------------------- buying
    async def quote(self, function: str, call: Call, terms: Terms, *, admit: bool = False) -> Quote:
        """What the call would cost now.

        Args:
            admit: Have the program recorded, so that it may be posted.
        Raises:
            Inadmissible: The market does not run it.
        """
        finding = await self._inspect(call.program, admit=admit)
        return await pricing.quote(self._reader, self.session.key, function, call, terms, finding)

    def begin(self, job: Job, call: Call, terms: Terms, nonce: str) -> None:
        """Buy it in the background."""
        if self.dead is not None:
            job._refused(self.dead)
            return
        self._jobs[job.id] = job
        self._pricing[job.id] = self._spawn(self._buy, job, call, terms, nonce)

    async def cancel(self, job: Job) -> bool:
        """Ask for no further work on a job; whether that was done, which it is not once the job is over.

        Raises:
            RefusedByMarket: It is another client's.
        """
        if (pricing := self._pricing.pop(job.id, None)) is not None:
            pricing.cancel()
            self._end(job, JobFailed(job.id, "it was cancelled before it was posted", _AGAIN))
            return True
        if (posting := self._posting.get(job.id)) is not None:
            await asyncio.wait({posting})
        if job.done():
            return False
        try:
            await self.session.cancel(job.id)
        except RefusedByMarket as refused:
            if refused.name == JobClosed.__name__:
                return False
            raise
        return True

    async def _buy(self, job: Job, call: Call, terms: Terms, nonce: str) -> None:
        """Price a call and post it; whatever goes wrong is the job's end."""
        try:
            work = await self._priced(job, call, terms)
            if (task := self._pricing.pop(job.id, None)) is not None:
                self._posting[job.id] = task
            self._remember(call.program, job._made.function)
            self._follow(job, self.session.escrow)
            await self._post(job, work, nonce)
        except Exception as error:  # a notebook waits for this job: it has to hear of bugs too
            self._end(job, await self._why(error, job))
        finally:
            self._pricing.pop(job.id, None)
            self._posting.pop(job.id, None)

    async def _priced(self, job: Job, call: Call, terms: Terms) -> Work:
        """The call at its price; its arguments are stored meanwhile.

        Raises:
            NobodyEligible, OverBudget, Inadmissible: It cannot be posted so.
        """
        try:
            async with asyncio.TaskGroup() as group:
                quoting = group.create_task(self.quote(job._made.function, call, terms, admit=True))
                group.create_task(self.session.stock(call.shared, call.mapped))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        quote = quoting.result()
        job._priced(quote)
        _check(quote)
        return pricing.work(call, terms, quote)

    async def _post(self, job: Job, work: Work, nonce: str) -> None:
        """Post it. An answer that is lost is asked for again under the same nonce, which is recorded once at most.

        Raises:
            RefusedByMarket: The market said no, and nothing is reserved.
            NoAnswer: Nobody said whether it is posted, and no event or read model shows it.
        """
        lost = ""
        for _ in range(SENDS):
            try:
                await self.session.post(work, nonce=nonce)
                return
            except RefusedByMarket as refused:
                if refused.name not in (Unavailable.__name__, Replayed.__name__):
                    raise
                lost = lost or str(refused)
            except (BusError, TimeoutError) as error:
                lost = str(error) or "no reply in time"
            if await self._was_posted(job):
                return
        raise NoAnswer(reason=f"{lost}; whether job {job.id} was posted is not known")

    async def _was_posted(self, job: Job) -> bool:
        """Whether its events came, or the read models show it."""
        await asyncio.sleep(LOOK_S)
        if job._story.row is not None:
            return True
        try:
            await self._reader.wait_for(await self._reader.log.head())
            await self._reader.job(job.id)
        except (UnknownJob, Unavailable, TimeoutError, LogLost):
            return False
        return True

    async def _why(self, error: Exception, job: Job) -> Exception:
        """The error as the client is told it."""
        if isinstance(error, BusError | TimeoutError | LogLost):
            return NoAnswer(reason=str(error) or "no reply in time")
        if not isinstance(error, RefusedByMarket):
            return error
        try:
            free_msat = (await self.escrow()).usable_msat
        except Exception:  # what the market said is told without it
            return error
        return told(error, needed_msat=job.quote.due_msat if job.quote else 0, free_msat=free_msat)

    async def _inspect(self, program: bytes, *, admit: bool) -> Finding:
        address = address_of(program)
        found = self._findings.get(address)
        if found is None:
            try:
                found = self._findings[address] = await self.session.inspect(program, admit=admit)
            except RefusedByMarket as refused:
                raise told(refused) from None
        return found

    def _end(self, job: Job, error: BaseException) -> None:
        self._leave(job)
        job._refused(error)

    def _spawn(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> asyncio.Task[None]:
        task = self._group.create_task(self._guarded(work, *args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        try:
            await work(*args)
        except Exception as error:
            log.exception("the connection to the market ended")
            self._shut(ConnectionLost(reason=str(error) or type(error).__name__))

    async def _listen(self) -> None:
        await self._feed.run()
        raise BusError("the feed of events ended")

    def _leave(self, job: Job) -> None:
        self._feed.leave(job.id)
        self._jobs.pop(job.id, None)

    # -------------------------------------------------------------------------------------------------------- following
    async def row(self, id_: str) -> queries.Job:
        """The job whose id begins so."""
        await self._reader.wait_for(await self._reader.log.head())
        return await self.ask(lambda reader: reader.job(id_.lower()))

    async def made(self, row: queries.Job) -> Made:
        """What is known of the program of a job that was posted before.

        A program is opened here only if this party exported it on this machine, which a file of its own says, by the
        hash of its bytes: whatever the market or the store says cannot bring another one in.
        """
        mark = self._own / row.program.removeprefix("sha256:")
        if not mark.exists():
            return Made("", None, row.tasks > 1)
        program = await self.session.fetch(row.program)
        exported = load(program)
        return Made(mark.read_text(), Form(exported.out_tree, tuple(exported.out_avals)), row.tasks > 1)

    async def attend(self, job: Job, row: queries.Job) -> None:
        """Follow a job that was posted before, from its beginning."""
        job._story.hold()
        self._follow(job, row.escrow)
        heard = self._feed.position
        await self._reader.wait_for(heard)
        job._story.recall(await self._history(row.job))
        self._heard(job)

    def _remember(self, program: bytes, function: str) -> None:
        mark = self._own / address_of(program).removeprefix("sha256:")
        if not mark.exists():
            mark.write_text(function)

    def _follow(self, job: Job, escrow: str) -> None:
        self._jobs[job.id] = job
        self._feed.watch(job._story, escrow, lambda: self._heard(job))

    def _heard(self, job: Job) -> None:
        """An event of the job came: fetch what is verified, and end what is over."""
        story = job._story
        for index in story.take_settled():
            self._spawn(self._fetch, job, index, story.results[index])
        if story.closed:
            self._feed.leave(job.id)
            if story.original:
                self._spawn(self._fetch_original, job, story.original)
            else:
                for index in range(len(job)):
                    if index not in story.settled:
                        self._conclude(job, index)
                self._drop(job)
        job._live.changed()

    def _conclude(self, job: Job, index: int) -> None:
        """A finished job's task that was not settled: a result may have been verified all the same."""
        ref = job._story.results.get(index)
        if ref is None:
            job._failed(index, failure(job._story, index))
        else:
            self._spawn(self._fetch, job, index, ref)

    async def _fetch_original(self, job: Job, original: str) -> None:
        """Bring the results of the earlier job whose work this one was: those that settled its tasks."""
        earlier = Story(original)
        try:
            await self._reader.wait_for(job._story.position)
            earlier.recall(await self._history(original))
        except Exception as error:
            self._end(job, await self._why(error, job))
            return
        for index in range(len(job)):
            if index in earlier.settled:
                self._spawn(self._fetch, job, index, earlier.results[index])
            else:
                job._failed(index, _lost(job, f"job {original} shows no result for task {index}"))
        self._drop(job)

    async def _history(self, job: str) -> list[Seen]:
        """Every event of a job that the read models know."""
        after, found = 0, list[Seen]()
        while page := await self._reader.events(job, after=after, limit=PAGE):
            found += [Seen(one.position, decode_stored(one), one.recorded_at) for one in page]
            after = page[-1].position
        return found

    async def _fetch(self, job: Job, index: int, ref: BlobRef) -> None:
        lock = self._locks.get(ref.address)
        if lock is None:
            lock = self._locks[ref.address] = asyncio.Lock()
        try:
            async with lock, self._fetching:  # results of a lease share a blob, which is fetched once
                packed = await self.session.opener.open(ref)
            job._arrived(index, opened(job._made.form, packed))
        except Unfit as error:
            job._failed(index, ResultUnfit(job.id, f"task {index} was answered in another form: {error}", _COMPARED))
        except (BlobMissing, Corrupt, Unavailable, BadArrays) as error:
            job._failed(index, _lost(job, f"its bytes cannot be had ({error})"))
        except Exception as error:
            job._failed(index, error)
        self._drop(job)

    def _drop(self, job: Job) -> None:
        """Keep nothing of a job that is over and whose results are here."""
        if job._story.closed and job.done():
            self._leave(job)

    def _shut(self, why: Refused) -> None:
        """End whatever still waits; the jobs themselves go on."""
        self.dead = self.dead or why
        for task in self._tasks:
            task.cancel()
        for job in list(self._jobs.values()):
            job._refused(self.dead)
        self._jobs.clear()


def _lost(job: Job, why: str) -> ResultLost:
    again = "with reuse=False" if job._story.original else "again"
    return ResultLost(job.id, f"the result was verified, but {why}", f"submit it {again}")


def _check(quote: Quote) -> None:
    """Raises:
    NobodyEligible, OverBudget: It cannot be posted so.
    """
    if not quote.possible:
        raise NobodyEligible(quote.reasons, quote.eligible, quote.replicas)
    if quote.budget_msat is not None and quote.due_msat > quote.budget_msat:
        raise OverBudget(quote.due_msat, quote.budget_msat)


_AGAIN: Final = "submit it again if you need it"
_COMPARED: Final = "submit it with replicas=2 and reuse=False, so that results are compared before they are paid"
_AMOUNTS: Final = ("funded_msat", "free_msat", "reserved_msat", "released_msat", "charged_msat", "refunded_msat")
