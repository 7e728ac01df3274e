"""The published contract: it describes what is really published, and only ever grows."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError

from domain.ids import kind_of
from services import schema
from services.bus.events import subject_of
from services.keys import BadKey, verify_key
from services.ledger.codec import CLASSES, EVENTS, NAMES, decode
from tests.golden.generate import FOLDER, breaks, published, published_files
from tests.simulate import Simulation

#: ``schemas/3.0.0-without-$id.json`` of the npm package @asyncapi/specs 6.11.1, Apache-2.0 (see the file beside it).
ASYNCAPI: dict[str, Any] = msgspec.json.decode(Path(__file__).with_name("asyncapi-3.0.0.json").read_bytes())


def a_schema(**changes: Any) -> dict[str, Any]:
    usual = {"properties": {"job": {"type": "string"}, "note": {"type": "string"}}, "required": ["job"]}
    return {"JobPosted.v1": {**usual, **changes}}


def test_contract_is_the_published_one() -> None:
    assert breaks(published(), schema.everything()) == []
    assert published_files() == schema.files(), "run `just schemas` to publish what was added"


def test_contract_breaks_when_anything_but_an_optional_field_is_added() -> None:
    more = {"job": {"type": "string"}, "note": {"type": "string"}, "tip": {"type": "integer"}}
    assert breaks(a_schema(), a_schema(properties=more)) == []
    assert breaks(a_schema(), {}) == ["JobPosted.v1 is gone"]
    assert breaks(a_schema(), a_schema(properties={"job": {"type": "string"}})) == ["JobPosted.v1.note is gone"]
    changed = {"job": {"type": "integer"}, "note": {"type": "string"}}
    assert breaks(a_schema(), a_schema(properties=changed)) == ["JobPosted.v1.job means something else"]
    assert breaks(a_schema(), a_schema(required=["job", "note"])) == ["JobPosted.v1 requires other fields"]


@pytest.mark.parametrize("name", sorted(schema.everything()))
def test_schema_is_well_formed(name: str) -> None:
    Draft202012Validator.check_schema(schema.one(name))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_example_was_published_as_the_contract_says(name: str) -> None:
    example = schema.examples()[name]
    Draft202012Validator(schema.one(name)).validate(example.payload)
    Draft202012Validator(dict(schema.HEADERS)).validate(example.headers)
    stream = bytes.fromhex(example.headers["ce-id"].partition("-")[0])
    assert kind_of(stream) is schema.KINDS[CLASSES[name]]
    event = decode(name, msgspec.json.encode(example.payload))
    assert type(event).__name__ == name.partition(".")[0]


def test_most_examples_are_of_a_market_that_ran() -> None:
    """Their keys are real ones: they have a checksum that made-up ones lack."""

    def real(example: schema.Example) -> bool:
        try:
            return bool(verify_key(example.headers["ce-actor"]))
        except BadKey:
            return False

    found = [name for name, example in schema.examples().items() if real(example)]
    assert len(found) > len(EVENTS) / 2


def test_asyncapi_document_is_valid_by_the_official_schema() -> None:
    document = schema.asyncapi()
    Draft7Validator.check_schema(ASYNCAPI)
    Draft7Validator(ASYNCAPI).validate(document)
    document["channels"]["JobPosted"]["adress"] = document["channels"]["JobPosted"].pop("address")
    assert not Draft7Validator(ASYNCAPI).is_valid(document)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_golden_event_fits_its_schema(name: str) -> None:
    Draft202012Validator(schema.one(name)).validate(msgspec.json.decode((FOLDER / f"{name}.json").read_bytes()))


def test_event_without_a_field_does_not_fit_its_schema() -> None:
    event = msgspec.json.decode((FOLDER / "JobCompleted.v1.json").read_bytes())
    del event["verified"]
    with pytest.raises(ValidationError, match="verified"):
        Draft202012Validator(schema.one("JobCompleted")).validate(event)


def test_every_field_of_an_event_says_what_it_may_reveal() -> None:
    for event in EVENTS:
        found = schema.one(NAMES[event])
        for struct in (found, *found.get("$defs", {}).values()):
            fields = {name: field for name, field in struct["properties"].items() if name != "type"}
            bare = [name for name, field in fields.items() if "x-privacy" not in field and "$ref" not in str(field)]
            assert bare == [], event.__name__


def test_docstrings_reach_the_schema() -> None:
    posted = schema.one("JobPosted")
    assert posted["description"].startswith("A client buys `tasks` runs of one program")
    assert posted["properties"]["price_msat"]["description"] == "What one worker earns for one verified run."
    assert posted["$defs"]["BlobRef"]["properties"]["size"]["description"].startswith("The run's place in it")


def test_channels_are_where_events_are_published() -> None:
    channels = schema.asyncapi()["channels"]
    for stored in Simulation(5).run(400).play_out().records:
        name = stored.name.partition(".")[0]
        assert schema.KINDS[CLASSES[stored.name]] is kind_of(stored.stream)
        address = channels[name]["address"].replace("{id}", stored.stream[:12].hex())
        assert address == subject_of(stored.stream, stored.name)


def test_asyncapi_document_refers_only_to_what_it_has() -> None:
    document = schema.asyncapi()
    assert document["asyncapi"] == "3.0.0"
    for reference in references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def references(value: Any) -> list[str]:
    match value:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [one for inner in value.values() for one in references(inner)]
        case list():
            return [one for inner in value for one in references(inner)]
    return []
