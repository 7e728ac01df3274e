"""Read model ``event_index``: at which positions a job, a party, an escrow or an event's name is spoken of.

An admitted program is found by its address, what a payout allots also by each job that it pays for. Posting lists, one
row for each key and batch, so that writing them stays cheap; a reader unnests them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from domain.errors import Corrupt
from domain.events import AnyEvent, PayoutAllotted, ProgramAdmitted
from services.ledger.codec import EVENTS
from services.projections.model import Change, Seen, Unreadable

_OWNERS = ("job", "original", "escrow", "client", "worker", "referee", "party", "owner")
#: Fields by which each event is found, besides its name.
FIELDS: dict[type, tuple[str, ...]] = {
    event: tuple(name for name in event.__struct_fields__ if name in _OWNERS) for event in EVENTS
} | {ProgramAdmitted: ("program",)}


def keys(event: AnyEvent) -> set[str]:
    """Everything by which the event is found."""
    found = {type(event).__name__, *(getattr(event, field) for field in FIELDS[type(event)])}
    if isinstance(event, PayoutAllotted):
        found.update(paid.job for paid in event.paid)
    return found


class EventIndex:
    name: ClassVar[str] = "event_index"
    revision: ClassVar[int] = 3

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for position, event, _ in events:
            if isinstance(event, Unreadable):
                raise Corrupt(event.why)
            kind, text = type(event), str(position)
            found[kind.__name__].append(text)
            for field in FIELDS[kind]:
                found[getattr(event, field)].append(text)
            if isinstance(event, PayoutAllotted):
                for job in dict.fromkeys(paid.job for paid in event.paid):
                    found[job].append(text)
        if not found:
            return []
        firsts = [int(positions[0]) for positions in found.values()]
        lists = ["{" + ",".join(positions) + "}" for positions in found.values()]
        return [Change("upsert", (list(found), firsts, lists))]
