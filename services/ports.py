"""What the shell needs from outside, five methods each at most. Tests bring their own.

``bootstrap`` picks the real ones.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

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
