"""The contract in the forms that tools read: JSON Schema of every event and command, AsyncAPI of the stream.

All of it is taken from the types themselves; ``x-privacy`` says what a field may reveal. The examples are events of a
market that ran (of the demo, mostly). ``schemas/`` holds it as files; `just schemas` writes them. Sources: JSON Schema
2020-12, AsyncAPI 3.0.0, CloudEvents 1.0 (binary mode: the attributes are headers, the body is the event).
"""

import inspect as docs
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import msgspec
from msgspec import Struct, inspect

from domain.commands import Command
from domain.errors import Refused
from domain.events import (
    ChainEvent,
    CoinEvent,
    DisputeEvent,
    EscrowEvent,
    JobEvent,
    MarketEvent,
    PayoutEvent,
    ProgramEvent,
    StakeEvent,
    TaskEvent,
    WorkerEvent,
)
from domain.ids import Kind
from services.bus import commands
from services.bus.commands import SUBJECT, Body
from services.bus.events import STREAM, STREAM_CONFIG
from services.ledger.codec import EVENTS, NAMES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
#: To which stream each event belongs, as ``World.place`` puts it there.
KINDS: Final[Mapping[type, Kind]] = {
    event: kind
    for kind, events in {
        Kind.job: JobEvent,
        Kind.task: TaskEvent,
        Kind.dispute: DisputeEvent,
        Kind.worker: WorkerEvent,
        Kind.stake: StakeEvent,
        Kind.escrow: EscrowEvent,
        Kind.market: MarketEvent,
        Kind.program: ProgramEvent,
        Kind.settlement: ChainEvent | CoinEvent | PayoutEvent,
    }.items()
    for event in get_args(events) or (events,)
}
COMMANDS: Final[tuple[type[Struct], ...]] = get_args(Command)
_ATTRIBUTE: Final = re.compile(r"(\w+(?:, \w+)*): (.+)")


class Example(Struct, frozen=True):
    """One published event."""

    headers: dict[str, str]
    payload: dict[str, Any]


EXAMPLES_FILE: Final = Path(__file__).with_name("examples.json")


@cache
def examples() -> Mapping[str, Example]:
    """A published event of every kind by its stored name."""
    return msgspec.json.decode(EXAMPLES_FILE.read_bytes(), type=dict[str, Example])


class NoSuchSchema(Refused):
    template: ClassVar[str] = "there is no event or command {name}; `pasar schema ls` lists them"


class Entry(Struct, frozen=True):
    """Attributes:
    subject: Where an event is published, with the id of its job, party or escrow in braces; where a command is sent.
    """

    name: str
    kind: Literal["event", "command"]
    subject: str
    summary: str


def index() -> list[Entry]:
    """Every event and command."""
    events = [Entry(NAMES[event], "event", _subject(event), _summary(event)) for event in EVENTS]
    return events + [Entry(one.__name__, "command", SUBJECT, _summary(one)) for one in COMMANDS]


def one(name: str) -> dict[str, Any]:
    """The schema of the event or command of this name, with or without its version.

    Raises:
        NoSuchSchema: There is none.
    """
    for found, schema in everything().items():
        if name in (found, found.partition(".")[0]):
            return schema
    raise NoSuchSchema(name=name)


@cache
def everything() -> dict[str, dict[str, Any]]:
    """Every schema by the name of its event (``JobPosted.v1``) or command (``PostJob``)."""
    kinds: dict[str, type[Struct]] = {**{NAMES[one]: one for one in EVENTS}, **{one.__name__: one for one in COMMANDS}}
    return {name: _schema(name, kind) for name, kind in kinds.items()}


def asyncapi() -> dict[str, Any]:
    """The event stream and the command endpoint, as the market offers them."""
    events = {event.__name__: event for event in EVENTS}
    _, components = _components((*EVENTS, Body), "#/components/schemas/{name}")
    components = {name: _discriminated(component) for name, component in components.items()}
    channels = {name: _channel(event) for name, event in events.items()}
    channels["Command"] = {
        "address": SUBJECT,
        "title": "Commands",
        "description": docs.getdoc(commands),
        "messages": {"Command": {"$ref": "#/components/messages/Command"}},
    }
    messages = {name: _message(event) for name, event in events.items()}
    messages["Command"] = {
        "name": "Command",
        "title": "The signed part of a command frame",
        "contentType": "application/octet-stream",
        "payload": {"$ref": "#/components/schemas/Body"},
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Pasar",
            "version": version("pasar"),
            "description": f"{STREAM_CONFIG['description']} Stream {STREAM}; read it with any NATS client.",
            "license": {"name": "AGPL-3.0-or-later"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            **{f"publish{name}": _operation("send", name) for name in events},
            "takeCommand": _operation("receive", "Command"),
        },
        "components": {"messages": messages, "schemas": {**components, "Headers": HEADERS}},
    }


def files() -> dict[str, Any]:
    """The whole contract as the files of a folder, by their names."""
    events = {f"{name}.json": one(name) for name in NAMES.values()}
    taken = {f"commands/{command.__name__}.json": one(command.__name__) for command in COMMANDS}
    return {**events, **taken, "asyncapi.json": asyncapi()}


HEADERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes in binary mode, and the W3C trace that the command belongs to.",
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}-[0-9]+$",
            "description": "The event's stream and its number there; the same wherever the event is seen.",
        },
        "ce-source": {"const": "pasar"},
        "ce-type": {"enum": list(NAMES.values())},
        "ce-time": {"type": "string", "format": "date-time", "description": "When it was recorded."},
        "ce-actor": {
            "type": "string",
            "pattern": "^[A-Z2-7]{56}$",
            "description": "Key of the party whose command it was.",
            "x-privacy": "pseudonym",
        },
        "traceparent": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$"},
    },
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-actor", "traceparent"],
}


def _channel(event: type) -> dict[str, Any]:
    name = event.__name__
    return {
        "address": _subject(event),
        "title": _summary(event),
        "parameters": {"id": {"description": f"24 hex digits: {_OWNERS[KINDS[event]]}; * for all."}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


_OWNERS: Final = {
    Kind.job: "the job's id",
    Kind.task: "the id of the task's job",
    Kind.dispute: "the id of the disputed task's job",
    Kind.worker: "a digest of the worker's key",
    Kind.stake: "a digest of the worker's key",
    Kind.escrow: "the escrow's id",
    Kind.market: "a digest of the operator's key",
    Kind.program: "the first 12 bytes of the program's address",
    Kind.settlement: "a digest of the operator's key",
}


def _message(event: type) -> dict[str, Any]:
    example = examples()[NAMES[event]]
    return {
        "name": NAMES[event],
        "title": _summary(event),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "examples": [{"headers": example.headers, "payload": example.payload}],
    }


def _operation(action: str, name: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _subject(event: type) -> str:
    return f"pasar.events.{KINDS[event].name}.{{id}}.{event.__name__}"


def _schema(name: str, kind: type[Struct]) -> dict[str, Any]:
    _, components = _components((kind,), "#/$defs/{name}")
    own = components.pop(kind.__name__)
    defs = {"$defs": components} if components else {}
    shown = {"examples": [examples()[name].payload]} if kind in KINDS else {}
    return {"$schema": DIALECT, "$id": f"urn:pasar:{name}", **own, **defs, **shown}


def _components(kinds: tuple[type, ...], template: str) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The schemas of these types and of those in them, with their docstrings and the privacy of their fields."""
    made = msgspec.json.schema_components(kinds, ref_template=template)
    references, components = msgspec.json.decode(msgspec.json.encode(made))  # defaults as JSON has them
    found = {kind.__name__: kind for kind in _structs(kinds)}
    return references, {name: _explained(schema, found[name]) for name, schema in components.items()}


def _discriminated(schema: Any) -> Any:
    """With discriminators as AsyncAPI has them: the property's name alone, without the mapping of OpenAPI."""
    match schema:
        case {"discriminator": {"propertyName": str(name)}, **rest}:
            return {**_discriminated(rest), "discriminator": name}
        case dict():
            return {key: _discriminated(value) for key, value in schema.items()}
        case list():
            return [_discriminated(value) for value in schema]
    return schema


def _structs(kinds: tuple[type, ...]) -> set[type]:
    return {
        info.cls for kind in kinds for info in _walk(inspect.type_info(kind)) if isinstance(info, inspect.StructType)
    }


def _walk(info: inspect.Type) -> Iterator[inspect.Type]:
    yield info
    parts: tuple[inspect.Type, ...] = ()
    match info:
        case inspect.StructType():
            parts = tuple(field.type for field in info.fields)
        case inspect.UnionType():
            parts = info.types
        case inspect.TupleType():
            parts = info.item_types
        case inspect.VarTupleType() | inspect.ListType():
            parts = (info.item_type,)
        case inspect.Metadata():
            parts = (info.type,)
    for part in parts:
        yield from _walk(part)


def _explained(schema: dict[str, Any], kind: type) -> dict[str, Any]:
    """A struct's schema with its first paragraph as description, and the rest of it at its fields."""
    text, attributes = _docs(kind)
    schema = {key: value for key, value in schema.items() if key != "description"}
    privacy = _privacy(kind)
    properties = {
        name: {
            **field,
            **({"description": attributes[name]} if name in attributes else {}),
            **({"x-privacy": privacy[name]} if name in privacy else {}),
        }
        for name, field in schema["properties"].items()
    }
    described = {"description": text} if text else {}
    return {**schema, **described, "properties": properties}


def _privacy(kind: type) -> dict[str, str]:
    """The class of each field; a closed vocabulary is public, what is in a struct of its own is said there."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    found = {field.encode_name: _class(field.type) for field in info.fields} if kind in KINDS or kind in _INSIDE else {}
    return {name: privacy for name, privacy in found.items() if privacy}


def _class(info: inspect.Type) -> str:
    inside = list(_walk(info))
    if any(isinstance(one, inspect.StructType) for one in inside):
        return ""
    classes = [one.extra["privacy"] for one in inside if isinstance(one, inspect.Metadata) and one.extra]
    return classes[0] if classes else "public"


def _docs(kind: type) -> tuple[str, dict[str, str]]:
    """What a docstring says of the whole, and of each field."""
    text = docs.cleandoc(kind.__doc__ or "").replace("``", "`")
    whole, _, listed = text.partition("Attributes:\n")
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in docs.cleandoc(listed).splitlines():
        found = None if line.startswith(" ") else _ATTRIBUTE.fullmatch(line)
        names = found[1].split(", ") if found else names
        said = found[2] if found else line.strip()
        for name in names:
            fields[name] = said if found else f"{fields[name]} {said}"
    return whole.strip(), fields


def _summary(kind: type) -> str:
    return _docs(kind)[0].partition("\n")[0] or _spoken(kind.__name__)


def _spoken(name: str) -> str:
    """``WorkerPaused`` as words, for what needs no explanation."""
    words = re.findall("[A-Z][a-z]*", name)
    return " ".join((words[0], *(word.lower() for word in words[1:]))) + "."


#: Structs that stand inside events.
_INSIDE: Final = _structs(EVENTS)
