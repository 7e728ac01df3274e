"""What a text can mean here: an id or its beginning, the position or the name of an event, a time."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct

from domain.events import ProgramAdmitted
from domain.ids import escrow_id
from services.ledger.codec import EVENTS, decode_stored
from services.projections.queries import Hit
from services.viewing.seek import seek
from services.viewing.view import View

#: The longest name that there is is an output of 74 characters; the shortest beginning that is looked for.
TEXT_MAX: Final = 100
TEXT_MIN: Final = 3
_ADMISSIONS_MAX: Final = 10_000
_NAME: Final = re.compile(r"(?:sha256:)?[0-9A-Za-z]+")
_POSITION: Final = re.compile(r"#? ?([0-9]{1,3}(?:[, ][0-9]{3})*|[0-9]{1,18})")
#: Keys that the feed tells of: a job or escrow, a party, a program.
_WATCHED: Final = re.compile(r"[0-9a-f]{24}|[A-Z2-7]{56}|sha256:[0-9a-f]{64}")
_EVENTS: Final = {event.__name__.lower(): event.__name__ for event in EVENTS}
_SAID: Final = {
    "job": "job", "escrow": "escrow", "client": "client, and its escrow", "worker": "worker",
    "party": "party that acts in a role", "program": "program that was admitted", "identity": "program's identity",
    "work": "work key: who posts the same work has the same", "commitment": "commitment of a worker to its result",
    "result": "address of a result", "content": "commitment to what a result holds",
    "equality": "tag by which results are compared", "deposit": "reference of a deposit",
}  # fmt: skip


class Found(Struct, frozen=True):
    """Where something is looked at.

    Attributes:
        name: All of its name. what: What that is. page, query: Where to look.
    """

    name: str
    what: str
    page: Literal["job", "worker", "money", "event", "subscribers"]
    query: dict[str, str]


class Answer(Struct, frozen=True):
    """Attributes:
    found: What the text can mean. watch: The key by which it would be told of, should it come to be; absent: none.
    why: What to do about a text that cannot mean anything. whole: Whether all was looked through.
    """

    text: str
    found: tuple[Found, ...] = ()
    watch: str | None = None
    why: str = ""
    whole: bool = True


def search(view: View, text: str) -> Answer:
    """Everything that a text can mean in this view; it never raises for what somebody typed."""
    text = " ".join(text[: TEXT_MAX + 1].split())
    if not text:
        return Answer(
            text, why="type an id, its beginning, an event as #4211 or JobPosted, or a time as 2026-11-22 18:00"
        )
    if len(text) > TEXT_MAX:
        shown = text[:40].encode("utf-8", "replace").decode()
        return Answer(f"{shown}…", why=f"that is longer than any name here; {TEXT_MAX} characters are enough")
    if not text.isprintable() or not text.isascii():
        shown = text.encode("utf-8", "replace").decode()
        return Answer(shown, why="no name here has such characters: ids are made of letters and digits")
    found = [*_positions(view, text), *_names(text), *_times(view, text)]
    whole = True
    if _NAME.fullmatch(text) and len(text.removeprefix("sha256:")) >= TEXT_MIN:
        hits, whole = view.hits(text)
        found += [one for hit in hits for one in _places(view, hit)]
    if len(text) >= TEXT_MIN:
        found += [Found(one.name, one.what, "money", one.query) for one in seek(view, text)]
    if not found and len(text) < TEXT_MIN:
        return Answer(text, why=f"type at least {TEXT_MIN} characters of an id")
    watch = next((one for one in (text, text.lower(), text.upper()) if _WATCHED.fullmatch(one)), None)
    return Answer(text, _once(found), watch, whole=whole)


def _once(found: Sequence[Found]) -> tuple[Found, ...]:
    """Each place once, under the first name that it was found by."""
    places: dict[tuple[str, tuple[tuple[str, str], ...]], Found] = {}
    for one in found:
        places.setdefault((one.page, tuple(one.query.items())), one)
    return tuple(places.values())


def _positions(view: View, text: str) -> Iterator[Found]:
    number = _POSITION.fullmatch(text)
    position = int(re.sub("[, ]", "", number[1])) if number is not None else 0
    if 0 < position <= view.position:
        yield _event(view, position)


def _names(text: str) -> Iterator[Found]:
    name = _EVENTS.get(text.lower().removesuffix(".v1"))
    if name is not None:
        yield Found(name, "event of the contract, with its last example", "subscribers", {"event": name})


def _times(view: View, text: str) -> Iterator[Found]:
    """The event that was the last one at that time."""
    at = read_time(text)
    if at is None or view.at is None:
        return
    low, high = 0, view.position
    while low < high:  # events are recorded in the order of their times
        middle = (low + high + 1) // 2
        if view.event(middle).recorded_at <= at:
            low = middle
        else:
            high = middle - 1
    if low:
        yield _event(view, low, f"the last event at {at:%Y-%m-%d %H:%M:%S} UTC, ")


def read_time(text: str) -> datetime | None:
    """A day or a moment as people write it, in UTC unless it says otherwise; a day is its end."""
    plain = re.sub(r" ?(UTC|Z)$", "+00:00", text.strip(), flags=re.IGNORECASE)
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", plain):
        return None
    try:
        if len(plain) == 10:
            return datetime.fromisoformat(f"{plain}T23:59:59.999999+00:00")
        moment = datetime.fromisoformat(plain)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _event(view: View, position: int, why: str = "") -> Found:
    name = view.event(position).name.partition(".")[0]
    return Found(f"#{position:,}", f"{why}event {name}", "event", {"position": str(position)})


def _places(view: View, hit: Hit) -> Iterator[Found]:
    what = _SAID[hit.kind]
    match hit.kind:
        case "job":
            yield Found(hit.id, what, "job", {"id": hit.id})
        case "escrow":
            yield Found(hit.id, what, "money", {"escrow": hit.id})
        case "client":
            yield Found(hit.id, what, "money", {"escrow": escrow_id(hit.id)})
        case "worker":
            yield Found(hit.id, what, "worker", {"id": hit.id})
        case "party" | "program":
            yield from (
                Found(hit.id, what, "event", {"position": str(stored.position)}) for stored in view.latest(hit.id, 1)
            )
        case "identity":
            yield from _admissions(view, hit.id)
        case "deposit":
            yield Found(hit.id, what, "event", {"position": str(hit.position)})
        case "work":
            yield Found(hit.id, what, "job", {"id": str(hit.job)})
        case _:
            yield Found(hit.id, f"{what}, task {hit.task}", "job", {"id": str(hit.job), "task": str(hit.task)})


def _admissions(view: View, identity: str) -> Iterator[Found]:
    """The events that admitted programs of this identity."""
    for stored in view.events(ProgramAdmitted.__name__, limit=_ADMISSIONS_MAX):
        event = decode_stored(stored)
        if isinstance(event, ProgramAdmitted) and event.identity == identity:
            yield Found(identity, _SAID["identity"], "event", {"position": str(stored.position)})
