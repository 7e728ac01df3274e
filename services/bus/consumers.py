"""Who reads the event stream through JetStream: every consumer that the server knows, and how far it is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import nats.errors
import nats.js.errors
from msgspec import Struct

from domain.errors import Unavailable
from services.bus.connect import connect
from services.bus.events import STREAM
from services.config import Settings

#: What a page of the server's answer holds, and how many consumers are listed at most.
_PAGE: Final = 256
CONSUMERS_MAX: Final = 1_024
ANSWER_S: Final = 2.0


class Consuming(Struct, frozen=True, kw_only=True):
    """Attributes:
    durable: Whether the server keeps it while nobody listens.
    delivered: Stream sequence, which is the position, of the last event that it was given.
    pending: Events that it was not given yet. unacknowledged, redelivered: Given and not confirmed; given again.
    """

    name: str
    durable: bool
    subjects: tuple[str, ...]
    delivered: int
    pending: int
    unacknowledged: int
    redelivered: int
    created: datetime | None


async def consumers(settings: Settings) -> Sequence[Consuming]:
    """The consumers of the event stream, by name.

    Raises:
        Unavailable: nats-server or its JetStream does not answer.
        PermissionDenied: The role may not list them.
    """
    connection = await connect(settings, "reader", name="consumers")
    try:
        stream = connection.jetstream(timeout=ANSWER_S)
        found: list[Consuming] = []
        while len(found) < CONSUMERS_MAX:
            page = await stream.consumers_info(STREAM, offset=len(found))
            found += map(_consuming, page)
            if len(page) < _PAGE:
                break
        return sorted(found, key=lambda one: one.name)
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise Unavailable(reason=f"the stream does not say who reads it: {error or type(error).__name__}") from error
    finally:
        await connection.close()


def _consuming(info: "nats.js.api.ConsumerInfo") -> Consuming:
    config = info.config
    filters = config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])
    return Consuming(
        name=info.name,
        durable=bool(config.durable_name),
        subjects=tuple(filters),
        delivered=info.delivered.stream_seq if info.delivered else 0,
        pending=info.num_pending or 0,
        unacknowledged=info.num_ack_pending or 0,
        redelivered=info.num_redelivered or 0,
        created=info.created,
    )
