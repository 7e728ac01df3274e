"""An event as one JSON document: CloudEvents 1.0 in structured mode, with its place in the log.

Source: CloudEvents 1.0, JSON event format; the attributes are those of the headers in ``services.bus.events``.
"""

from datetime import datetime

from msgspec import Raw, Struct

from services.bus.events import subject_of
from services.ledger.codec import decode_meta
from services.ports import Stored


class Envelope(Struct, frozen=True, kw_only=True):
    """Attributes:
    subject: Where it was published. position: In the log; JetStream's sequence.
    data: The event's bytes as they are stored, published and hashed.
    """

    specversion: str = "1.0"
    id: str
    source: str = "pasar"
    type: str
    time: datetime
    subject: str
    position: int
    actor: str
    traceparent: str
    data: Raw


def envelope(stored: Stored) -> Envelope:
    """The event with all that is known of it.

    Raises:
        Corrupt: Its metadata cannot be read.
    """
    meta = decode_meta(stored.meta, position=stored.position)
    return Envelope(
        id=f"{stored.stream.hex()}-{stored.version}",
        type=stored.name,
        time=stored.recorded_at,
        subject=subject_of(stored.stream, stored.name),
        position=stored.position,
        actor=meta.actor,
        traceparent=meta.traceparent,
        data=Raw(stored.data),
    )
