import pytest

from tests.page.recorded import Recorded, demo, look, text


def test_market_shows_what_the_log_adds_up_to() -> None:
    said = text(look(demo()))
    assert "<b>24</b><span>tasks settled, 12 results rejected</span>" in said
    assert "<b>96 sat</b><span>paid to workers, 0.96 sat to the market</span>" in said
    assert "No job is open; 1 job so far." in said
    assert "48 runs paid in the last 30 minutes" in said


def test_market_as_of_an_event_shows_what_was() -> None:
    said = text(look(demo(), query={"upto": "300"}))
    assert "as of event <b>300</b>" in said
    assert "<b>18</b><span>tasks settled" in said
    assert "1 open job, 6 tasks to go." in said


def test_market_in_bitcoin_shows_the_same_amounts() -> None:
    assert "<b>0.00000096 BTC</b><span>paid to workers" in text(look(demo(), query={"unit": "btc"}))


def test_market_without_events_says_what_to_do() -> None:
    said = text(look(Recorded([])))
    assert "pasar worker run" in said
    assert "No job was posted yet" in said


def test_address_that_names_no_event_is_told_what_is_wrong() -> None:
    at = look(demo(), query={"upto": "yesterday"})
    assert [one.value for one in at.error] == [
        "upto=yesterday in the address is no position of an event; take it out, or give a number"
    ]
    assert 'href="/jobs" data-page="jobs"' in text(at)


def test_log_that_is_not_open_any_more_is_said_beside_links_to_the_market() -> None:
    at = look(demo(), "jobs", {"log": "gone"})
    assert [one.value for one in at.error] == [
        "the log gone is not here any more; open the file again on the Audit page"
    ]
    assert 'href="/audit" data-page="audit"' in text(at)


@pytest.mark.parametrize("name", ["page", "self", "context", "unit"])
def test_address_may_say_what_no_page_asks(name: str) -> None:
    assert 'href="/jobs' in text(look(demo(), query={name: "x"}))
