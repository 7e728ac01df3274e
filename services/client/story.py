"""What the events of one job say about it: its row as the read model would have it, its runs, and its results."""

from collections.abc import Sequence

from msgspec import Struct, structs

from domain.blobs import BlobRef
from domain.events import (
    AnyEvent,
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    JobCompleted,
    JobPosted,
    JobReused,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    TaskAssigned,
    TaskFailed,
)
from services.projections import jobs, queries
from services.projections.model import Seen


class Run(Struct):
    """One replica of a task at its latest attempt, in the words of the read model."""

    state: str
    worker: str
    method: str | None = None
    reason: str | None = None
    closed: bool = False


class Story:
    """Folds a job's events, in order; those at positions that it knows are passed over.

    Attributes:
        position: Of the last event.
        results: Verified results by task.
        settled: Tasks whose result will not change.
    """

    def __init__(self, job: str) -> None:
        self.job, self.position = job, 0
        self.terms: JobPosted | None = None
        self.original = ""
        self.runs: dict[tuple[int, int], Run] = {}
        self.results: dict[int, BlobRef] = {}
        self.settled: set[int] = set()
        self._rows: jobs.Rows = {}
        self._shown: dict[tuple[int, int], BlobRef] = {}
        self._completed = False
        self._early: list[Seen] | None = None
        self._fresh: list[int] = []

    @property
    def row(self) -> queries.Job | None:
        """The job as the read model would show it; absent until it is posted."""
        found = self._rows.get(self.job)
        return None if found is None else queries.Job(**structs.asdict(found))

    @property
    def closed(self) -> bool:
        """Whether it is over and its money has gone where it belongs."""
        row = self._rows.get(self.job)
        if row is None or not self._completed:
            return False
        return row.paid_msat + row.charged_msat + row.freed_msat == row.reserved_msat > 0

    def hold(self) -> None:
        """Keep what is seen from now on until the beginning is told."""
        self._early = []

    def recall(self, beginning: Sequence[Seen]) -> None:
        """Fold the beginning, and what was seen meanwhile."""
        early, self._early = self._early or [], None
        for seen in (*beginning, *early):
            self.see(seen)

    def take_settled(self) -> list[int]:
        """Tasks that were settled since this was asked last."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def see(self, seen: Seen) -> bool:
        """Fold one event; whether it was a new one of this job."""
        event = seen.event
        if self._early is not None:
            self._early.append(seen)
            return False
        if seen.position <= self.position or getattr(event, "job", None) != self.job:
            return False
        self.position = seen.position
        jobs.follow(self._rows, [seen])
        self._fold(event)  # type: ignore[arg-type]
        return True

    def _fold(self, event: AnyEvent) -> None:
        match event:
            case JobPosted():
                self.terms = event
            case JobReused():
                self.original = event.original
            case JobCompleted():
                self._completed = True
            case TaskAssigned():
                self.runs[event.task, event.replica] = Run("assigned", event.worker)
            case ResultCommitted():
                self._move(event.task, event.replica, "committed")
            case ResultSubmitted():
                self._move(event.task, event.replica, "submitted")
                self._shown[event.task, event.replica] = event.result
            case ResultVerified():
                self._move(event.task, event.replica, "verified")
                self.runs[event.task, event.replica].method = event.method
                if event.task not in self.settled:
                    self.results[event.task] = self._shown[event.task, event.replica]
                if event.settles:
                    self.settled.add(event.task)
                    self._fresh.append(event.task)
            case ResultRejected():
                self._move(event.task, event.replica, "rejected")
            case AssignmentExpired():
                self._move(event.task, event.replica, "expired")
            case AssignmentReturned():
                self._move(event.task, event.replica, "returned")
            case AssignmentFailed():
                self._move(event.task, event.replica, "failed")
                self.runs[event.task, event.replica].reason = event.reason
            case TaskFailed():
                for (task, _), run in self.runs.items():
                    run.closed = run.closed or task == event.task

    def _move(self, task: int, replica: int, state: str) -> None:
        self.runs[task, replica].state = state

    def of_task(self, task: int) -> Sequence[Run]:
        """The runs of one task."""
        return [run for (index, _), run in sorted(self.runs.items()) if index == task]
