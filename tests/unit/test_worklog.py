"""What a worker did lately, beside what the read models say of it."""

from datetime import timedelta

import pytest

from services.viewing import money, worklog
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from tests.simulate import Simulation


def a_view(seed: int) -> Past:
    archive = Archive(Simulation(seed).run(500).records)
    return Past(Folds(archive).at(archive.head()), archive)


@pytest.mark.parametrize("seed", range(3))
def test_latest_tasks_are_in_the_state_in_which_the_read_model_shows_them(seed: int) -> None:
    view = a_view(seed)
    for row in view.workers():
        handled = worklog.lately(view.events(row.worker, limit=100_000), 100_000)
        assert sum(one.paid_msat for one in handled) == row.earned_msat
        for one in handled:
            shown = {(run.task, run.replica): run for run in view.tasks(one.job)}[one.task, one.replica]
            assert shown.worker != row.worker or shown.state == one.state


def test_earnings_are_those_of_the_time_asked_for() -> None:
    view = a_view(0)
    row = max(view.workers(), key=lambda one: one.earned_msat)
    assert view.at is not None
    now = worklog.earned(view, row.worker, view.at)
    assert now == (row.earned_msat, row.earned_msat, True)
    assert worklog.earned(view, row.worker, view.at + timedelta(days=3)) == (0, row.earned_msat, True)
    assert worklog.earned(view, row.worker, view.at + timedelta(days=8)) == (0, 0, True)


def test_every_slash_has_the_ruling_that_it_follows_from() -> None:
    view = a_view(1)
    slashes = [one for one in money.moves(view, view.events(limit=view.position)) if one.name == "StakeSlashed"]
    found = worklog.rulings(view, slashes)
    assert len(found) == len(slashes) > 0
    assert all(view.event(ruling).name == "DisputeRuled.v1" and ruling < slash for slash, ruling in found.items())
