"""Events as stored bytes and back; upcasters for replaced ones will live here."""

import msgspec
from msgspec import Struct

from domain.errors import Corrupt
from domain.events import AnyEvent


class Meta(Struct, frozen=True, omit_defaults=True):
    """Who caused an event, and by which command."""

    actor: str = ""
    correlation: str = ""
    causation: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyEvent).decode
_decode_meta = msgspec.json.Decoder(Meta).decode


def name_of(event: AnyEvent) -> str:
    """The stored name of an event."""
    return str(type(event).__struct_config__.tag)


def encode(event: AnyEvent) -> bytes:
    return _encode(event)


def decode(name: str, data: bytes) -> AnyEvent:
    """The event of stored bytes.

    Raises:
        Corrupt: They are no event, or one of another name.
    """
    try:
        event: AnyEvent = _decode(data)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{name} cannot be read: {error}") from error
    if type(event).__struct_config__.tag != name:
        raise Corrupt(f"bytes of {name} hold {name_of(event)}")
    return event


def encode_meta(meta: Meta) -> bytes:
    return _encode(meta)


def decode_meta(meta: bytes) -> Meta:
    return _decode_meta(meta)
