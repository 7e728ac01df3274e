"""The embedded chain's journal: what was acknowledged is in this file, and the file alone rebuilds everything.

    file   = MAGIC record*
    record = kind (1) | length of the body (4, little end first) | checksum (8) | body
    checksum = the first 8 bytes of SHA-256 over kind, length and body

One append is one record and one fsync, so a crash can spoil no record but the last one, which nobody was told about.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from domain.errors import Corrupt
from services.settlement.errors import ChainLost

MAGIC: Final = b"pasar chain journal 1\n"
_HEAD: Final = Struct("<BI8s")
#: Larger than any block, and than any branch that `fork` makes.
_BODY_MAX: Final = 1 << 28


class Kind(IntEnum):
    BLOCKS = 1
    TRANSACTION = 2


_KINDS: Final = frozenset(Kind)


class Entry(NamedTuple):
    """``at`` is where the body begins in the file."""

    kind: Kind
    at: int
    body: bytes


class Journal:
    """Append-only, one writer.

    Attributes:
        write, sync: How bytes reach the disk; ``os.write`` and ``os.fsync`` but in tests of crashes.
    """

    def __init__(
        self,
        path: Path,
        *,
        write: Callable[[int, bytes], int] = os.write,
        sync: Callable[[int], None] = os.fsync,
    ) -> None:
        self.path = path
        self._write, self._sync = write, sync
        self._lost = ""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def entries(self) -> Iterator[Entry]:
        """Every record in order; a last one that a crash cut short is removed from the file first.

        Raises:
            Corrupt: The file is no journal, or a record is damaged that later ones follow.
        """
        data = self.path.read_bytes()
        if not data.startswith(MAGIC):
            if not MAGIC.startswith(data):
                raise Corrupt(f"{self.path} is no journal of a chain; move it away, or restore your copy")
            self._begin()
            return
        entries, end = _read(data)
        if end < len(data):
            if _record_behind(data, end):
                raise Corrupt(f"{self.path} is damaged at byte {end}, before its end; restore your copy")
            os.ftruncate(self._file, end)
            self._sync(self._file)
        self._size = end
        yield from entries

    def append(self, kind: Kind, body: bytes) -> int:
        """Write and fsync one record.

        Returns:
            Where its body begins.
        Raises:
            ChainLost: It may or may not be on the disk; the journal has to be opened again to find out.
        """
        if not 0 < len(body) <= _BODY_MAX:
            raise ValueError(f"a record of {len(body)} bytes could not be read back")
        record = _HEAD.pack(kind, len(body), _checksum(kind, body)) + body
        at = self._size + _HEAD.size
        self._put(record)
        return at

    def read(self, at: int, length: int) -> bytes:
        """Bytes that ``entries`` or ``append`` placed there."""
        return os.pread(self._file, length, at)

    def close(self) -> None:
        os.close(self._file)

    def _begin(self) -> None:
        os.ftruncate(self._file, 0)
        self._size = 0
        self._put(MAGIC)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _put(self, data: bytes) -> None:
        if self._lost:
            raise ChainLost(path=self.path, reason=self._lost)
        try:
            written = 0
            while written < len(data):
                written += self._write(self._file, data[written:])
            self._sync(self._file)
        except OSError as error:
            # After a failed fsync nobody knows what is on the disk: nothing may be acknowledged from here on.
            self._lost = error.strerror or type(error).__name__
            raise ChainLost(path=self.path, reason=self._lost) from error
        self._size += len(data)


def kept(path: Path) -> list[Entry]:
    """The whole records of a journal that another process may be writing to; the file is left as it is.

    Raises:
        Corrupt: The file is no journal.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise Corrupt(f"{path} is no journal of a chain")
    return _read(data)[0]


def pack(blocks: list[bytes]) -> bytes:
    """The body of a record of blocks."""
    return b"".join(len(block).to_bytes(4, "little") + block for block in blocks)


def unpack(entry: Entry) -> Iterator[tuple[int, bytes]]:
    """Each block of a record of blocks, behind its place in the file."""
    at = 0
    while at < len(entry.body):
        length = int.from_bytes(entry.body[at : at + 4], "little")
        at += 4
        yield entry.at + at, entry.body[at : at + length]
        at += length


def _read(data: bytes) -> tuple[list[Entry], int]:
    """The whole records from the front, and where they end."""
    entries, at = list[Entry](), len(MAGIC)
    while (entry := _record(data, at)) is not None:
        entries.append(entry)
        at = entry.at + len(entry.body)
    return entries, at


def _record(data: bytes, at: int) -> Entry | None:
    if len(data) - at < _HEAD.size:
        return None
    kind, length, checksum = _HEAD.unpack_from(data, at)
    begin = at + _HEAD.size
    if kind not in _KINDS or not 0 < length <= min(_BODY_MAX, len(data) - begin):
        return None
    body = data[begin : begin + length]
    return Entry(Kind(kind), begin, body) if _checksum(kind, body) == checksum else None


def _record_behind(data: bytes, at: int) -> bool:
    """Whether a whole record follows the damaged one: then the damage is no crash in the middle of an append."""
    return any(data[place] in _KINDS and _record(data, place) for place in range(at + 1, len(data)))


def _checksum(kind: int, body: bytes) -> bytes:
    hashed = hashlib.sha256(bytes((kind,)) + len(body).to_bytes(4, "little"))
    hashed.update(body)
    return hashed.digest()[:8]
