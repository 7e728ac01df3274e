"""The market's events over HTTP: lines for whoever has curl, and what moves the page itself.

The page gets what has just happened as text, and learns when the read models show something that concerns it.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from functools import cache, lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from domain.errors import Corrupt, Refused
from services import schema
from services.ledger.codec import decode_meta, decode_stored
from services.ports import Stored
from services.projections.queries import Reader
from services.viewing.archive import Zip
from services.viewing.pulse import Pulse, State
from services.viewing.said import said
from ui.page import process
from ui.page.turns import turns

#: How long a silence lasts before a sign of life, in seconds.
SILENCE_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
#: The least time between two messages to one page, in seconds.
PACE_S: Final = 0.1
#: How much longer all drawings may take than they did, so that something is left for the rest.
SHARE: Final = 1.5
#: The least time between two drawings of one page, in seconds.
REDRAW_S: Final = 0.5
#: Events in a message to a page, and in one read of the log.
LINES_MAX: Final = 12
PAGE_EVENTS: Final = 500
#: Characters of a key by which events are found.
KEY_MAX: Final = 128
#: Events of a file that are read and packed together.
FILE_EVENTS: Final = 1_000

_encode = msgspec.json.Encoder().encode
_watching = 0


async def health(request: Request) -> Response:
    """Where the page is; status 503 while it does not follow the market."""
    beat = process.running().pulse.beat()
    answer = {"ok": beat.state == "live", **msgspec.to_builtins(beat), "viewers": _watching}
    return JSONResponse(answer, 200 if beat.state == "live" else 503)


# --------------------------------------------------------------------------------------------------- server-sent events
async def events(request: Request) -> Response:
    """Every event behind ``after``, for ever: ``curl -N http://127.0.0.1:8501/events?after=4211``.

    ``id`` is the position, from which a browser goes on by itself; ``about`` leaves those that speak of one key, and
    ``upto`` ends it.
    """
    query = request.query_params
    start = request.headers.get("last-event-id") or query.get("after")
    upto = query.get("upto")
    about = query.get("about")
    if about is not None and not (about.isascii() and about.isprintable() and len(about) <= KEY_MAX):
        return PlainTextResponse("about is no key; give a job, a party, an escrow or a name as JobPosted\n", 400)
    for name, number in (("after", start), ("upto", upto)):
        if number is not None and not _is_position(number):
            what = f"{name} is {number[:40]!r}; give the position of an event, as /events?after=4211\n"
            return PlainTextResponse(what, 400)
    market = process.running()
    after = market.pulse.beat().heard if start is None else int(start)
    told = _told(market.pulse, market.reader, after, about, None if upto is None else int(upto))
    return StreamingResponse(told, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _is_position(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


async def _told(pulse: Pulse, reader: Reader, after: int, about: str | None, upto: int | None) -> AsyncIterator[bytes]:
    while True:
        before = pulse.beat()
        try:
            found = await reader.events(about, after=after, limit=PAGE_EVENTS)
        except Refused as refused:
            yield f": {refused}\n\n".encode()
            await asyncio.sleep(SILENCE_S)
            continue
        after = found[-1].position if found else after
        yield b"".join(_sse(one) for one in found if upto is None or one.position <= upto) or b": nothing new\n\n"
        all_ = len(found) < PAGE_EVENTS
        if upto is not None and (after >= upto or (all_ and before.position >= upto)):
            return
        if all_ and pulse.beat().position == before.position:
            await pulse.changed(HEARTBEAT_S)


def _sse(stored: Stored) -> bytes:
    meta = decode_meta(stored.meta, position=stored.position)
    head = {"position": stored.position, "recorded_at": stored.recorded_at, "actor": meta.actor}
    body = b'{"head":' + _encode(head) + b',"data":' + stored.data + b"}"
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.position, stored.name.encode(), body)


# ---------------------------------------------------------------------------------------------------- files of the log
async def download(request: Request) -> Response:
    """The log as a file, up to ``upto``: what `pasar log save` writes, made while it is sent."""
    upto = request.query_params.get("upto")
    if upto is not None and not _is_position(upto):
        return PlainTextResponse(f"upto is {upto[:40]!r}; give the position of an event, as /log?upto=4211\n", 400)
    reader = process.running().reader
    try:
        head = await reader.latest_position()
    except Refused as refused:
        return PlainTextResponse(f"{refused}\n", 503)
    last = head if upto is None else min(int(upto), head)
    name = f"pasar-{last}.jsonl.gz"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(_zipped(reader, last), media_type="application/gzip", headers=headers)


async def _zipped(reader: Reader, last: int) -> AsyncIterator[bytes]:
    file, after = Zip(), 0
    while after < last:
        page = await reader.events(after=after, limit=min(FILE_EVENTS, last - after))
        after = page[-1].position
        yield await asyncio.to_thread(file.page, page)
    yield file.end()


async def contract(request: Request) -> Response:
    """The AsyncAPI document of the event stream."""
    return Response(await asyncio.to_thread(_asyncapi), media_type="application/json")


@cache
def _asyncapi() -> bytes:
    return msgspec.json.format(_encode(schema.asyncapi()))


# ------------------------------------------------------------------------------------------------------ the page's own
class Look(Struct, frozen=True):
    """What a page says of itself.

    Attributes:
        drawn: The position that it shows. about: What it is about; empty: all of the market.
    """

    drawn: Annotated[int, Meta(ge=0)] = 0
    about: Annotated[tuple[str, ...], Meta(max_length=64)] = ()


class Line(Struct, frozen=True):
    position: int
    at: datetime
    name: str
    text: str


class Message(Struct, frozen=True):
    """Attributes:
    moved: The position at which the page is to be drawn again, if something that concerns it has happened.
    pace_s: The least time between two drawings, by how many look.
    """

    state: State
    why: str
    since: datetime
    position: int
    at: datetime | None
    lines: tuple[Line, ...]
    moved: int | None
    pace_s: float


async def live(socket: WebSocket) -> None:
    """Tell one page what happens; it says what it shows whenever that changes."""
    global _watching
    await socket.accept()
    _watching += 1
    try:
        async with asyncio.TaskGroup() as group:
            viewer = _Viewer(socket)
            group.create_task(viewer.listen())
            await viewer.tell()
    except* (WebSocketDisconnect, RuntimeError, _Gone):
        pass
    finally:
        _watching -= 1


class _Gone(Exception):
    """The page is no longer there."""


class _Viewer:
    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._pulse = process.running().pulse
        self._look: Look | None = None
        self._told = 0

    async def listen(self) -> None:
        while True:
            text = await self._socket.receive_text()
            try:
                self._look = msgspec.json.decode(text, type=Look)
            except (msgspec.MsgspecError, UnicodeEncodeError):
                raise _Gone from None

    async def tell(self) -> None:
        sent: Message | None = None
        quiet = 0.0
        while self._socket.client_state is WebSocketState.CONNECTED:
            message = self._message()
            if message != sent or quiet >= SILENCE_S:
                await self._socket.send_bytes(_encode(message))
                sent, quiet = message, 0.0
            await asyncio.sleep(PACE_S)
            if self._pulse.beat().heard <= self._told:
                await self._pulse.changed(SILENCE_S)
            quiet += SILENCE_S

    def _message(self) -> Message:
        beat, look = self._pulse.beat(), self._look
        recent = self._pulse.recent(LINES_MAX)
        self._told = beat.heard
        moved = None if look is None else self._pulse.moved(look.drawn, look.about)
        return Message(
            beat.state,
            beat.why,
            beat.since,
            beat.position,
            beat.at,
            tuple(map(_line, recent)),
            moved,
            max(REDRAW_S, round(SHARE * _watching * turns.cost_s, 1)),
        )


@lru_cache(maxsize=1_000)
def _line(stored: Stored) -> Line:
    try:
        text = said(decode_stored(stored))
    except Corrupt as error:
        text = str(error)
    return Line(stored.position, stored.recorded_at, stored.name.partition(".")[0], text)
