"""When a worker's ask stood: told from its own events, hour by hour and day by day."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from domain import events as e
from domain.events import AnyEvent
from services.ledger.codec import decode_stored
from services.viewing.view import View

NAMES: Final = ("WorkerRegistered", "AskPlaced", "AskWithdrawn", "WorkerPaused", "WorkerResumed", "WorkerRetired")
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
HOURS: Final = 24
DAYS: Final = 14
#: Events of each name that are looked at, and how many at a time.
EVENTS_MAX: Final = 4_000
PAGE: Final = 500


class Turn(NamedTuple):
    """From ``at`` on, the ask stood or did not."""

    at: datetime
    stands: bool


class Dot(NamedTuple):
    """Attributes:
    share: Of the time in which the ask stood, 0 to 1; absent where it is not known, before the worker joined.
    """

    start: datetime
    end: datetime
    share: float | None


def turns(events: Iterable[tuple[datetime, AnyEvent]]) -> list[Turn]:
    """When one worker's ask began and ceased to stand, from its events in order.

    It stands from ``AskPlaced`` to ``AskWithdrawn``, but not while the worker is paused, and never once it retired.
    """
    found: list[Turn] = []
    asking, active = False, True
    for at, event in events:
        match event:
            case e.WorkerRegistered():
                asking, active = False, True
            case e.AskPlaced():
                asking = True
            case e.AskWithdrawn():
                asking = False
            case e.WorkerPaused():
                active = False
            case e.WorkerResumed():
                active = True
            case e.WorkerRetired():
                asking = active = False
            case _:
                continue
        if not found or found[-1].stands != (asking and active):
            found.append(Turn(at, asking and active))
    return found


def dots(found: Sequence[Turn], now: datetime, each: timedelta, number: int) -> list[Dot]:
    """The last ``number`` spans of time up to now, oldest first; each is whole, the last one ends now."""
    first = now - number * each
    return [_dot(found, first + place * each, first + (place + 1) * each) for place in range(number)]


def share(found: Sequence[Turn], start: datetime, end: datetime) -> float | None:
    """Of the time between, in which the ask stood; absent if nothing is known of it.

    What comes before the first turn counts neither as one nor as the other.
    """
    return _dot(found, start, end).share


def _dot(found: Sequence[Turn], start: datetime, end: datetime) -> Dot:
    if not found or found[0].at >= end:
        return Dot(start, end, None)
    known = max(start, found[0].at)
    stood = timedelta()
    for turn, after in zip(found, [*(one.at for one in found[1:]), end], strict=True):
        if turn.stands:
            stood += max(timedelta(), min(after, end) - max(turn.at, known))
    return Dot(start, end, stood / (end - known))


def of_all(view: View) -> dict[str, list[Turn]]:
    """The turns of every worker, by key.

    Of markets with a very long history only the latest events are looked at; what was before is not known then.
    """
    found: defaultdict[str, list[tuple[int, datetime, AnyEvent]]] = defaultdict(list)
    since = 0
    for name in NAMES:
        upto: int | None = None
        for _ in range(EVENTS_MAX // PAGE):
            page = view.latest(name, PAGE, upto=upto)
            for one in page:
                event = decode_stored(one)
                found[event.worker].append((one.position, one.recorded_at, event))  # type: ignore[union-attr]
            upto = page[0].position - 1 if page else 0
            if len(page) < PAGE:
                upto = 0
                break
        since = max(since, upto or 0)
    return {
        worker: turns((at, event) for position, at, event in sorted(of_one, key=lambda one: one[0]) if position > since)
        for worker, of_one in found.items()
    }
