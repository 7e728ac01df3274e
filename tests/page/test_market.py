from tests.page.recorded import Recorded, demo, look, text


def test_market_shows_what_the_log_adds_up_to() -> None:
    said = text(look(demo()))
    assert "<b>24</b><span>tasks settled</span>" in said
    assert "<b>96 sat</b><span>paid to workers</span>" in said


def test_market_as_of_an_event_shows_what_was() -> None:
    said = text(look(demo(), query={"upto": "300"}))
    assert "as of event <b>300</b>" in said
    assert "<b>18</b><span>tasks settled</span>" in said


def test_market_without_events_says_what_to_do() -> None:
    assert "No job was posted yet" in text(look(Recorded([])))
