"""A receipt: what a client keeps of a settled job and can check alone, as one canonical JSON file.

It holds the job's events as exactly the bytes that the log has, a root of the log signed by the market, and the Merkle
nodes that prove the events to be under it. There is one way only to write it, so that every byte counts.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from domain.blobs import BlobRef
from domain.errors import Refused
from domain.events import (
    AnyEvent,
    EscrowFreed,
    EscrowReleased,
    EscrowReserved,
    JobCompleted,
    JobPosted,
    JobReused,
    Method,
    ResultSubmitted,
    ResultVerified,
)
from domain.ids import At
from services.ledger import merkle
from services.ledger.root import Key, SignedRoot
from services.ports import Stored

FORMAT: Literal["pasar receipt"] = "pasar receipt"
VERSION: Literal[1] = 1
Position = Annotated[int, Meta(ge=1, le=2**53)]
Number = Annotated[int, Meta(ge=1, lt=2**31)]
Hex = Annotated[str, Meta(min_length=24, max_length=24, pattern="^[0-9a-f]*$")]
StreamHex = Annotated[str, Meta(min_length=32, max_length=32, pattern="^[0-9a-f]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
#: A Merkle node, in base64.
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]


class ReceiptBroken(Refused):
    """A check that a receipt does not pass; ``facts["check"]`` names it."""

    template = "the receipt does not hold ({check}): {what}"

    @property
    def check(self) -> str:
        return str(self.facts["check"])


class NoReceiptYet(Refused):
    template = "job {job} is not over; save its receipt when `pasar job show {job}` says that it is completed"


class Logged(Struct, frozen=True, forbid_unknown_fields=True):
    """An event of the log. ``meta`` and ``data`` are the stored bytes themselves."""

    position: Position
    stream: StreamHex
    version: Number
    name: Name
    recorded_at: At
    meta: Raw
    data: Raw

    @property
    def stored(self) -> Stored:
        stream, data, meta = bytes.fromhex(self.stream), bytes(self.data), bytes(self.meta)
        return Stored(self.position, stream, self.version, self.name, data, meta, self.recorded_at)


class Settled(Struct, frozen=True, forbid_unknown_fields=True):
    """A verified task: whose result stands, and by what it was accepted."""

    task: int
    result: BlobRef
    worker: str
    method: Method


class Claims(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the receipt says at the top; all of it follows from its events.

    Attributes:
        original: The job whose results this one was given, if it was not run itself.
        charged_msat: What the market kept.
    """

    client: str
    escrow: str
    tasks: int
    replicas: int
    price_msat: int
    verified: int
    failed: int
    reserved_msat: int
    paid_msat: int
    charged_msat: int
    freed_msat: int
    posted_at: At
    completed_at: At
    program: BlobRef
    shared: BlobRef | None
    mapped: BlobRef | None
    original: str | None
    results: tuple[Settled, ...]


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    """Stored bytes in which results are, in base64."""

    address: str
    stored: bytes


class Receipt(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Attributes:
    market: Key of the market that signed the root.
    nodes: The roots that cover all of the log but these events, from left to right; see ``merkle.cover_spans``.
    contents: Results themselves, if they are kept here.
    """

    format: Literal["pasar receipt"] = FORMAT
    version: Literal[1] = VERSION
    market: Key
    job: Hex
    claims: Claims
    root: SignedRoot
    events: tuple[Logged, ...]
    nodes: tuple[Hash, ...]
    contents: tuple[Content, ...] = ()


_decode = msgspec.json.Decoder(Receipt).decode
_encode = msgspec.json.Encoder().encode


def encode(receipt: Receipt) -> bytes:
    """The file of a receipt."""
    return _encode(receipt) + b"\n"


def decode(file: bytes) -> Receipt:
    """Read a receipt that is written in the one way that there is.

    Raises:
        ReceiptBroken: It is none (``form``), or is written in another way (``canonical``).
    """
    try:
        receipt = _decode(file)
        same = encode(receipt) == file
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ReceiptBroken(check="form", what=f"it cannot be read: {error}") from None
    times = (receipt.root.at, *(event.recorded_at for event in receipt.events))
    if not same or any(time.utcoffset() != timedelta() for time in times):
        raise ReceiptBroken(check="canonical", what="it is not written in the one way that a receipt is written in")
    return receipt


def encode_claims(claims: Claims) -> bytes:
    """Claims as they stand in the file, for comparing them byte by byte."""
    return _encode(claims)


def logged(stored: Stored) -> Logged:
    position, stream, version, name, data, meta, at = stored
    return Logged(position, stream.hex(), version, name, at, Raw(meta), Raw(data))


def leaves(events: Sequence[Stored]) -> list[tuple[int, bytes]]:
    """Index and hash of each event's leaf."""
    return [(stored.position - 1, merkle.leaf(stored)) for stored in events]


def original_of(job: str, events: Sequence[AnyEvent]) -> str | None:
    """The job whose results this one was given."""
    return next((event.original for event in events if isinstance(event, JobReused) and event.job == job), None)


def claims_of(job: str, story: Sequence[tuple[AnyEvent, Stored]]) -> Claims:
    """What the events say of the job.

    Raises:
        ReceiptBroken: It was not posted, or is not over.
    """
    mine = [(event, stored) for event, stored in story if getattr(event, "job", None) == job]
    posted = next(((event, stored.recorded_at) for event, stored in mine if isinstance(event, JobPosted)), None)
    ended = next(((event, stored.recorded_at) for event, stored in mine if isinstance(event, JobCompleted)), None)
    if posted is None or ended is None:
        raise ReceiptBroken(check="story", what="its events do not tell of the job from JobPosted to JobCompleted")
    terms, over = posted[0], ended[0]
    reserved, paid, freed = (
        sum(event.amount_msat for event, _ in mine if isinstance(event, kind))
        for kind in (EscrowReserved, EscrowReleased, EscrowFreed)
    )
    original = original_of(job, [event for event, _ in mine])
    return Claims(
        client=terms.client,
        escrow=terms.escrow,
        tasks=terms.tasks,
        replicas=terms.replicas,
        price_msat=terms.price_msat,
        verified=over.verified,
        failed=over.failed,
        reserved_msat=reserved,
        paid_msat=paid,
        charged_msat=reserved - paid - freed,
        freed_msat=freed,
        posted_at=posted[1],
        completed_at=ended[1],
        program=terms.program,
        shared=terms.shared,
        mapped=terms.mapped,
        original=original,
        results=_results(original or job, [event for event, _ in story]),
    )


def _results(job: str, events: Sequence[AnyEvent]) -> tuple[Settled, ...]:
    """The result of each settled task: that of the worker whose verification settled it."""
    shown = {(e.task, e.replica, e.worker): e.result for e in events if isinstance(e, ResultSubmitted) and e.job == job}
    settled = [event for event in events if isinstance(event, ResultVerified) and event.job == job and event.settles]
    found = [
        Settled(event.task, shown[place], event.worker, event.method)
        for event in settled
        if (place := (event.task, event.replica, event.worker)) in shown
    ]
    return tuple(sorted(found, key=lambda one: one.task))
