"""Where a job's money went, and which events moved it. The parts add up to what was reserved, to the msat."""

from collections.abc import Sequence
from typing import NamedTuple

from domain import events as e
from services.projections.queries import Job
from services.viewing.history import Entry


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


def flow(job: Job, entries: Sequence[Entry]) -> Flow:
    """The money of a job by where it is.

    Args:
        entries: Its events, or the first of them: amounts are those of the job, positions are theirs.
    """
    left_msat = job.reserved_msat - job.paid_msat - job.charged_msat - job.freed_msat
    return Flow(
        Part("reserved", job.reserved_msat, _positions(e.EscrowReserved, entries)),
        (
            Part("to workers", job.paid_msat, _positions(e.EscrowReleased, entries)),
            Part("fee", job.charged_msat, _positions(e.FeeCharged, entries)),
            Part("free again", job.freed_msat, _positions(e.EscrowFreed, entries)),
            Part("still reserved", left_msat, ()),
        ),
    )


def _positions(kind: type, entries: Sequence[Entry]) -> tuple[int, ...]:
    return tuple(one.position for one in entries if type(one.event) is kind)


def bill(job: Job) -> list[Item]:
    """What could be due for each item, and what it came to: a task's first paid run computes it, others check it."""
    runs, price_msat = job.tasks * job.replicas, job.price_msat
    computed_msat = min(job.paid_msat, job.verified * price_msat)  # a payment follows its verdict
    items = [Item("compute", job.tasks * price_msat, computed_msat)]
    if job.replicas > 1:
        items.append(Item("checking by others", (runs - job.tasks) * price_msat, job.paid_msat - computed_msat))
    fees_msat = runs * (job.fee_msat + job.chain_msat)
    items.append(Item("fee, miners' part among it" if job.chain_msat else "fee", fees_msat, job.charged_msat))
    return [*items, Item("total", runs * price_msat + fees_msat, job.paid_msat + job.charged_msat)]
