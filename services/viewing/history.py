"""One job's history: its events in order, and the same grouped by task and by step.

The story tells of tasks, the timeline of the workers' runs at them (``timeline``), the log of single events and what
led to each (``causes``): three groupings of one list.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct, field

from domain import events as e
from domain.events import AnyEvent
from services.client.sentences import METHODS
from services.client.words import count, short
from services.ledger.codec import Meta, decode_meta, decode_stored
from services.ports import Stored
from services.viewing.said import said
from services.viewing.view import View

#: Events of one job that are read to tell of it; a job of more is told of up to here, and its log has all.
EVENTS_MAX: Final = 60_000
_PAGE_EVENTS: Final = 5_000


class Entry(NamedTuple):
    """An event of the job, opened."""

    event: AnyEvent
    stored: Stored
    meta: Meta

    @property
    def position(self) -> int:
        return self.stored.position

    @property
    def at(self) -> datetime:
        return self.stored.recorded_at

    @property
    def name(self) -> str:
        return type(self.event).__name__

    @property
    def said(self) -> str:
        return said(self.event)


_meta = lru_cache(maxsize=4096)(decode_meta)


def entry(stored: Stored) -> Entry:
    """Raises:
    Corrupt: It cannot be read.
    """
    return Entry(decode_stored(stored), stored, _meta(stored.meta))


def read(view: View, job: str, most: int = EVENTS_MAX) -> list[Entry]:
    """The job's events as of the view, the first ``most`` of them."""
    found: list[Entry] = []
    after = 0
    while len(found) < most and (page := view.events(job, after=after, limit=_PAGE_EVENTS)):
        after = page[-1].position
        opened = map(entry, page)
        found += [one for one in opened if getattr(one.event, "job", None) == job]
        if len(page) < _PAGE_EVENTS:
            break
    return found[:most]


# ------------------------------------------------------------------------------------------------------------ by task
class Run(Struct):
    """One worker's attempt at one replica of a task; it satisfies ``sentences.Run``."""

    task: int
    replica: int
    worker: str
    entries: list[Entry]
    state: str = "assigned"
    method: str | None = None
    reason: str | None = None
    closed: bool = False

    def when(self, *kinds: type) -> datetime | None:
        """When the first event of these kinds was recorded."""
        return next((one.at for one in self.entries if isinstance(one.event, kinds)), None)

    @property
    def commitment(self) -> str:
        """What its worker was bound by; empty if it never was."""
        return next((one.event.commitment for one in self.entries if isinstance(one.event, e.ResultCommitted)), "")


#: By the latest event of a run.
STATES: Final[Mapping[type, str]] = {
    e.TaskAssigned: "assigned",
    e.ResultCommitted: "committed",
    e.ResultSubmitted: "submitted",
    e.ResultVerified: "verified",
    e.ResultRejected: "rejected",
    e.AssignmentExpired: "expired",
    e.AssignmentReturned: "returned",
    e.AssignmentFailed: "failed",
}
_TROUBLES: Final = (e.ResultRejected, e.DisputeOpened, e.AssignmentFailed, e.AssignmentExpired, e.TaskFailed)


class Task(Struct):
    """Attributes:
    runs: Every attempt, in the order in which they were given out. entries: All events of the task.
    troubles: Failures, missed deadlines, disputes and rejections so far.
    """

    task: int
    runs: list[Run] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    troubles: int = 0
    settled: bool = False
    given_up: bool = False
    disputed: bool = False

    @property
    def latest(self) -> list[Run]:
        """The latest attempt at each replica."""
        return [run for _, run in sorted({run.replica: run for run in self.runs}.items())]

    @property
    def state(self) -> str:
        if self.settled or self.given_up:
            return "verified" if self.settled else "failed"
        if self.disputed:
            return "disputed"
        states = [run.state for run in self.latest]
        return next((one for one in ("assigned", "committed", "submitted") if one in states), "waiting")

    @property
    def method(self) -> str:
        """By what its result was accepted; empty until then."""
        methods = [run.method for run in self.runs if run.method and run.state == "verified"]
        return methods[-1] if self.settled and methods else ""

    @property
    def sentence(self) -> str:
        """What became of it, behind its state."""
        ended = {
            "verified": METHODS.get(self.method, ""),
            "failed": "too many workers could not run it",
            "disputed": "results differ, a referee runs it again",
            "assigned": "a worker runs it",
            "committed": "a result is bound and waits for the others",
            "submitted": "results are shown and wait for the verdict",
            "waiting": "for a worker",
        }[self.state]
        counted = Counter(run.state for run in self.runs)
        spoilt = [
            f"{counted[state]} {state}" for state in ("rejected", "failed", "expired", "returned") if counted[state]
        ]
        who = count(len(self.runs), "run")
        return f"{ended}; {who}" + (f", {', '.join(spoilt)}" if spoilt else "")


class Step(NamedTuple):
    """A kind of thing that happened, however often, from its first to its last event."""

    text: str
    number: int
    first: Entry
    last: Entry


class Story(Struct):
    """Attributes:
    steps: What happened to the job, each kind once, in the order in which they began.
    tasks: Those that were ever given out, by index.
    """

    steps: list[Step]
    tasks: dict[int, Task]

    def ranked(self) -> list[Task]:
        """Tasks with troubles first, and of those the unfinished ones; else by index."""
        return sorted(self.tasks.values(), key=lambda one: (not one.troubles, one.settled, one.task))


def story(entries: Sequence[Entry]) -> Story:
    """The job's events by task and by step."""
    tasks: dict[int, Task] = {}
    kinds: dict[type, list[Entry]] = {}
    for one in entries:
        kinds.setdefault(type(one.event), []).append(one)
        index = getattr(one.event, "task", None)
        if index is not None:
            found = tasks.get(index)
            if found is None:
                found = tasks[index] = Task(index)
            _tell(found, one)
    steps = [Step(_step(kind, found), len(found), found[0], found[-1]) for kind, found in kinds.items()]
    return Story(steps, tasks)


def _tell(task: Task, one: Entry) -> None:
    event = one.event
    task.entries.append(one)
    task.troubles += isinstance(event, _TROUBLES)
    match event:
        case e.TaskAssigned():
            task.runs.append(Run(task.task, event.replica, event.worker, [one]))
            return
        case e.DisputeOpened() | e.DisputeRuled():
            task.disputed = isinstance(event, e.DisputeOpened)
            return
        case e.TaskFailed() | e.ReplicasWithdrawn():
            task.given_up = task.given_up or isinstance(event, e.TaskFailed)
            for run in task.runs:
                run.closed = True
            return
    worker = getattr(event, "worker", None)
    replica = getattr(event, "replica", None)
    for run in reversed(task.runs):
        if run.worker == worker and replica in (None, run.replica):
            run.entries.append(one)
            run.state = STATES.get(type(event), run.state)
            break
    else:
        return
    if isinstance(event, e.ResultVerified):
        run.method, task.settled = event.method, task.settled or event.settles
    elif isinstance(event, e.AssignmentFailed):
        run.reason = event.reason


#: What several events of a kind amount to; a single one speaks for itself.
_SEVERAL: Final[Mapping[type, str]] = {
    e.TaskAssigned: "{runs} given to {workers}",
    e.AssignmentExpired: "{runs} ran out of time with {workers}",
    e.AssignmentReturned: "{runs} handed back by {workers}",
    e.AssignmentFailed: "{runs} failed with {workers}",
    e.ResultCommitted: "{results} bound by {workers}",
    e.ResultSubmitted: "{results} shown by {workers}",
    e.ResultVerified: "{results} verified, of {workers}",
    e.ResultRejected: "{results} rejected, of {workers}",
    e.DisputeOpened: "{disputes} opened, because results differed",
    e.DisputeRuled: "{disputes} ruled on by a referee",
    e.StakeSlashed: "stake lost {times}, by {workers}",
    e.EscrowReleased: "price earned {times}, by {workers}",
    e.TaskFailed: "{tasks} given up",
    e.ReplicasWithdrawn: "{tasks} will not be given to further workers",
}


def _step(kind: type, found: Sequence[Entry]) -> str:
    if len(found) == 1 or kind not in _SEVERAL:
        return found[0].said
    workers = sorted({str(getattr(one.event, "worker", "")) for one in found})
    number = len(found)
    return _SEVERAL[kind].format(
        runs=count(number, "run"),
        results=count(number, "result"),
        disputes=count(number, "dispute"),
        tasks=count(number, "task"),
        times=count(number, "time"),
        workers=short(workers[0]) if len(workers) == 1 else count(len(workers), "worker"),
    )
