"""Subscribers: the contract with a real example of each event, and lines to copy."""

import pytest

from services.ledger.codec import EVENTS
from services.viewing.contract import contract, entry
from tests.page.recorded import Recorded, demo, look, text


def test_contract_lists_every_event_with_its_fields() -> None:
    assert [one.name for one in contract()] == [event.__name__ for event in EVENTS]
    for one, event in zip(contract(), EVENTS, strict=True):
        assert tuple(field.name for field in one.fields) == event.__struct_fields__
        assert one.means
    posted = entry("JobPosted.v1")
    assert posted is not None
    privacy = {field.name: field.privacy for field in posted.fields}
    assert (privacy["client"], privacy["work_key"], privacy["tasks"]) == ("pseudonym", "commitment", "public")


def test_page_lists_events_and_lines() -> None:
    said = text(look(demo(), "subscribers"))
    for event in EVENTS:
        assert f"event={event.__name__}" in said
    assert "/events?after=0" in said
    assert "sub --all &#39;pasar.events.&gt;&#39;" in said
    assert "Who listens" not in said  # nobody does where a log is only shown


def test_event_shows_its_schema_and_the_last_one_that_happened() -> None:
    said = text(look(demo(), "subscribers", {"event": "JobPosted"}))
    last = demo().log.last_of("JobPosted", 10_000, 1)[0]
    assert f"position={last.position}" in said
    assert "https://json-schema.org/draft/2020-12/schema" in said
    assert "about=JobPosted" in said
    early = text(look(demo(), "subscribers", {"event": "JobPosted", "upto": "3"}))
    assert "A published example" in early


@pytest.mark.parametrize("name", ["Nonsense", "<b>", "x" * 900])
def test_event_that_there_is_not_gets_a_sentence(name: str) -> None:
    said = text(look(Recorded([]), "subscribers", {"event": name}))
    assert "There is no event" in said
    assert "<b></b>" not in said
