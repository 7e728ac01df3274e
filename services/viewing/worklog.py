"""What one worker did, earned and lost lately, out of its own events."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from domain import events as e
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.viewing.history import STATES
from services.viewing.money import Move
from services.viewing.view import View

#: Events that are read at a time, and at most, back from the last one.
PAGE: Final = 1_000
EVENTS_MAX: Final = 20_000
#: Events of a job among which the ruling behind a slash is looked for.
RULING_WITHIN: Final = 50


class Handled(NamedTuple):
    """One task in the worker's hands.

    Attributes:
        state: Of the worker's latest attempt. position, at: Of the event that brought it there.
        paid_msat: What it earned with it.
    """

    job: str
    task: int
    replica: int
    state: str
    position: int
    at: datetime
    paid_msat: int


class Earned(NamedTuple):
    """Attributes:
    whole: Whether all of the time was looked at; otherwise it is at least so much.
    """

    day_msat: int
    week_msat: int
    whole: bool


def lately(events: Iterable[Stored], limit: int) -> list[Handled]:
    """The tasks that a worker's events speak of, the latest first."""
    found: dict[tuple[str, int, int], Handled] = {}
    for stored in events:
        event = decode_stored(stored)
        state = STATES.get(type(event))
        if state is None and not isinstance(event, e.EscrowReleased):
            continue
        at = (event.job, event.task, event.replica)  # type: ignore[union-attr]  # all of these have them
        before = found.pop(at, None)
        paid_msat = before.paid_msat if before else 0
        if isinstance(event, e.EscrowReleased):
            paid_msat += event.amount_msat
        state = state or (before.state if before else "verified")
        found[at] = Handled(*at, state, stored.position, stored.recorded_at, paid_msat)
    return list(reversed(found.values()))[:limit]


def earned(view: View, worker: str, now: datetime) -> Earned:
    """What a worker earned in the last 24 hours and 7 days."""
    day_msat = week_msat = 0
    for seen, stored in enumerate(_newest_first(view, worker), 1):
        age = now - stored.recorded_at
        if age > timedelta(days=7):
            break
        if seen > EVENTS_MAX:
            return Earned(day_msat, week_msat, whole=False)
        if stored.name.startswith("EscrowReleased."):
            event = decode_stored(stored)
            assert isinstance(event, e.EscrowReleased), "its name says so"
            week_msat += event.amount_msat
            day_msat += event.amount_msat if age <= timedelta(days=1) else 0
    return Earned(day_msat, week_msat, whole=True)


def rulings(view: View, moves: Iterable[Move]) -> dict[int, int]:
    """The rulings that slashes follow from: their positions by those of the slashes."""
    found = ((one.position, _ruling(view, one)) for one in moves if one.name == "StakeSlashed")
    return {position: ruling for position, ruling in found if ruling is not None}


def _ruling(view: View, slash: Move) -> int | None:
    for stored in reversed(view.latest(slash.job, RULING_WITHIN, upto=slash.position)):
        if stored.name.startswith("DisputeRuled."):
            event = decode_stored(stored)
            if isinstance(event, e.DisputeRuled) and event.task == slash.task:
                return stored.position
    return None


def _newest_first(view: View, key: str) -> Iterator[Stored]:
    upto: int | None = None
    while True:
        page: Sequence[Stored] = view.latest(key, PAGE, upto=upto)
        yield from reversed(page)
        if len(page) < PAGE:
            return
        upto = page[0].position - 1
