"""A receipt: what a client keeps of a settled job and can check alone, as one canonical JSON file.

It holds the job's events as exactly the bytes that the log has, a root of the log signed by the market, and the Merkle
nodes that prove the events to be under it; and of each payout that paid for the job the transaction, and what leads
from it to the workers' shares and to the job's history. There is one way only to write it, so that every byte counts.

Version 1 knew no payouts. It is read as one that tells of none, and is not written any more.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct, structs

from domain.bitcoin import Network
from domain.blobs import BlobRef
from domain.errors import Refused
from domain.events import Method
from domain.ids import At, Epoch
from services.ledger import merkle
from services.ledger.root import Key, SignedRoot
from services.ports import Stored
from services.receipt.shares import Fork, Hash, Share

FORMAT: Literal["pasar receipt"] = "pasar receipt"
VERSION: Literal[2] = 2
Position = Annotated[int, Meta(ge=1, le=2**53)]
Number = Annotated[int, Meta(ge=1, lt=2**31)]
Hex = Annotated[str, Meta(min_length=24, max_length=24, pattern="^[0-9a-f]*$")]
StreamHex = Annotated[str, Meta(min_length=32, max_length=32, pattern="^[0-9a-f]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
#: No transaction that nodes relay is longer without its witnesses.
TransactionHex = Annotated[str, Meta(max_length=200_000, pattern=r"^[0-9a-f]*\Z")]


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


class Payout(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A transaction that paid some of what the job's workers earned.

    Attributes:
        height: As the market says; which block it is, ``block`` proves. mined_at: As that block's miner says.
        anchored: So many events from the log's first on are bound into that block.
        paid: By worker.
    """

    epoch: int
    txid: str
    height: int
    block: str
    mined_at: At
    anchored: int
    paid: tuple[Share, ...]

    @property
    def paid_msat(self) -> int:
        return sum(share.amount_msat for share in self.paid)


class _FirstClaims(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What version 1 says at the top."""

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


class Claims(_FirstClaims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the receipt says at the top; all of it follows from its events.

    Attributes:
        original: The job whose results this one was given, if it was not run itself.
        charged_msat: What the market kept.
        network: Where the market settles; absent where it is on no chain.
        settled_msat: What of ``paid_msat``, which workers have earned, is paid on the chain.
    """

    network: Network | None
    settled_msat: int
    payouts: tuple[Payout, ...]


class Payment(Struct, frozen=True, forbid_unknown_fields=True):
    """What leads from a payout's transaction to what it pays for; its events say the rest.

    Attributes:
        transaction: Without its witnesses.
        shares: The job's part of the tree that the transaction commits to.
        history: That the signed log begins with the one that it commits to; see ``merkle.verify_consistency``.
    """

    epoch: Epoch
    transaction: TransactionHex
    shares: Share | Fork
    history: tuple[Hash, ...]


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    """Stored bytes in which results are, in base64."""

    address: str
    stored: bytes


class Receipt(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Attributes:
    market: Key of the market that signed the root.
    nodes: The roots that cover all of the log but these events, from left to right; see ``merkle.cover_spans``.
    contents: Results themselves, if they are kept here.
    payments: Proofs of the payouts, in their order.
    """

    format: Literal["pasar receipt"] = FORMAT
    version: Literal[2] = VERSION
    market: Key
    job: Hex
    claims: Claims
    root: SignedRoot
    events: tuple[Logged, ...]
    nodes: tuple[Hash, ...]
    contents: tuple[Content, ...] = ()
    payments: tuple[Payment, ...] = ()


class _FirstReceipt(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Version 1."""

    format: Literal["pasar receipt"]
    version: Literal[1]
    market: Key
    job: Hex
    claims: _FirstClaims
    root: SignedRoot
    events: tuple[Logged, ...]
    nodes: tuple[Hash, ...]
    contents: tuple[Content, ...]

    @property
    def today(self) -> Receipt:
        """The same as it would be written today."""
        claims = Claims(**structs.asdict(self.claims), network=None, settled_msat=0, payouts=())
        return Receipt(**{**structs.asdict(self), "version": VERSION, "claims": claims})


class _Versioned(Struct, frozen=True):
    format: Literal["pasar receipt"]
    version: Literal[1, 2]


_decode_version = msgspec.json.Decoder(_Versioned).decode
_decode = msgspec.json.Decoder(Receipt).decode
_decode_first = msgspec.json.Decoder(_FirstReceipt).decode
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
        read = _decode_first(file) if _decode_version(file).version == 1 else _decode(file)
        same = _encode(read) + b"\n" == file
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ReceiptBroken(check="form", what=f"it cannot be read: {error}") from None
    receipt = read if isinstance(read, Receipt) else read.today
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
