"""One event in full: what it says, who caused it, what it led to, and its place in the Merkle tree."""

from typing import ClassVar, Final

import msgspec
import streamlit as st

from domain.errors import Refused
from domain.ids import kind_of
from services.bus.events import subject_of
from services.client.envelope import envelope
from services.ledger import merkle
from services.projections.event_index import FIELDS
from services.viewing import causes, history
from services.viewing.causes import Links
from services.viewing.history import Entry
from services.viewing.view import NoSuchEvent
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html
from ui.page.parts.job.told import payload
from ui.page.parts.subscribing import origin, server

#: Events on either side among which those of the same command are looked for: it makes them in one piece.
_NEAR: Final = 800
_PAGES: Final = {"job": "job", "original": "job", "escrow": "money", "worker": "worker"}


class WhichEvent(Refused):
    template: ClassVar[str] = "{position!r} is no position of an event; give a number, as /event?position=1"


def draw(context: Context) -> Watch:
    asked, view = st.query_params.get("position", "").strip().lstrip("#").replace(",", ""), context.view
    if not (asked.isdecimal() and len(asked) < 16 and int(asked)):
        raise WhichEvent(position=asked[:20])
    number = int(asked)
    try:
        one = history.entry(view.event(number))
    except NoSuchEvent:
        html.show("event_ahead.html", context, number=number)
        return Watch()
    job = getattr(one.event, "job", "")
    link, cause = _links(context, one, job)
    html.show(
        "event.html",
        context,
        one=one,
        job=job,
        epoch=getattr(one.event, "epoch", None),
        link=link,
        cause=cause,
        command=_command(context, one),
        named=[
            (name, _PAGES.get(name, "search"), getattr(one.event, name)) for name in sorted(FIELDS[type(one.event)])
        ],
        stream=f"{kind_of(one.stored.stream).name} {one.stored.stream[:12].hex()}",
        leaf=merkle.leaf(one.stored).hex(),
        payload=payload(one),
        envelope=msgspec.json.format(msgspec.json.encode(envelope(one.stored)), indent=2).decode(),
        subject=subject_of(one.stored.stream, "*"),
        server=server(),
        origin=origin(),
    )
    if one.position == view.position:
        return Watch()  # the next event is to be linked to
    return Watch((job,)) if job else Watch(still=True)


def _links(context: Context, one: Entry, job: str) -> tuple[Links | None, str]:
    """What the event hangs together with in its job's history, if it is in what is read of it; what its cause says."""
    entries = history.read(context.view, job) if job else []
    link = causes.links(entries).get(one.position)
    cause = next((other.said for other in entries if link is not None and other.position == link.cause), "")
    return link, cause


def _command(context: Context, one: Entry) -> list[int]:
    """Positions of the events that the same command made."""
    first = max(0, one.position - _NEAR)
    near = map(history.entry, context.view.events(after=first, limit=2 * _NEAR))
    mine = (one.meta.actor, one.meta.causation)
    return [other.position for other in near if (other.meta.actor, other.meta.causation) == mine]
