import re

from tests.page.recorded import Recorded, demo, look, text


def cheat(market: Recorded) -> str:
    """The worker of the demo that lost its stake."""
    return next(one.worker for one in market.view(None).workers() if one.slashed_msat)


def test_workers_are_listed_with_what_they_did_and_ask() -> None:
    market = demo()
    said = text(look(market, "workers"))
    assert "3 known" in said
    assert "take work now (2)" in said
    for row in market.view(None).workers():
        assert row.worker[:10] in said
    assert "GFLOP/s" in said


def test_workers_can_be_sorted_and_filtered_by_links() -> None:
    market = demo()
    order = re.compile(r'title="worker (U\w+)"')
    by_earned = order.findall(text(look(market, "workers", {"sort": "earned"})))
    assert by_earned[-1] == cheat(market)
    assert order.findall(text(look(market, "workers", {"sort": "-earned"})))[0] == cheat(market)
    assert cheat(market) not in order.findall(text(look(market, "workers", {"takes": "work"})))


def test_workers_in_no_known_order_say_which_there_are() -> None:
    (error,) = look(demo(), "workers", {"sort": "beauty"}).error
    assert "cannot be sorted by beauty; sort by joined, standing" in error.value


def test_workers_of_an_empty_market_say_how_to_become_one() -> None:
    assert "pasar worker run" in text(look(Recorded([]), "workers"))


def test_worker_shows_its_slashes_with_their_rulings_and_that_its_stake_adds_up() -> None:
    market = demo()
    said = text(look(market, "worker", {"id": cheat(market)}))
    assert "Paused: it is given no work" in said
    assert '<b class="bad">12' in said
    assert "slashed" in said
    assert len(re.findall(r"by ruling <a href=\"/event\?position=\d+\"", said)) == 12
    assert "✓ adds up" in said
    assert "older moves of this stake" in said
    assert "pasar worker check" in said


def test_worker_shows_what_it_earned_and_its_latest_tasks() -> None:
    market = demo()
    honest = next(one for one in market.view(None).workers() if one.earned_msat)
    said = text(look(market, "worker", {"id": honest.worker[:12].lower()}))
    assert said.count("48 sat") >= 3  # tile, day, week, sum
    assert "✓</span> verified" in said
    assert "its ask stood 100 % of the time" not in said  # it joined within the hour
    assert "not known, before it joined" in said


def test_worker_that_is_not_known_is_watched_for() -> None:
    assert "this page watches for it" in text(look(demo(), "worker", {"id": "UNOBODY"}))


def test_worker_as_of_an_event_shows_what_was() -> None:
    market = demo()
    said = text(look(market, "worker", {"id": cheat(market), "upto": "60"}))
    assert "slashed for" not in said
    assert "pasar worker check" not in said
