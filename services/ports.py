"""What the shell needs from outside, five methods each at most. Tests bring their own.

``bootstrap`` picks the real ones.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from msgspec import Struct

from domain.bitcoin import OutPoint
from domain.blobs import BlobRef


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware and in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Record(NamedTuple):
    """An event on its way into the log. ``meta`` is the encoded ``services.ledger.codec.Meta``."""

    stream: bytes
    version: int
    name: str
    data: bytes
    meta: bytes


class Stored(NamedTuple):
    """An event in the log, as exactly the bytes that were written."""

    position: int
    stream: bytes
    version: int
    name: str
    data: bytes
    meta: bytes
    recorded_at: datetime


class Blobs(Protocol):
    """Content-addressed bytes. What is put once is found by its address until the last holder forgets it."""

    async def put(self, stored: bytes) -> str:
        """Keep the bytes and return their address; putting the same bytes again does nothing.

        Raises:
            BlobTooLarge: More than ``BLOB_BYTES_MAX``.
            Unavailable: The store cannot be reached.
        """
        ...

    async def get(self, address: str) -> bytes:
        """The bytes at ``address``, checked against it.

        Raises:
            BlobMissing: No holder answered.
        """
        ...


class Opener(Protocol):
    """The only way to content: it fetches a reference's bytes, opens their form and checks the commitment."""

    async def open(self, ref: BlobRef) -> bytes:
        """The plaintext.

        Raises:
            BlobMissing: Nobody holds it.
            Corrupt: The bytes do not match the commitment.
        """
        ...


class EventLog(Protocol):
    """The log as everybody but its writer sees it."""

    async def read(self, after: int, limit: int) -> Sequence[Stored]:
        """Up to ``limit`` events behind position ``after``, in order, without gap."""
        ...

    async def head(self) -> int:
        """The last position; 0 when the log is empty."""
        ...


class BlockId(NamedTuple):
    """A place in a chain: two chains that share it share everything below."""

    height: int
    hash: str


class Block(NamedTuple):
    """A block of the active chain; ``transactions`` as they went over the wire, witnesses included."""

    id: BlockId
    previous: str
    header: bytes
    transactions: tuple[bytes, ...]


class Unspent(NamedTuple):
    """An output that is confirmed and not spent by a confirmed transaction."""

    outpoint: OutPoint
    value_sat: int
    script: bytes
    height: int
    coinbase: bool


class Proof(Struct, frozen=True):
    """That a block holds a transaction at ``index``: its header, and the hashes from the transaction to its root."""

    header: bytes
    index: int
    branch: tuple[bytes, ...]


class Checked(NamedTuple):
    """What a transaction costs that would be relayed and mined now."""

    txid: str
    fee_sat: int
    vsize: int


class Chain(Protocol):
    """Bitcoin, whoever runs the node."""

    async def tip(self) -> BlockId:
        """The last block of the active chain."""
        ...

    async def blocks(self, start: int, limit: int) -> Sequence[Block]:
        """Up to ``limit`` blocks of the active chain from height ``start`` upward, each the parent of the next."""
        ...

    async def utxo(self, outpoint: OutPoint) -> Unspent | None:
        """The output, if it is confirmed and no confirmed transaction spends it."""
        ...

    async def check(self, raw: bytes) -> Checked:
        """Whether the transaction would be relayed and mined now, and what it pays; nothing is sent.

        A transaction that waits to be mined already is answered again.

        Raises:
            TransactionRefused: It would not be, with the reason.
        """
        ...

    async def send(self, raw: bytes) -> str:
        """Have the transaction mined, and return its id; one that waits or is confirmed already changes nothing.

        Raises:
            TransactionRefused: As ``check``.
        """
        ...

    async def fee_rate(self, target: int) -> int:
        """Msat for each virtual byte that should confirm within ``target`` blocks: never below 1,000, and capped."""
        ...

    async def proof(self, txid: str, height: int) -> Proof:
        """That the active chain's block at ``height`` holds the transaction.

        Raises:
            NotInBlock: It does not.
        """
        ...
