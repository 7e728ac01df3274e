"""Events and their envelope as bytes: stored and published names, and what became of old ones.

The bytes of an event are its JSON with the name in ``type``; what is stored is what is published and hashed.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Struct

from domain.errors import Corrupt
from domain.events import AnyEvent, Event
from domain.ids import PartyKey
from services.ports import Stored

TraceId = Annotated[str, msgspec.Meta(min_length=32, max_length=32, pattern="^[0-9a-f]*$", extra={"privacy": "public"})]
SpanId = Annotated[str, msgspec.Meta(min_length=16, max_length=16, pattern="^[0-9a-f]*$", extra={"privacy": "public"})]


class Meta(Struct, frozen=True):
    """Who caused an event, and how it hangs together with others.

    Attributes:
        actor: Key of the party whose command it was.
        correlation: What everything that follows from one intention shares; an OpenTelemetry trace id.
        causation: The first 8 bytes of the command's nonce; an OpenTelemetry span id.
    """

    actor: PartyKey
    correlation: TraceId
    causation: SpanId

    @property
    def traceparent(self) -> str:
        """The W3C header by which a subscriber's trace continues the command's."""
        return f"00-{self.correlation}-{self.causation}-01"


EVENTS: tuple[type[Event], ...] = get_args(AnyEvent)
NAMES = MappingProxyType({event: str(event.__struct_config__.tag) for event in EVENTS})
CLASSES = MappingProxyType({name: event for event, name in NAMES.items()})
#: Old names: each turns the fields of an event that was stored under it into an event of today.
Upcaster = Callable[[dict[str, Any]], AnyEvent]
UPCASTERS: MappingProxyType[str, Upcaster] = MappingProxyType({})

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_meta_decoder = msgspec.json.Decoder(Meta)
encode: Callable[[AnyEvent], bytes] = _encoder.encode
encode_meta: Callable[[Meta], bytes] = _encoder.encode


def decode(name: str, data: bytes, *, position: int | None = None) -> AnyEvent:
    """The event that was stored as ``data`` under ``name``, in today's form.

    Raises:
        Corrupt: The bytes are not such an event; names its position.
    """
    try:
        upcast = UPCASTERS.get(name)
        if upcast is not None:
            return upcast(msgspec.json.decode(data, type=dict[str, Any]))
        event = _decoder.decode(data)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"event {position or '?'} is no {name}: {error}") from error
    if NAMES[type(event)] != name:
        raise Corrupt(f"event {position or '?'} is stored as {name} and says that it is {NAMES[type(event)]}")
    return event


def decode_stored(stored: Stored) -> AnyEvent:
    """The event in a row of the log.

    Raises:
        Corrupt: The bytes are not such an event; names its position.
    """
    return decode(stored.name, stored.data, position=stored.position)


def decode_meta(meta: bytes, *, position: int | None = None) -> Meta:
    """The envelope that was stored with an event.

    Raises:
        Corrupt: The bytes are no envelope; names the event's position.
    """
    try:
        return _meta_decoder.decode(meta)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"event {position or '?'} has an unreadable envelope: {error}") from error
