"""What was stored can be read forever, and says who caused it."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from domain.errors import Corrupt
from domain.events import Event, JobCancelled
from services.ledger import codec
from services.ledger.codec import CLASSES, EVENTS, NAMES, Meta, decode, decode_meta, decode_stored, encode, encode_meta
from services.ports import Stored
from tests.golden.generate import FOLDER, example

#: Those in ``older`` lack fields that came later; its folders are an event's forms in their order.
GOLDEN = sorted(FOLDER.rglob("*.json"))
META = Meta("U" + "A" * 55, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_every_event_has_a_golden_file() -> None:
    missing = set(CLASSES) - {path.stem for path in GOLDEN}
    assert not missing, f"run `python -m tests.golden.generate` and commit what it writes: {missing}"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.relative_to(FOLDER).with_suffix("").as_posix())
def test_golden_event_decodes_forever(path: Path) -> None:
    event = decode(path.stem, path.read_bytes())
    assert type(event) in EVENTS
    if path.stem in CLASSES:
        assert type(event) is CLASSES[path.stem]


@pytest.mark.parametrize("path", sorted((FOLDER / "older").rglob("*.json")), ids=lambda path: str(path.parts[-2:]))
def test_older_form_of_an_event_is_read_with_the_defaults_of_later_fields(path: Path) -> None:
    newest, generation = CLASSES[path.stem], int(path.parent.name)
    assert generation == 1 or (path.parents[1] / str(generation - 1) / path.name).exists()
    stored = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    later = [field for field in msgspec.structs.fields(newest) if field.encode_name not in stored]
    assert later, "it has every field of today's, so nothing is older in it"
    event = decode(path.stem, path.read_bytes())
    assert all(getattr(event, field.name) == field.default for field in later)


@pytest.mark.parametrize("name", CLASSES)
def test_event_encodes_to_its_golden_bytes(name: str) -> None:
    golden = (FOLDER / f"{name}.json").read_bytes()
    assert encode(decode(name, golden)) == golden == encode(example(CLASSES[name]))


def test_every_event_class_is_in_the_union() -> None:
    assert set(EVENTS) == set(Event.__subclasses__())


def test_names_are_versioned_and_belong_to_one_class_each() -> None:
    assert len(CLASSES) == len(NAMES) == len(EVENTS)
    assert all(name == f"{event.__name__}.v1" for event, name in NAMES.items())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("JobCancelled.v1", b"not json"),
        ("JobCancelled.v1", b'{"type":"JobCancelled.v1"}'),
        ("JobCancelled.v1", b'{"type":"JobCancelled.v1","job":"short"}'),
        ("JobCancelled.v1", b'{"type":"JobExpired.v1","job":"0123456789abcdef01234567"}'),
        ("JobVanished.v1", b'{"type":"JobVanished.v1","job":"0123456789abcdef01234567"}'),
    ],
)
def test_event_that_does_not_decode_is_named_by_its_position(name: str, data: bytes) -> None:
    with pytest.raises(Corrupt, match="event 41"):
        decode_stored(Stored(41, bytes(16), 1, name, data, b"", datetime(2026, 1, 1, tzinfo=UTC)))


def test_decode_ignores_fields_that_later_versions_may_add() -> None:
    data = b'{"type":"JobCancelled.v1","job":"0123456789abcdef01234567","later":1}'
    assert decode("JobCancelled.v1", data) == JobCancelled("0123456789abcdef01234567")


def test_old_name_is_read_through_its_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    upcasters = {"JobDropped.v1": lambda fields: JobCancelled(fields["id"])}
    monkeypatch.setattr(codec, "UPCASTERS", upcasters)
    assert decode("JobDropped.v1", b'{"id":"0123456789abcdef01234567"}') == JobCancelled("0123456789abcdef01234567")
    with pytest.raises(Corrupt, match="event 9 is no JobDropped"):
        decode("JobDropped.v1", b"{}", position=9)


def test_meta_comes_back_as_it_was_stored() -> None:
    assert decode_meta(encode_meta(META)) == META


def test_meta_continues_the_trace_of_its_command() -> None:
    assert META.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_meta_that_does_not_decode_is_named_by_its_position() -> None:
    broken = msgspec.json.encode({"actor": "U", "correlation": "", "causation": ""})
    with pytest.raises(Corrupt, match="event 5 "):
        decode_meta(broken, position=5)
