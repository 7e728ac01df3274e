"""Our events as `eventsourcing` carries them: a fact with its place, and its envelope."""

from dataclasses import dataclass
from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    Cipher,
    Compressor,
    Mapper,
    Notification,
    ProgrammingError,
    StoredEvent,
    Transcoder,
)

from domain.events import AnyEvent
from services.ledger.codec import NAMES, Meta, decode, decode_meta, encode, encode_meta


@dataclass(frozen=True)
class Recorded:
    """An event with its place: what the library calls a domain event. ``Application.save`` takes it as it is."""

    originator_id: UUID
    originator_version: int
    fact: AnyEvent
    meta: Meta


@dataclass(frozen=True)
class StoredFact(StoredEvent):
    """A stored event with its envelope."""

    meta: bytes


@dataclass(frozen=True)
class FactNotification(Notification):
    """A notification with the event's envelope."""

    meta: bytes


class FactMapper(Mapper[UUID]):
    """Maps the published language and nothing else: whatever is in the log can be read by everybody, forever."""

    def __init__(
        self, transcoder: Transcoder, compressor: Compressor | None = None, cipher: Cipher | None = None
    ) -> None:
        if compressor or cipher:
            raise ProgrammingError("stored events are the published bytes: neither compress nor encrypt them")
        super().__init__(transcoder)

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredFact:
        if not isinstance(domain_event, Recorded):
            raise ProgrammingError(f"{type(domain_event).__name__} is no event of the published language")
        return StoredFact(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=NAMES[type(domain_event.fact)],
            state=encode(domain_event.fact),
            meta=encode_meta(domain_event.meta),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        if not isinstance(stored_event, StoredFact | FactNotification) or isinstance(stored_event.originator_id, str):
            raise ProgrammingError(f"{stored_event.topic} was stored without an envelope")
        position = stored_event.id if isinstance(stored_event, FactNotification) else None
        return Recorded(
            stored_event.originator_id,
            stored_event.originator_version,
            decode(stored_event.topic, stored_event.state, position=position),
            decode_meta(stored_event.meta, position=position),
        )
