"""Golden files: the bytes of one example of every event ever stored, which must be readable forever.

For a new event, and never for an old one, run

    python -m tests.golden.generate

which writes the files that are missing and leaves those that exist as they are. Where an event gets an optional field,
its file is moved to ``events/older/<n>/`` first, n being the number of forms it has had: 1, then 2. It also writes
``schemas/``, the published contract, unless a change of it would break a subscriber (`just schemas` is the same), and
the examples in it: those that are there stay, a new event's is its golden file. With a file of events as an argument
(the output of ``pasar events --after 0 --json``) examples are taken from there, as far as they are in it.
"""

import hashlib
import sys
from base64 import b32encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from services import schema
from services.ledger.codec import CLASSES, EVENTS, NAMES, encode

FOLDER = Path(__file__).parent / "events"
SCHEMAS = Path(__file__).parents[2] / "schemas"


def example(kind: type[Any]) -> Any:
    """A value of the struct ``kind``, always the same, each field at home in its bounds."""
    found = _value(inspect.type_info(kind), kind.__name__)
    return msgspec.convert(found, kind)


def _value(info: inspect.Type, where: str) -> Any:
    seed = hashlib.sha256(where.encode())
    match info:
        case inspect.Metadata():
            return _value(info.type, where)
        case inspect.StructType():
            fields = {field.encode_name: _value(field.type, f"{where}.{field.name}") for field in info.fields}
            return fields if info.tag is None else {info.tag_field: info.tag, **fields}
        case inspect.UnionType():
            return _value(next(one for one in info.types if not isinstance(one, inspect.NoneType)), where)
        case inspect.VarTupleType():
            return [_value(info.item_type, f"{where}[{index}]") for index in range(2)]
        case inspect.LiteralType():
            return info.values[0]
        case inspect.BoolType():
            return True
        case inspect.DateTimeType():
            return datetime(2026, 1, 2, 3, 4, 5, int(seed.hexdigest()[:4], 16), tzinfo=UTC)
        case inspect.IntType():
            low = info.ge if info.ge is not None else 0
            high = info.le if info.le is not None else (info.lt - 1 if info.lt is not None else 2**53)
            return low + int(seed.hexdigest()[:4], 16) % (high - low + 1)
        case inspect.StrType(max_length=56):
            return "U" + b32encode(seed.digest() * 2).decode()[:55]
        case inspect.StrType(max_length=71):
            return "sha256:" + seed.hexdigest()
        case inspect.StrType(max_length=16):
            return "0.10.2"
        case inspect.StrType(max_length=66):
            return "02" + seed.hexdigest()
        case inspect.StrType(max_length=68):
            return "0014" + seed.hexdigest()[:40]
        case inspect.StrType(max_length=160):
            return "00" * 16 + seed.hexdigest() * 2
        case inspect.StrType(max_length=72):
            return seed.hexdigest() + "00000001"
        case inspect.StrType(max_length=int(length)) if length <= 64:
            return seed.hexdigest()[:length]
    raise AssertionError(f"{where}: say here what an example of {info} is")


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Where the new contract is not the old one with optional fields added: its names, and why."""
    found = [f"{name} is gone" for name in old.keys() - new.keys()]
    return found + [one for name in old.keys() & new.keys() for one in _breaks(name, old[name], new[name])]


def _breaks(where: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = old["properties"], new["properties"]
    found = [f"{where}.{field} is gone" for field in before.keys() - after.keys()]
    found += [
        f"{where}.{field} means something else"
        for field in before.keys() & after.keys()
        if _meaning(before[field]) != _meaning(after[field])
    ]
    if set(new["required"]) != set(old["required"]):
        found.append(f"{where} requires other fields")
    defs, others = old.get("$defs", {}), new.get("$defs", {})
    for name in defs.keys() & others.keys():
        found += _breaks(f"{where}/{name}", defs[name], others[name])
    return found


def _meaning(field: Any) -> Any:
    """A field's schema without its words."""
    return {key: value for key, value in field.items() if key != "description"}


def published() -> dict[str, Any]:
    """The schemas that are published, by the name of their event or command."""
    return {path.name.removesuffix(".json"): _read(path) for path in _files() if path.name != "asyncapi.json"}


def published_files() -> dict[str, Any]:
    """Everything that is published, by the name of its file."""
    return {path.relative_to(SCHEMAS).as_posix(): _read(path) for path in _files()}


def _files() -> list[Path]:
    return sorted(SCHEMAS.glob("**/*.json"))


def _read(path: Path) -> Any:
    return msgspec.json.decode(path.read_bytes())


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def _recorded(lines: list[bytes]) -> dict[str, schema.Example]:
    """The last event of each kind among CloudEvents in structured mode, as it was published."""
    found: dict[str, schema.Example] = {}
    for line in lines:
        event = msgspec.json.decode(line)
        attributes = ("id", "specversion", "type", "time", "actor", "source")
        headers = {f"ce-{name}": event[name] for name in attributes} | {"traceparent": event["traceparent"]}
        found[event["type"]] = schema.Example(headers, event["data"])
    return found


def _from_golden(name: str) -> schema.Example:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    actor = "U" + b32encode(hashlib.sha512(name.encode()).digest()).decode()[:55]
    seed = hashlib.sha256(name.encode()).hexdigest()
    headers = {
        "ce-id": f"{seed[:24]}{schema.KINDS[CLASSES[name]]:02x}000000-1",
        "ce-specversion": "1.0",
        "ce-type": name,
        "ce-time": at,
        "ce-actor": actor,
        "ce-source": "pasar",
        "traceparent": f"00-{seed[:32]}-{seed[32:48]}-01",
    }
    return schema.Example(headers, _read(FOLDER / f"{name}.json"))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for event in EVENTS:
        path = FOLDER / f"{NAMES[event]}.json"
        if not path.exists():
            path.write_bytes(encode(example(event)))
            print(f"new: {path.name}")
    kept = dict(schema.examples()) if schema.EXAMPLES_FILE.exists() else {}
    seen = kept | (_recorded(Path(sys.argv[1]).read_bytes().splitlines()) if sys.argv[1:] else {})
    _write(schema.EXAMPLES_FILE, {name: seen.get(name) or _from_golden(name) for name in sorted(NAMES.values())})
    schema.examples.cache_clear()
    if broken := breaks(published(), schema.everything()):
        sys.exit("\n".join(("the contract would break; give the event a new version instead:", *broken)))
    new = schema.files()
    for path in _files():
        if path.relative_to(SCHEMAS).as_posix() not in new:
            path.unlink()
    for name, found in new.items():
        _write(SCHEMAS / name, found)


if __name__ == "__main__":
    main()
