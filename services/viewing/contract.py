"""The event contract as people read it: each event's fields with their privacy, and where it is published."""

from functools import cache
from typing import Any, Final

from msgspec import Struct

from domain.events import Event
from services import schema
from services.ledger.codec import EVENTS, NAMES


class Field(Struct, frozen=True):
    """Attributes:
    type: As JSON has it. privacy: ``public``, ``pseudonym`` or ``commitment``; empty where parts of it have their own.
    """

    name: str
    type: str
    privacy: str
    means: str


class Entry(Struct, frozen=True):
    """Attributes:
    stored: Its name with its version. kind: Of the stream. subject: Where it is published; ``*`` for any id.
    """

    name: str
    stored: str
    kind: str
    subject: str
    means: str
    fields: tuple[Field, ...]


@cache
def contract() -> tuple[Entry, ...]:
    """Every event, in the order of the published language."""
    return tuple(map(_entry, EVENTS))


def entry(name: str) -> Entry | None:
    """The event of this name, with or without its version."""
    return next((one for one in contract() if name in (one.name, one.stored)), None)


def _entry(event: type[Event]) -> Entry:
    stored = NAMES[event]
    document = schema.one(stored)
    kind = schema.KINDS[event].name
    fields = tuple(_field(name, field) for name, field in document["properties"].items() if name != "type")
    summary = next(one.summary for one in schema.index() if one.name == stored)
    means = _plain(str(document.get("description", summary)).partition("\n\n")[0])
    return Entry(event.__name__, stored, kind, f"pasar.events.{kind}.*.{event.__name__}", means, fields)


def _field(name: str, field: dict[str, Any]) -> Field:
    return Field(name, _type(field), str(field.get("x-privacy", "")), _plain(str(field.get("description", ""))))


def _plain(text: str) -> str:
    """Without the marks of a docstring."""
    return text.replace("`", "")


_WORDS: Final = {"date-time": "time"}


def _type(field: dict[str, Any]) -> str:
    match field:
        case {"enum": list(values)}:
            return " | ".join(map(str, values))
        case {"anyOf": list(options)}:
            return " | ".join(_type(option) for option in options)
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": "string", "format": str(format_)}:
            return _WORDS.get(format_, format_)
    return str(field.get("type", "object"))
