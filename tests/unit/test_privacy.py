"""Every field of every event says what it may reveal, and none can hold free text: the log never forgets."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Struct, inspect

from services.ledger.codec import EVENTS, Meta

CLASSES = {"public", "pseudonym", "commitment"}


def complaints(kind: type[Any]) -> list[str]:
    """What is wrong with the fields of a struct, and of those inside it."""
    return _complaints(inspect.type_info(kind), kind.__name__, classified=False)


def _complaints(info: inspect.Type, where: str, *, classified: bool) -> list[str]:
    match info:
        case inspect.Metadata():
            privacy = (info.extra or {}).get("privacy")
            if privacy is not None and privacy not in CLASSES:
                return [f"{where}: {privacy!r} is no class"]
            pattern = (info.extra_json_schema or {}).get("pattern")
            inner = info.type
            if isinstance(inner, inspect.StrType) and pattern and inner.pattern is None:
                inner = inspect.StrType(inner.min_length, inner.max_length, pattern)
            return _complaints(inner, where, classified=classified or privacy is not None)
        case inspect.StructType():
            return [
                one
                for field in info.fields
                for one in _complaints(field.type, f"{where}.{field.name}", classified=False)
            ]
        case inspect.UnionType():
            return [one for part in info.types for one in _complaints(part, where, classified=classified)]
        case inspect.VarTupleType():
            return _complaints(info.item_type, f"{where}[]", classified=classified)
        case inspect.TupleType():
            return [one for part in info.item_types for one in _complaints(part, f"{where}[]", classified=classified)]
        case inspect.LiteralType() | inspect.NoneType():
            return []
        case inspect.StrType() if info.max_length is None or info.pattern is None:
            return [f"{where}: free text"]
        case inspect.StrType() | inspect.IntType() | inspect.BoolType() | inspect.DateTimeType():
            return [] if classified else [f"{where}: unclassified"]
    return [f"{where}: {type(info).__name__} is no type for an event"]


@pytest.mark.parametrize("kind", [*EVENTS, Meta], ids=lambda kind: kind.__name__)
def test_event_field_is_classified_and_holds_no_free_text(kind: type[Struct]) -> None:
    assert complaints(kind) == []


class Inner(Struct):
    note: Annotated[str, msgspec.Meta(max_length=9, extra={"privacy": "public"})]


class Careless(Struct):
    bare: int
    named: Annotated[int, msgspec.Meta(extra={"privacy": "secret"})]
    text: str | None
    inner: tuple[Inner, ...]
    anything: dict[str, int]
    fine: Annotated[str, msgspec.Meta(max_length=9, pattern="^a*$", extra={"privacy": "public"})]


def test_careless_fields_are_found_wherever_they_hide() -> None:
    assert complaints(Careless) == [
        "Careless.bare: unclassified",
        "Careless.named: 'secret' is no class",
        "Careless.text: free text",
        "Careless.inner[].note: free text",
        "Careless.anything: DictType is no type for an event",
    ]
