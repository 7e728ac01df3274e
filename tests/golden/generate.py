"""Golden files: the bytes of one example of every event ever stored, which must be readable forever.

For a new event, and never for an old one, run

    python -m tests.golden.generate

which writes the files that are missing and leaves those that exist as they are. It also writes ``schema.json``, the
published contract, unless a change of it would break a subscriber.
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
from services.ledger.codec import EVENTS, NAMES, encode

FOLDER = Path(__file__).parent / "events"
SCHEMA = Path(__file__).parent / "schema.json"


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


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for event in EVENTS:
        path = FOLDER / f"{NAMES[event]}.json"
        if not path.exists():
            path.write_bytes(encode(example(event)))
            print(f"new: {path.name}")
    if SCHEMA.exists() and (broken := breaks(msgspec.json.decode(SCHEMA.read_bytes()), schema.everything())):
        sys.exit("\n".join(("the contract would break; give the event a new version instead:", *broken)))
    SCHEMA.write_bytes(msgspec.json.format(msgspec.json.encode(schema.everything())) + b"\n")


if __name__ == "__main__":
    main()
