"""A log in a file: downloaded here, looked at anywhere, without a market, a database or a network.

One JSON line an event, as a receipt holds it; compressed by gzip or not. The bytes of each event are those of the log,
so the Merkle root over the file is the log's own.
"""

import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Final

import msgspec

from domain.errors import Corrupt, Refused
from services.ledger.codec import decode_stored
from services.ledger.reader import PAGE_EVENTS
from services.ports import Stored
from services.projections.event_index import keys
from services.receipt.form import Logged, logged

#: Bytes of a file, opened, and of the file itself.
FILE_MAX: Final = 512 << 20
Progress = Callable[[int, int], None]
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
    for number, line in enumerate(_opened(file).splitlines(), 1):
        try:
            stored = _decode(line).stored
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoLog(reason=f"line {number} is no event ({error})") from None
        if stored.position != number:
            raise NoLog(reason=f"line {number} holds event {stored.position}")
        events.append(stored)
    if not events:
        raise NoLog(reason="it is empty")
    return Archive(events)


def _opened(file: bytes) -> bytes:
    if not file.startswith(b"\x1f\x8b"):
        return file
    unzip = zlib.decompressobj(wbits=31)
    try:
        opened = unzip.decompress(file, FILE_MAX)
    except zlib.error as error:
        raise NoLog(reason=f"it cannot be opened ({error})") from None
    if unzip.unconsumed_tail or not unzip.eof:
        what = f"it is larger than {FILE_MAX >> 20} MB" if unzip.unconsumed_tail else "it ends too early"
        raise NoLog(reason=what)
    return opened


def zipped(pages: Iterable[Sequence[Stored]]) -> Iterator[bytes]:
    """A file of these events in pieces, the same bytes for the same events."""
    zip_ = zlib.compressobj(6, wbits=31)
    for page in pages:
        yield zip_.compress(lines(page))
    yield zip_.flush()


class Archive:
    """A whole log in memory; it satisfies ``viewing.view.Facts``."""

    def __init__(self, events: Sequence[Stored]) -> None:
        self._events = events
        self._index: dict[str, list[int]] | None = None

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
