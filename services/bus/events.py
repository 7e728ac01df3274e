"""How an event travels: its subject, its CloudEvents headers, and the stream that keeps it.

Subject ``pasar.events.<kind>.<id>.<Event>``, where a task's id is its job's; body the event's JSON; CloudEvents 1.0 in
binary mode, so that a message is the event and its headers are the envelope. The stream's sequence is the log's
position.

Source: CloudEvents 1.0 NATS binding; W3C Trace Context for ``traceparent``.
"""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any

from domain.ids import Kind
from services.bus.wire import BusError, Message, Wire
from services.ledger.codec import Meta, decode_meta, encode_meta
from services.ports import Stored

STREAM = "EVENTS"
SUBJECTS = "pasar.events.>"
#: The largest atomic batch that nats-server takes (ADR-50).
BATCH_MAX = 1_000

STREAM_CONFIG: dict[str, Any] = {
    "name": STREAM,
    "description": "Every fact of the market. Sequence = position in the log. CloudEvents 1.0, binary mode.",
    "subjects": [SUBJECTS],
    "storage": "file",
    "retention": "limits",
    "num_replicas": 1,
    "allow_atomic": True,
    "allow_direct": True,
    "deny_delete": True,
    "deny_purge": True,
}

_KIND_NAMES = {int(kind): kind.name for kind in Kind}


def subject_of(stream: bytes, name: str) -> str:
    """Where an event of this stream and stored name is published."""
    return f"pasar.events.{_KIND_NAMES[stream[12]]}.{stream[:12].hex()}.{name.partition('.')[0]}"


def headers_of(event: Stored) -> bytes:
    """The CloudEvents attributes, as header lines without the opening and closing line."""
    return (
        f"ce-id: {event.stream.hex()}-{event.version}\r\nce-specversion: 1.0\r\nce-type: {event.name}\r\n"
        f"ce-time: {event.recorded_at.isoformat()}\r\n{_caused(event.meta)}"
    ).encode()


@lru_cache(maxsize=4096)
def _caused(meta: bytes) -> str:
    caused = decode_meta(meta)
    return f"ce-actor: {caused.actor}\r\nce-source: pasar\r\ntraceparent: {caused.traceparent}\r\n"


def read_headers(block: bytes) -> dict[str, str]:
    """Header lines by lower-case name."""
    pairs = (line.split(": ", 1) for line in block.decode().split("\r\n")[1:] if ": " in line)
    return {name.lower(): value for name, value in pairs}


def stored_from(position: int, message: Message) -> Stored:
    """The logged event that a delivered message carries, to the byte.

    Raises:
        KeyError, ValueError: A header is missing or unreadable: no relay of ours published it.
    """
    lines = message.headers.split(b"\r\n")
    # as ``headers_of`` writes them, at the end of the block
    if len(lines) > 9 and lines[-9].startswith(b"ce-id: ") and lines[-3].startswith(b"traceparent: "):
        named, kind, at = lines[-9][7:].decode(), lines[-7][9:].decode(), lines[-6][9:].decode()
        meta = _meta(lines[-5][10:].decode(), lines[-3][13:].decode())
    else:
        headers = read_headers(message.headers)
        named, kind, at = headers["ce-id"], headers["ce-type"], headers["ce-time"]
        meta = _meta(headers["ce-actor"], headers["traceparent"])
    stream, _, version = named.partition("-")
    return Stored(position, bytes.fromhex(stream), int(version), kind, message.data, meta, _time(at))


@lru_cache(maxsize=4096)
def _meta(actor: str, traceparent: str) -> bytes:
    _, correlation, causation, _ = traceparent.split("-")
    return encode_meta(Meta(actor, correlation, causation))


@lru_cache(maxsize=256)
def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def call(wire: Wire, subject: str, request: dict[str, Any] | None = None, *, timeout_s: float = 10) -> Any:
    """One request to the JetStream API.

    Raises:
        BusError: JetStream answered with an error.
    """
    data = json.dumps(request).encode() if request is not None else b""
    answer = json.loads(await wire.request(f"$JS.API.{subject}", data, timeout_s=timeout_s))
    if "error" in answer:
        raise BusError(f"{subject}: {answer['error']['description']}")
    return answer


async def ensure_stream(wire: Wire) -> int:
    """Create the event stream if it is not there; its last sequence."""
    try:
        answer = await call(wire, f"STREAM.INFO.{STREAM}")
    except BusError as error:
        if "not found" not in str(error):
            raise
        answer = await call(wire, f"STREAM.CREATE.{STREAM}", STREAM_CONFIG)
    return int(answer["state"]["last_seq"])
