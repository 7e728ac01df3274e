"""The form of every text in a command, checked at the door: what is recorded once is believed for ever.

``domain.ids`` gives each text its pattern; events are trusted to have it, so only what a stranger sends is matched.
"""

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from msgspec import inspect

#: The path of the first text that has another form than its type says, or nothing.
Check = Callable[[Any], str]


def check_of(kind: type[Any]) -> Check:
    """A check of all texts in a struct of this type, and of those inside it."""
    return _check(inspect.type_info(kind)) or (lambda _: "")


def _check(info: inspect.Type) -> Check | None:
    match info:
        case inspect.Metadata():
            pattern = (info.extra_json_schema or {}).get("pattern")
            return _matches(pattern) if pattern else _check(info.type)
        case inspect.StructType():
            found = ((field.name, _check(field.type)) for field in info.fields)
            return _fields([(name, attrgetter(name), check) for name, check in found if check])
        case inspect.UnionType():
            (look,) = {_check(part) for part in info.types if not isinstance(part, inspect.NoneType)}
            return _optional(look)
        case inspect.VarTupleType():
            return _each(_check(info.item_type))
        case inspect.TupleType():
            return _places([_check(part) for part in info.item_types])
    return None


def _matches(pattern: str) -> Check:
    match = re.compile(pattern).fullmatch
    return lambda text: "" if match(text) else f" is not of the form {pattern}"


def _fields(checks: list[tuple[str, Callable[[Any], Any], Check]]) -> Check | None:
    def check(struct: Any) -> str:
        for name, value_of, look in checks:
            if wrong := look(value_of(struct)):
                return f".{name}{wrong}"
        return ""

    return check if checks else None


def _optional(look: Check | None) -> Check | None:
    return look and (lambda value: "" if value is None else look(value))


def _each(look: Check | None) -> Check | None:
    return look and (lambda values: next(filter(None, map(look, values)), ""))


def _places(looks: list[Check | None]) -> Check | None:
    def check(values: Any) -> str:
        return next((wrong for look, value in zip(looks, values, strict=True) if look and (wrong := look(value))), "")

    return check if any(looks) else None
