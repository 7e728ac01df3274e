"""Finds in the log what a receipt needs of the payouts that paid for a job."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from domain import bitcoin, payout
from domain.books import NO_ANCHOR
from domain.errors import Corrupt
from domain.events import (
    ChainJoined,
    LogAnchored,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutConfirmed,
    PayoutPlanned,
    PayoutReorged,
    StakeOpened,
)
from domain.ids import Kind, short_id, stream_of
from services.ledger.codec import NAMES, decode_stored
from services.ports import Stored
from services.receipt import shares
from services.receipt.shares import Shares


class Streams(Protocol):
    async def stream(self, stream: bytes) -> list[Stored]: ...
    async def stream_named(self, stream: bytes, name: str) -> list[Stored]: ...


class Found(NamedTuple):
    """A confirmed payout.

    Attributes:
        events: Those that a receipt keeps. size: Events that it commits to.
        transaction: Without its witnesses. shares: What it pays for the job.
    """

    epoch: int
    events: Sequence[Stored]
    size: int
    transaction: bytes
    shares: Shares


async def find(log: Streams, market: str, job: str, epochs: Iterable[int]) -> list[Found]:
    """Of these payouts those that are confirmed.

    Raises:
        Corrupt: The log contradicts itself.
    """
    found = [await _find(log, market, job, epoch) for epoch in sorted(set(epochs))]
    return [one for one in found if one is not None]


async def _find(log: Streams, market: str, job: str, epoch: int) -> Found | None:
    stored = await log.stream(_stream(market, epoch))
    story = [(decode_stored(one), one) for one in stored]
    allotted = [event for event, _ in story if isinstance(event, PayoutAllotted)]
    kept, proof = list[Stored](), list[Stored]()
    planned, confirmed = None, None
    for event, one in story:
        match event:
            case PayoutPlanned():
                planned = event
                kept.append(one)
            case PayoutAllotted() if any(paid.job == job for paid in event.paid):
                kept += [one, *await _openings(log, event.owner, one.position)]
            case PayoutConfirmed():
                confirmed, proof = event, [one]
            case LogAnchored():
                proof.append(one)
            case PayoutReorged() | PayoutAbandoned():
                confirmed = None
    if planned is None or confirmed is None:
        return None
    rung = payout.rung_of(planned, allotted, confirmed.txid)
    if rung is None:
        raise Corrupt(f"payout {epoch} has no transaction {confirmed.txid}")
    raw = bitcoin.serialize(payout.transaction(planned, allotted, rung))
    kept += [*proof, *await _previous(log, market, planned)]
    return Found(epoch, kept, planned.size, raw, shares.cut(allotted, job))


async def joined(log: Streams, market: str) -> list[Stored]:
    """Which chain the market settles on, as it said first; it says so at every start."""
    return (await log.stream_named(_stream(market, 0), NAMES[ChainJoined]))[:1]


async def _openings(log: Streams, worker: str, before: int) -> list[Stored]:
    """Where the worker wanted to be paid."""
    opened = await log.stream_named(stream_of(Kind.stake, short_id(worker)), NAMES[StakeOpened])
    return [one for one in opened if one.position < before]


async def _previous(log: Streams, market: str, planned: PayoutPlanned) -> list[Stored]:
    """The anchor that the payout follows; nothing where the log has none such, which the receipt's check will say."""
    if planned.previous == NO_ANCHOR:
        return []
    for epoch in range(planned.epoch - 1, 0, -1):
        for one in reversed(await log.stream_named(_stream(market, epoch), NAMES[LogAnchored])):
            event = decode_stored(one)
            if isinstance(event, LogAnchored) and event.anchor == planned.previous:
                return [one]
    return []


def _stream(market: str, epoch: int) -> bytes:
    return stream_of(Kind.settlement, short_id(market), epoch)
