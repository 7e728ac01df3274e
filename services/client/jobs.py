"""What a notebook holds of its jobs: handles that can be waited for in any thread and any loop."""

import functools
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from services.client import bill, sentences
from services.client.background import arrival
from services.client.bill import Quote
from services.client.calls import Arrays, Form, result, stackable, stacked
from services.client.cards import Card, Line, Shown
from services.client.errors import JobFailed, ResultRejected, ResultUnfit
from services.client.live import Live
from services.client.story import Story
from services.client.words import in_sat, short
from services.projections import queries

if TYPE_CHECKING:
    from services.client.events import Events
    from services.client.market import Market
    from services.client.receipt import JobReceipt

#: Rows of runs that a card shows.
RUNS_SHOWN: Final = 12


class Made(Struct, frozen=True):
    """What a handle knows of its program.

    Attributes:
        function: What was called, as its author calls it.
        form: Absent where the program is not one's own: a stranger's is opened in a sandbox or not at all.
        mapped: Whether the job is a map, whose result is stacked.
    """

    function: str
    form: Form | None
    mapped: bool


class Waitable(Shown):
    """Something that ends in a result."""

    id: str
    _future: "Future[None]"

    def result(self, timeout: float | None = None) -> Any:
        """The verified result; waits for it, also inside a running loop. An interrupt ends the wait, not the job.

        It is made anew by each call, so that nothing is kept twice.

        Args:
            timeout: Seconds.
        Raises:
            TimeoutError: It is not there yet; the job goes on.
            JobFailed, NobodyEligible, OverBudget, EscrowTooSmall, Inadmissible: It will not come.
            RuntimeError: It is not there yet, and this is a callback on the market's thread, which brings it.
        """
        self._check_may_wait()
        try:
            self._future.result(timeout)
        except NotYet:
            if self._future.done():
                raise
            raise self._late(timeout) from None
        finally:
            self._wind_up()
        return self._value()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Why there will be no result, or nothing; waits as ``result`` does."""
        self._check_may_wait()
        try:
            return self._future.exception(timeout)
        except NotYet:
            raise self._late(timeout) from None
        finally:
            self._wind_up()

    def done(self) -> bool:
        """Whether the result, or why there is none, is there."""
        return self._future.done()

    def add_done_callback(self, function: Callable[["Waitable"], object]) -> None:
        """Call it with this handle at the end, at once if that has come; in whichever thread brought it."""
        self._future.add_done_callback(lambda _: function(self))

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            yield from arrival(self._future).__await__()
        finally:
            self._wind_up()
        return self._value()

    def _check_may_wait(self) -> None:
        if not self._future.done():
            self._waits()

    def _waits(self) -> None:
        """Raises:
        RuntimeError: This thread is the one that brings results.
        """
        raise NotImplementedError

    def _value(self) -> Any:
        """What was verified, as the local call would return it."""
        raise NotImplementedError

    def _late(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"{self.id} has no result after {timeout:g} s; it goes on. {self._sentence()}")

    def _sentence(self) -> str:
        raise NotImplementedError

    def _wind_up(self) -> None:
        """Have the card in the notebook say what the caller knows by now."""


class Task(Waitable):
    """One task of a job; ``id`` is the job's and its number."""

    def __init__(self, job: "Job", index: int) -> None:
        self.job, self.index, self._future = job, index, Future()
        self._arrays: Arrays = {}

    @property
    def id(self) -> str:  # type: ignore[override]
        return f"{self.job.id}/{self.index}"

    def card(self) -> Card:
        return Card(title=f"task {self.id}", sentence=self._sentence(), lines=self.job._runs([self.index]))

    def _sentence(self) -> str:
        if self._future.done():
            error = self._future.exception()
            return "Its result is verified and here." if error is None else in_sat(str(error))
        runs = self.job._story.of_task(self.index)
        return f"{sentences.of_run(runs[-1]).capitalize()}." if runs else "No worker has taken it yet."

    def _waits(self) -> None:
        self.job._waits()

    def _value(self) -> Any:
        return result(self.job._made.form, self._arrays)


class Job(Waitable):
    """A job on the market; its id is known before it is posted.

    ``len(job)`` and ``for task in job`` are about its tasks. The result of a map is stacked as ``jax.vmap`` does.
    """

    def __init__(self, market: "Market", id_: str, tasks: int, made: Made, position: int = 0) -> None:
        self.id = id_
        self._market, self._made = market, made
        self._future = Future()
        self._lock = threading.Lock()
        self._story = Story(id_)
        self._tasks = [Task(self, index) for index in range(tasks)]
        self._ended: dict[int, BaseException | None] = {}
        self._quote: Quote | None = None
        self._live = Live(self.card, market._later)

    # ---------------------------------------------------------------------------------------------------- as it is seen
    @property
    def state(self) -> str:
        """``posting``, then ``open``, ``cancelled`` or ``expired``, then ``completed``; ``refused`` if never posted."""
        row = self._story.row
        return row.state if row is not None else "refused" if self._future.done() else "posting"

    @property
    def tasks(self) -> Sequence[Task]:
        """A handle for each task."""
        return tuple(self._tasks)

    @property
    def quote(self) -> Quote | None:
        """What it was quoted at; absent until then, and for a job that was found again."""
        return self._quote

    def cancel(self) -> bool:
        """Ask for no further work; what workers hold is still taken and paid. Before it is posted, nothing is.

        Returns:
            Whether that was done; not if the job is over.
        Raises:
            RefusedByMarket: It is another client's.
        """
        return self._market._cancel(self)

    def events(self, *, after: int = 0) -> "Events":
        """What happened to it, for ``for`` (so far) or ``async for`` (until it is completed)."""
        return self._market._events_of(self.id, after=after)

    @functools.cached_property
    def receipt(self) -> "JobReceipt":
        """What to keep of it: its events, and the proof that they are in the log that the market signed.

        Raises:
            NoReceiptYet: It is not completed.
        """
        return self._market._receipt(self.id)

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def card(self) -> Card:
        row, lines = self._story.row, list[Line]()
        if row is not None:
            lines += bill.of_job(row)
        elif self._quote is not None and self._quote.possible:
            lines += bill.bill(self._quote)
        if self._quote is not None and self._quote.eta_s and not self._future.done():
            lines.append(("expected", f"about {bill.seconds(self._quote.eta_s)} of computing"))
        page = self._market._page
        lines.append(("more", f"{page}/job?id={self.id}" if page else f"pasar job show {self.id[:8]}"))
        return Card(
            title=f"job {self.id} {self._made.function}",
            sentence=self._sentence(),
            lines=lines,
            more=self._more(row),
            progress=(len(self._ended), len(self._tasks)) if row is not None else None,
        )

    def _ipython_display_(self) -> None:
        self._live.show()

    def _sentence(self) -> str:
        row = self._story.row
        error = self._future.exception() if self._future.done() else None
        if row is None:
            if error is not None:
                return f"Not posted, nothing is reserved: {in_sat(str(error))}."
            return "Being posted: its price is asked for, its arguments are stored."
        said = sentences.of_job(row)
        trouble = sentences.of_trouble(list(self._story.runs.values())) if row.state == "open" else ""
        return f"{said} {trouble or (in_sat(str(error)) + '.' if error is not None else '')}".strip()

    def _more(self, row: queries.Job | None) -> list[Line]:
        if row is None:
            return []
        each = f"{row.tasks:,} x {row.replicas}, {row.timeout_s} s and {row.memory_mb:,} MB a run, on {row.platforms}"
        results = f"{row.accepted} verified, {row.rejected} rejected, {row.disputes} disputed"
        return [("runs", each), ("results", results), ("program", row.program), *self._runs(range(RUNS_SHOWN))]

    def _runs(self, tasks: Sequence[int]) -> list[Line]:
        return [
            (f"task {index}", f"{sentences.of_run(run)} ({short(run.worker)})")
            for index in tasks
            for run in self._story.of_task(index)
        ]

    # ------------------------------------------------------------------------------------ what the market's thread says
    def _priced(self, quote: Quote) -> None:
        self._quote = quote
        self._live.changed()

    def _arrived(self, index: int, found: Arrays) -> None:
        """A task's result is here."""
        self._end(index, found, None)

    def _failed(self, index: int, error: BaseException) -> None:
        self._end(index, {}, error)

    def _refused(self, error: BaseException) -> None:
        """It ends without having been worked on."""
        for index in range(len(self._tasks)):
            self._failed(index, error)

    def _end(self, index: int, found: Arrays, error: BaseException | None) -> None:
        """A task has ended; the last one ends the job, which whoever waited for the task may rely on."""
        with self._lock:
            if index in self._ended:
                return
            self._ended[index], self._tasks[index]._arrays = error, found
            last = len(self._ended) == len(self._tasks)
        if last:
            self._conclude()
        _set(self._tasks[index]._future, error)
        self._live.changed()

    def _conclude(self) -> None:
        error = next((error for _, error in sorted(self._ended.items()) if error is not None), None)
        if error is None and not stackable([task._arrays for task in self._tasks]):
            error = ResultUnfit(self.id, "its tasks' results have different forms", "take them from job.tasks")
        _set(self._future, error)

    def _waits(self) -> None:
        self._market._background.check_may_wait()

    def _value(self) -> Any:
        form, tasks = self._made.form, self._tasks
        return stacked(form, [task._arrays for task in tasks]) if self._made.mapped else tasks[0]._value()

    def _wind_up(self) -> None:
        self._live.flush()


def _set(future: "Future[None]", error: BaseException | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def failure(story: Story, task: int) -> JobFailed:
    """Why a task of a finished job has no result."""
    row, runs = story.row, story.of_task(task)
    state = next((run.state for run in reversed(runs) if run.state in ("rejected", "failed")), "")
    if state == "rejected":
        return ResultRejected(story.job, f"a referee's replay contradicts what was returned for task {task}")
    if state == "failed":
        reasons = {sentences.of_run(run) for run in runs if run.state == "failed"}
        return JobFailed(story.job, f"task {task}: {'; '.join(sorted(reasons))}", _REMEDY)
    assert row is not None
    if row.completed_at is not None and row.completed_at >= row.expires_at:
        return JobFailed(story.job, "nobody ran it before its deadline", "raise price= or deadline=, see the quote")
    return JobFailed(story.job, "it was cancelled", "submit it again if you need it")


_REMEDY: Final = "see the reason, change timeout_s= or memory_mb=, and submit it again"
