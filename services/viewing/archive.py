"""A log in a file: downloaded here, looked at anywhere, without a market, a database or a network.

One JSON line an event, as a receipt holds it; compressed by gzip or not. The bytes of each event are those of the log,
so the Merkle root over the file is the log's own.
"""

import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import ClassVar, Final

import msgspec

from domain.errors import Corrupt, Refused
from services.ledger import merkle
from services.ledger.codec import decode_stored
from services.ledger.reader import PAGE_EVENTS
from services.ports import Stored
from services.projections.event_index import keys
from services.receipt.form import Logged, logged
from services.replay import undisturbed
from services.viewing.sound import sound

#: Bytes of a file, opened, of one of its lines, and of what is opened at a time.
FILE_MAX: Final = 512 << 20
LINE_MAX: Final = 1 << 20
_PIECE: Final = 1 << 20
#: Tasks of all jobs together: whoever folds them holds a state for each.
TASKS_SHOWN_MAX: Final = 1 << 24
_decode = msgspec.json.Decoder(Logged).decode
_encode = msgspec.json.Encoder().encode


class NoLog(Refused):
    template: ClassVar[str] = "this is no log of a market: {reason}; make one with `pasar log save FILE`"


def lines(page: Iterable[Stored]) -> bytes:
    """The events as lines of a file."""
    return b"".join(_encode(logged(one)) + b"\n" for one in page)


def read(file: bytes) -> "Archive":
    """A log out of a file's bytes.

    Raises:
        NoLog: It is none, or is not whole.
    """
    events: list[Stored] = []
    for number, line in enumerate(_split(_opened(file)), 1):
        try:
            stored = _decode(line).stored
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoLog(reason=f"line {number} is no event ({error})") from None
        if stored.position != number:
            raise NoLog(reason=f"line {number} holds event {stored.position}")
        if stored.recorded_at.utcoffset() != timedelta():
            raise NoLog(reason=f"the time in line {number} is not in UTC")
        events.append(stored)
    if not events:
        raise NoLog(reason="it is empty")
    with undisturbed():
        last = sound(events, TASKS_SHOWN_MAX)
    if last is None:
        raise NoLog(reason=f"its jobs have more than {TASKS_SHOWN_MAX:,} tasks")
    return Archive(events, sound=last)


def _opened(file: bytes) -> Iterator[bytes]:
    """The file's text in pieces, never more of it than ``FILE_MAX``."""
    if not file.startswith(b"\x1f\x8b"):
        yield from (file[start : start + _PIECE] for start in range(0, len(file), _PIECE))
        return
    unzip, opened, rest = zlib.decompressobj(wbits=31), 0, file
    while not unzip.eof:
        try:
            piece = unzip.decompress(rest, _PIECE)
        except zlib.error as error:
            raise NoLog(reason=f"it cannot be opened ({error})") from None
        rest, opened = unzip.unconsumed_tail, opened + len(piece)
        if opened > FILE_MAX:
            raise NoLog(reason=f"it is larger than {FILE_MAX >> 20} MB")
        if not piece and not rest and not unzip.eof:
            raise NoLog(reason="it ends too early")
        yield piece
    if unzip.unused_data:
        raise NoLog(reason="something follows its end")


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, without the ends; the last one may lack its own."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LINE_MAX:
            raise NoLog(reason="one of its lines has no end")
    if rest:
        yield rest


class Zip:
    """Writes a file piece by piece, the same bytes for the same pages."""

    def __init__(self) -> None:
        self._zip = zlib.compressobj(6, wbits=31)

    def page(self, page: Iterable[Stored]) -> bytes:
        """What the next events add; it may be empty."""
        return self._zip.compress(lines(page))

    def end(self) -> bytes:
        return self._zip.flush()


class Archive:
    """A whole log in memory; it satisfies ``viewing.view.Facts``.

    Attributes:
        sound: The last event up to which rows can be folded: the end, unless somebody tampered with it.
        size: What its events take, in bytes.
    """

    def __init__(self, events: Sequence[Stored], *, sound: int | None = None) -> None:
        self._events = events
        self.sound = len(events) if sound is None else sound
        self.size = sum(len(one.data) + len(one.meta) for one in events)
        self._index: dict[str, list[int]] | None = None
        self._tree: merkle.Tree | None = None

    def head(self) -> int:
        return len(self._events)

    def page(self, after: int, limit: int) -> Sequence[Stored]:
        return self._events[max(0, after) : max(0, after) + limit]

    def of(self, key: str, after: int, limit: int) -> Sequence[Stored]:
        found = self._positions(key)
        first = bisect_right(found, after)
        return [self._events[position - 1] for position in found[first : first + limit]]

    def last_of(self, key: str, upto: int, limit: int) -> Sequence[Stored]:
        found = self._positions(key)
        found = found[: bisect_right(found, upto)]
        return [self._events[position - 1] for position in found[-limit:]]

    def root(self, size: int) -> bytes:
        return self._leaves().root(size)

    def inclusion(self, position: int, size: int) -> Sequence[bytes]:
        return self._leaves().inclusion(position - 1, size)

    def _leaves(self) -> merkle.Tree:
        if self._tree is None:
            self._tree = merkle.Tree(map(merkle.leaf, self._events))
        return self._tree

    def _positions(self, key: str) -> Sequence[int]:
        if self._index is None:
            index: defaultdict[str, list[int]] = defaultdict(list)
            for stored in self._events:
                try:
                    spoken_of = keys(decode_stored(stored))
                except Corrupt:  # the audit says so; what can be read is shown
                    continue
                for one in spoken_of:
                    index[one].append(stored.position)
            self._index = dict(index)
        return self._index.get(key, [])


class Replayable:
    """An archive as ``replay.replay`` and ``audit.audit`` read a log."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def head(self) -> int:
        return self._archive.head()

    async def iterate(self, after: int, upto: int) -> AsyncIterator[list[Stored]]:
        while after < upto:
            page = list(self._archive.page(after, min(PAGE_EVENTS, upto - after)))
            yield page
            after = page[-1].position
