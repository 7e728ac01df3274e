"""How an event travels: its subject, its CloudEvents headers, and the stream that keeps it.

Subject ``pasar.events.<kind>.<id>.<Event>``, where a task's id is its job's; body the event's JSON; CloudEvents 1.0 in
binary mode, so that a message is the event and its headers are the envelope. The stream's sequence is the log's
position.

Source: CloudEvents 1.0 NATS binding; W3C Trace Context for ``traceparent``.
"""

import json
from datetime import datetime
from typing import Any

from domain.ids import Kind, kind_of
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

_KIND_NAMES = {kind: kind.name for kind in Kind}


def subject_of(stream: bytes, name: str) -> str:
    """Where an event of this stream and stored name is published."""
    return f"pasar.events.{_KIND_NAMES[kind_of(stream)]}.{stream[:12].hex()}.{name.partition('.')[0]}"


def headers_of(event: Stored) -> bytes:
    """The CloudEvents attributes, as header lines without the opening and closing line."""
    meta = decode_meta(event.meta)
    return (
        f"ce-specversion: 1.0\r\nce-id: {event.stream.hex()}-{event.version}\r\nce-source: pasar\r\n"
        f"ce-type: {event.name}\r\nce-time: {event.recorded_at.isoformat()}\r\n"
        f"ce-actor: {meta.actor}\r\ntraceparent: {meta.traceparent}\r\n"
    ).encode()


def read_headers(block: bytes) -> dict[str, str]:
    """Header lines by lower-case name."""
    pairs = (line.split(": ", 1) for line in block.decode().split("\r\n")[1:] if ": " in line)
    return {name.lower(): value for name, value in pairs}


def stored_from(position: int, message: Message) -> Stored:
    """The logged event that a delivered message carries, to the byte.

    Raises:
        KeyError, ValueError: A header is missing or unreadable: no relay of ours published it.
    """
    headers = read_headers(message.headers)
    stream, _, version = headers["ce-id"].partition("-")
    _, correlation, causation, _ = headers["traceparent"].split("-")
    meta = encode_meta(Meta(headers["ce-actor"], correlation, causation))
    recorded_at = datetime.fromisoformat(headers["ce-time"])
    return Stored(position, bytes.fromhex(stream), int(version), headers["ce-type"], message.data, meta, recorded_at)


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
