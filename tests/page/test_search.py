"""The search box goes to the only thing that a text can mean, lists several, and watches for what is not there."""

from streamlit.testing.v1 import AppTest

from tests.page.recorded import demo, look, text


def searched(wanted: str, page: str = "market", query: dict[str, str] | None = None) -> AppTest:
    at = look(demo(), page, query)
    at.text_input(key="search").set_value(wanted).run()
    assert not at.exception
    assert at.text_input(key="search").value == ""
    return at


def test_box_goes_to_the_only_match_from_any_page() -> None:
    id_ = demo().view(None).jobs(1)[0].job
    for page in ("market", "audit"):
        assert searched(id_[:6], page).query_params["id"] == id_
    assert searched("#77").query_params["position"] == "77"
    assert searched("jobposted").query_params["event"] == "JobPosted"


def test_box_keeps_the_position_that_is_looked_at() -> None:
    assert searched("#77", query={"upto": "200"}).query_params["upto"] == "200"
    past = searched("#300", query={"upto": "200"})
    assert "as of event 200" in text(past)


def test_several_matches_are_listed_with_what_each_is() -> None:
    view = demo().view(None)
    beginnings = (f"{number:03x}" for number in range(4096))
    beginning = next(one for one in beginnings if len(view.hits(one)[0]) > 1)
    said = text(searched(beginning))
    assert "matches" in said
    assert said.count("<tr><td>") > 1


def test_what_is_not_there_yet_is_found_when_it_happens() -> None:
    market = demo()
    job = market.view(None).jobs(1)[0].job
    posted = market.log.of(job, 0, 1)[0].position
    market.upto = posted - 1
    at = look(market, "search", {"q": job})
    assert "Not seen yet" in text(at)
    market.upto = posted
    at.run()
    assert not at.exception
    assert at.query_params["id"] == job


def test_address_of_a_search_with_one_match_stays_where_it_is() -> None:
    at = look(demo(), "search", {"q": "#77"})
    assert "1 match" in text(at)


def test_nonsense_gets_a_sentence() -> None:
    for wanted in ("<script>alert(1)</script>", "🙂\0"):
        assert "<script>" not in text(look(demo(), "search", {"q": wanted}))
    assert "longer than any name" in text(look(demo(), "search", {"q": "a" * 900}))
