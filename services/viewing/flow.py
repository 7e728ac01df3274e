"""Where a job's money went, and which events moved it. The parts add up to what was reserved, to the msat."""

from collections.abc import Sequence
from typing import NamedTuple

from domain import events as e
from domain.events import JobPosted
from domain.job import cost_msat
from services.viewing.history import Entry

_PARTS = (("to workers", e.EscrowReleased), ("fee", e.FeeCharged), ("free again", e.EscrowFreed))


class Part(NamedTuple):
    """Attributes:
    positions: Of the events that moved it; none for what is still reserved.
    """

    name: str
    amount_msat: int
    positions: tuple[int, ...]


class Flow(NamedTuple):
    """Attributes:
    parts: To workers, fee, free again, still reserved.
    """

    reserved: Part
    parts: tuple[Part, ...]


class Item(NamedTuple):
    """One line of the bill: what it could cost at most, and what it costs so far."""

    name: str
    quoted_msat: int
    actual_msat: int


def flow(entries: Sequence[Entry]) -> Flow:
    """The money of a job by where it is."""
    reserved = _part("reserved", e.EscrowReserved, entries)
    moved = [_part(name, kind, entries) for name, kind in _PARTS]
    left_msat = reserved.amount_msat - sum(one.amount_msat for one in moved)
    return Flow(reserved, (*moved, Part("still reserved", left_msat, ())))


def _part(name: str, kind: type, entries: Sequence[Entry]) -> Part:
    found = [one for one in entries if type(one.event) is kind]
    amount_msat = sum(getattr(one.event, "amount_msat", 0) for one in found)
    return Part(name, amount_msat, tuple(one.position for one in found))


def bill(terms: JobPosted, entries: Sequence[Entry]) -> list[Item]:
    """What was reserved for each item, and what it came to: a task's first paid run computes it, others check it."""
    paid = [one.event for one in entries if isinstance(one.event, e.EscrowReleased)]
    computed = len({event.task for event in paid})
    fee_msat = sum(one.event.amount_msat for one in entries if isinstance(one.event, e.FeeCharged))
    items = [Item("compute", terms.tasks * terms.price_msat, computed * terms.price_msat)]
    if terms.replicas > 1:
        checks = terms.tasks * (terms.replicas - 1)
        items.append(Item("checking by others", checks * terms.price_msat, (len(paid) - computed) * terms.price_msat))
    items.append(Item("fee", terms.tasks * terms.replicas * terms.fee_msat, fee_msat))
    return [*items, Item("total", cost_msat(terms), len(paid) * terms.price_msat + fee_msat)]
