"""A job's runs on an axis of time: who did what when, how long it took, and when nobody did anything."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from domain import events as e
from services.viewing.history import Run, Story

#: ``waits``: for a worker. ``runs``: until its worker was bound to a result, or ended otherwise. ``bound``: until that
#: was shown. ``checked``: until the verdict.
Kind = Literal["waits", "runs", "bound", "checked"]
_SAID: Final = {"waits": "waited", "runs": "ran", "bound": "bound for", "checked": "checked in"}
#: The least gap worth a word: this share of the whole, and this long.
GAP_SHARE: Final = 0.05
GAP: Final = timedelta(seconds=1)
#: Up to how many seconds a length is said in which unit, and its rest in which.
_UNITS: Final = (
    (3_600, "min", 60, "s", 1),
    (48 * 3_600, "h", 3_600, "min", 60),
    (float("inf"), "d", 86_400, "h", 3_600),
)


class Span(NamedTuple):
    kind: Kind
    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start


class Row(NamedTuple):
    """One run of one task."""

    run: Run
    spans: tuple[Span, ...]

    @property
    def said(self) -> str:
        """The row for who does not see it."""
        return ", ".join(f"{_SAID[one.kind]} {took(one.length)}" for one in self.spans) or "given out just now"


class Axis(NamedTuple):
    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return max(self.end - self.start, timedelta(milliseconds=1))

    def share(self, moment: datetime) -> float:
        """Where a moment is, in percent of the axis."""
        return round(100 * min(1.0, max(0.0, (moment - self.start) / self.length)), 3)

    def ticks(self, number: int = 5) -> list[tuple[float, str]]:
        """Places in percent, with the time since the start."""
        return [(100 * n / (number - 1), took(self.length * n / (number - 1))) for n in range(number)]


def rows(runs: Iterable[Run], posted_at: datetime, until: datetime) -> list[Row]:
    """The runs with their spans.

    Args:
        until: How far what is not over yet is drawn.
    """
    ended: dict[tuple[int, int], datetime] = {}
    found = []
    for run in runs:
        place = run.task, run.replica
        found.append(Row(run, tuple(_spans(run, ended.get(place, posted_at), until))))
        ended[place] = _end(run, until)
    return found


def _spans(run: Run, waits_from: datetime, until: datetime) -> Iterable[Span]:
    given, bound, shown = (run.when(kind) for kind in (e.TaskAssigned, e.ResultCommitted, e.ResultSubmitted))
    assert given is not None, "a run begins when it is given out"
    over = _end(run, until)
    yield Span("waits", waits_from, given)
    yield Span("runs", given, bound or over)
    if bound is not None:
        yield Span("bound", bound, shown or over)
    if shown is not None:
        yield Span("checked", shown, over)


def _end(run: Run, until: datetime) -> datetime:
    return until if run.state in ("assigned", "committed", "submitted") else _last(run)


def _last(run: Run) -> datetime:
    ending = (e.ResultVerified, e.ResultRejected, e.AssignmentExpired, e.AssignmentReturned, e.AssignmentFailed)
    return run.when(*ending) or run.entries[-1].at


def gaps(story: Story, axis: Axis) -> list[Span]:
    """When no worker held a task of it, the longest first."""
    held = sorted((run.entries[0].at, _end(run, axis.end)) for task in story.tasks.values() for run in task.runs)
    found, reached = [], axis.start
    for start, end in [*held, (axis.end, axis.end)]:
        if start - reached >= max(GAP, axis.length * GAP_SHARE):
            found.append(Span("waits", reached, start))
        reached = max(reached, end)
    return sorted(found, key=lambda one: one.length, reverse=True)


def busiest(story: Story) -> Sequence[tuple[str, int]]:
    """Workers with how many runs they had, the busiest first."""
    numbers: dict[str, int] = {}
    for task in story.tasks.values():
        for run in task.runs:
            numbers[run.worker] = numbers.get(run.worker, 0) + 1
    return sorted(numbers.items(), key=lambda one: (-one[1], one[0]))


def took(length: timedelta) -> str:
    """A length of time in two units at most: ``3.28 s``, ``2 min 5 s``."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    _, unit, size, below, small = next(found for found in _UNITS if seconds < found[0])
    whole, rest = divmod(int(seconds), size)
    return f"{whole} {unit}" + (f" {rest // small} {below}" if rest // small else "")
