"""When an ask stood, told from a worker's events."""

from datetime import UTC, datetime, timedelta

import pytest

from domain import events as e
from domain.events import AnyEvent
from services.viewing import uptime
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from tests.simulate import Simulation, key

NOW = datetime(2030, 1, 2, tzinfo=UTC)
WORKER = key("worker")
HOUR = timedelta(hours=1)
JOINED = e.WorkerRegistered(WORKER, "cpu", 4, 8192, "0.10.2")
ASKED = e.AskPlaced(WORKER, 1, 1, 1024)
UNASKED = e.AskWithdrawn(WORKER)
PAUSED = e.WorkerPaused(WORKER, "asked")
RESUMED = e.WorkerResumed(WORKER)
RETIRED = e.WorkerRetired(WORKER)


def at(hours_ago: float, event: AnyEvent) -> tuple[datetime, AnyEvent]:
    return NOW - hours_ago * HOUR, event


def shares(*events: tuple[datetime, AnyEvent]) -> list[float | None]:
    return [one.share for one in uptime.dots(uptime.turns(events), NOW, HOUR, 4)]


def test_ask_that_stands_fills_every_hour_since() -> None:
    assert shares(at(9, JOINED), at(9, ASKED)) == [1, 1, 1, 1]


def test_hours_before_the_worker_joined_are_not_known() -> None:
    assert shares(at(2, JOINED), at(2, ASKED)) == [None, None, 1, 1]


def test_hour_in_which_it_joined_counts_from_then_on() -> None:
    assert shares(at(0.5, JOINED), at(0.25, ASKED)) == [None, None, None, 0.5]


def test_withdrawn_ask_does_not_stand() -> None:
    assert shares(at(9, JOINED), at(9, ASKED), at(2.5, UNASKED), at(1, ASKED)) == [1, 0.5, 0, 1]


def test_paused_worker_offers_nothing_until_it_is_back() -> None:
    assert shares(at(9, JOINED), at(9, ASKED), at(3, PAUSED), at(1.25, RESUMED)) == [1, 0, 0.25, 1]


def test_ask_placed_during_a_pause_stands_from_the_resumption_on() -> None:
    assert shares(at(9, JOINED), at(9, PAUSED), at(3, ASKED), at(1, RESUMED)) == [0, 0, 0, 1]


def test_retired_worker_never_stands_again() -> None:
    assert shares(at(9, JOINED), at(9, ASKED), at(2, RETIRED)) == [1, 1, 0, 0]


def test_nothing_is_known_of_a_worker_without_events() -> None:
    assert shares() == [None] * 4


@pytest.mark.parametrize("seed", range(3))
def test_last_turn_of_any_history_is_how_the_read_model_shows_the_worker(seed: int) -> None:
    played = Simulation(seed).run(400)
    archive = Archive(played.records)
    view = Past(Folds(archive).at(archive.head()), archive)
    found = uptime.of_all(view)
    for row in view.workers():
        assert found[row.worker][-1].stands == (row.asking and row.state == "active")
    assert any(len(one) > 2 for one in found.values())
