"""The pages of jobs, of one job and of one event, in every state that a job can be in."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domain.ids import escrow_id
from domain.job import CancelJob, PostJob
from services.config import Settings
from services.keys import MARKET, party
from services.ledger import codec
from services.viewing import history
from tests.page.recorded import Recorded, demo, look, text
from tests.simulate import BLOB, Simulation
from ui.page import acting, contents

DEMO = "e4b882443771a945508903e8"


def post(game: Simulation, tasks: int = 4, price_msat: int = 2_000, **terms: Any) -> str:
    """A job of the first client, offered for an hour."""
    client = game.clients[0]
    until = game.now + timedelta(hours=1)
    game.do(
        PostJob(escrow=escrow_id(client), program=BLOB, tasks=tasks, price_msat=price_msat, expires_at=until, **terms),
        client,
    )
    return next(reversed(game.world.jobs))


def work(game: Simulation, job: str, tasks: Sequence[int], *, honest: bool = True, who: int = 0) -> None:
    """One worker runs these tasks to their end."""
    party = game.workers[who]
    until = game.now + timedelta(minutes=5)
    game.serial += 1
    game.write([game.world.assign(job, index, party, until) for index in tasks], party)
    game.now += timedelta(seconds=3)
    game.commit(party, honest=honest)
    game.now += timedelta(seconds=1)
    game.submit(party)


def recorded(game: Simulation, after: timedelta = timedelta(seconds=1)) -> Recorded:
    market = Recorded(game.records)
    market.clock.at = game.now + after
    return market


def played(*, replicas: int = 1) -> tuple[Simulation, str]:
    game = Simulation(1, clients=1, workers=4, on_chain=False)
    return game, post(game, replicas=replicas)


# ----------------------------------------------------------------------------------------------------------- one job
def test_an_open_job_that_waits_says_why_and_what_to_do() -> None:
    game = Simulation(1, clients=1, workers=4, on_chain=False)
    job = post(game, price_msat=1)
    said = text(look(recorded(game, timedelta(minutes=3)), "job", {"id": job}))
    assert "Offered: no worker has taken a task yet" in said
    assert 'data-ago="">3 min</time>: 0 of 4 workers would take its tasks; 4 workers ask more' in said
    assert f"<code>pasar job cancel {job[:8]}</code> and post it again for" in said


def test_a_job_that_was_just_posted_gives_no_reasons() -> None:
    game, job = played()
    assert "Nothing has happened" not in text(look(recorded(game), "job", {"id": job}))


def test_a_running_job_says_how_far_it_is_and_where_its_money_is() -> None:
    game, job = played()
    work(game, job, [0, 1])
    said = text(look(recorded(game), "job", {"id": job[:6]}))
    assert "Running: 2 of 4 tasks verified" in said
    assert 'aria-label="2 of 4 tasks verified, 0 given up, 0 in work"' in said
    assert "4 sat to workers + 6.4 sat still reserved = 10.4 sat." in said


def test_a_completed_job_shows_evidence_and_its_bill() -> None:
    at = look(demo(), "job", {"id": DEMO})
    said = text(at)
    assert "Completed: 24 of 24 tasks verified, 96 sat earned by workers and 0.96 sat to the market." in said
    assert "96 sat to workers + 0.96 sat fee = 96.96 sat." in said
    assert "<b>12</b><span>of 60 results rejected by a referee&#39;s run</span>" in said
    assert "1 upheld, 1 rejected; evidence" in said
    assert "pasar receipt save e4b88244" in said


def test_every_part_of_the_money_links_the_events_that_moved_it() -> None:
    said = text(look(demo(), "job", {"id": DEMO}))
    log = demo().log.page(0, 10_000)
    moved = [one.position for one in log if one.name in ("EscrowReleased.v1", "FeeCharged.v1", "EscrowReserved.v1")]
    money = said.split("<h2>Money</h2>")[1].split("<h2>")[0]
    assert len(moved) == 50
    assert all(f'href="/event?position={position}"' in money for position in moved)


def test_a_cancelled_job_ends_without_the_rest() -> None:
    game, job = played()
    work(game, job, [2])
    game.do(CancelJob(job), game.clients[0])
    said = text(look(recorded(game), "job", {"id": job}))
    assert "Ended: 1 of 4 tasks verified, 3 not;" in said
    assert "7.8 sat free again" in said
    assert f"job {job[:8]} was cancelled by its client" in said


def test_an_open_job_of_this_machine_is_cancelled_in_a_dialog_under_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    game, job = played()
    sent: list[tuple[str, str, str]] = []

    class Till:
        def __init__(self, party: str) -> None:
            self.party = party

        def cancel(self, job: str, once: str) -> None:
            sent.append((self.party, job, once))
            if len(sent) < 3:
                raise acting.NoAnswer(reason="no reply in time")

    monkeypatch.setattr(acting, "hindrance", lambda context: "" if context.present else "as it was")
    monkeypatch.setattr(acting, "names", lambda: {game.clients[0]: "anna"})
    monkeypatch.setattr(acting, "client", Till)
    at = look(recorded(game), "job", {"id": job})
    at.button(key="cancel").click().run()
    assert f"pasar job cancel {job[:8]} --as anna" in text(at)
    at.button(key="cancel-yes").click().run()
    assert "the market does not answer" in at.error[0].value
    at.button(key="cancel-yes").click().run()
    at.button(key="cancel-yes").click().run()
    assert [one[:2] for one in sent] == [("anna", job)] * 3
    assert len({once for _, _, once in sent}) == 1
    assert not [one for one in at.button if one.key == "cancel-yes"]
    assert not [one for one in look(recorded(game), "job", {"id": job, "upto": "999"}).button if one.key == "cancel"]


def test_an_expired_job_says_what_workers_still_hold() -> None:
    game, job = played()
    game.write([game.world.assign(job, 0, game.workers[0], game.now + timedelta(hours=3))], game.workers[0])
    game.now += timedelta(hours=2)
    game.expire()
    said = text(look(recorded(game), "job", {"id": job}))
    assert "Expired: 0 of 4 tasks verified; no task is given out any more" in said
    assert f"job {job[:8]} ran out of time" in said


def test_a_reused_job_leads_to_the_job_that_was_run() -> None:
    game, original = played()
    work(game, original, range(4))
    job = post(game, reuse=True)
    assert game.world.jobs[job].original == original
    said = text(look(recorded(game), "job", {"id": job}))
    assert "The same work was verified before: its results are those of job" in said
    assert f'href="/job?id={original}"' in said
    assert "<dt>saved</dt>" in said
    assert "Nobody ran this job" in said


def test_a_disputed_job_says_that_a_referee_runs_it_again() -> None:
    game, job = played(replicas=2)
    now = game.now + timedelta(minutes=5)
    for who, honest in ((0, True), (1, False)):
        game.write([game.world.assign(job, 0, game.workers[who], now)], game.workers[who])
        game.commit(game.workers[who], honest=honest)
    for who in (0, 1):
        game.submit(game.workers[who])
    said = text(look(recorded(game), "job", {"id": job}))
    assert "results differ, a referee runs it again" in said
    assert "<b>1</b><span>tasks disputed, because results differed</span>" in said


def test_an_unknown_job_is_watched_for_and_shown_when_it_is_posted() -> None:
    game, job = played()
    market = recorded(game)
    posted = next(one.position for one in game.records if one.name == "JobPosted.v1")
    market.upto = posted - 1
    at = look(market, "job", {"id": job})
    assert f"Job {job[:8]}… has not been seen. This page watches for it" in text(at)
    market.upto = len(game.records)
    at.run()
    assert "Offered: no worker has taken a task yet" in text(at)


def test_a_job_before_it_was_posted_links_to_now() -> None:
    said = text(look(demo(), "job", {"id": DEMO, "upto": "5"}))
    assert "was not posted yet as of event 5" in said
    assert f'href="/job?id={DEMO}"' in said


def test_a_job_as_of_an_event_is_what_it_was() -> None:
    said = text(look(demo(), "job", {"id": DEMO, "upto": "200"}))
    assert "Running: " in said
    assert f"pasar job show {DEMO[:8]} --upto 200" in said
    assert "/event?upto=200&amp;position=201" not in said


@pytest.mark.parametrize("id_", ["", "zz", "'><script>alert(1)</script>", "e4b8" * 100])
def test_an_id_that_is_none_is_no_accident(id_: str) -> None:
    assert "<script>" not in text(look(demo(), "job", {"id": id_}))


# ------------------------------------------------------------------------------------------------------------ history
def grouped(market: Recorded, job: str, grouping: str) -> str:
    at = look(market, "job", {"id": job, "history": grouping})
    assert at.segmented_control(key="history").value == grouping
    return text(at)


def test_the_log_has_every_event_once_with_its_cause_and_payload() -> None:
    at = look(demo(), "job", {"id": DEMO, "history": "log"})
    first = text(at)
    at.button(key="later").click().run()
    both = first + text(at)
    entries = history.read(demo().view(None), DEMO)
    assert len(entries) == 328
    assert all(both.count(f'id="event-{one.position}"') == 1 for one in entries)
    assert "&#34;type&#34;: &#34;JobPosted.v1&#34;" in first


def test_the_log_of_one_kind_has_no_other() -> None:
    said = text(look(demo(), "job", {"id": DEMO, "history": "log", "name": "DisputeRuled"}))
    assert said.count('id="event-') == 12
    assert "Events 1 to 12 of 12 named DisputeRuled." in said


def test_the_timeline_says_in_words_what_it_draws() -> None:
    said = grouped(demo(), DEMO, "timeline")
    assert said.count('role="row"') == 60
    assert 'aria-label="waited 0 ms, ran ' in said


@cache
def large() -> tuple[Recorded, str]:
    """A job of 10,004 events."""
    game = Simulation(1, clients=1, workers=4, on_chain=False)
    game.deposit("escrow", game.clients[0], 10**9)
    job = post(game, tasks=2_000)
    assert len(game.world.tasks_of[job]) == 2_000
    for start in range(0, 2_000, 50):
        work(game, job, range(start, start + 50), who=start // 50 % 4)
    return recorded(game), job


@pytest.mark.parametrize("grouping", ["story", "timeline", "log"])
def test_page_of_a_job_of_ten_thousand_events_stays_small(grouping: str) -> None:
    market, job = large()
    assert len(history.read(market.view(None), job)) > 10_000
    assert len(grouped(market, job, grouping)) < 500_000


# ------------------------------------------------------------------------------------------------------------- results
def with_contents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arrays: dict[str, Any], market: Recorded
) -> Recorded:
    """The market with a store that holds these arrays for each task, its number added to scalars."""
    market.settings = Settings(home=tmp_path)
    party(market.settings, MARKET)

    async def fetched(settings: Settings, refs: dict[int, Any]) -> dict[int, Any]:
        return {task: {n: a + task if a.ndim == 0 else a for n, a in arrays.items()} for task in refs}

    monkeypatch.setattr(contents, "arrays", fetched)
    return market


def test_results_that_are_numbers_are_charted_over_all_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    game, job = played()
    work(game, job, range(4))
    at = look(with_contents(monkeypatch, tmp_path, {"0": np.array(3.5)}, recorded(game)), "job", {"id": job})
    assert "result by task: from 3.5 to 6.5" in [one.value for one in at.caption]


def test_a_chosen_result_is_summed_up_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arrays = {
        "grid": np.arange(12.0).reshape(3, 4),
        "line": np.arange(5),
        "picture": np.zeros((4, 4, 3), np.uint8),
        "cube": np.zeros((2, 3, 4)),
    }
    at = look(with_contents(monkeypatch, tmp_path, arrays, demo()), "job", {"id": DEMO, "task": "7"})
    said = text(at)
    assert "Result of task 7 by" in said
    assert "<td>3 x 4</td><td>float64</td>" in said
    assert [len(at.get(kind)) for kind in ("image", "vega_lite_chart")] == [2, 1]


def test_content_that_nobody_holds_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    market = with_contents(monkeypatch, tmp_path, {}, demo())

    async def missing(settings: Settings, refs: dict[int, Any]) -> Any:
        raise contents.NoContent(address="sha256:00")

    monkeypatch.setattr(contents, "arrays", missing)
    at = look(market, "job", {"id": DEMO})
    assert [one.value for one in at.error] == [str(contents.NoContent(address="sha256:00"))]


# --------------------------------------------------------------------------------------------------------- other pages
def test_jobs_are_listed_newest_first_and_by_state() -> None:
    game, first = played()
    work(game, first, range(4))
    game.now += timedelta(seconds=5)
    second = post(game)
    said = text(look(recorded(game), "jobs"))
    assert said.index(f'id={second}"') < said.index(f'id={first}"')
    said = text(look(recorded(game), "jobs", {"state": "open"}))
    assert f'id={second}"' in said
    assert f'id={first}"' not in said
    assert "pasar job list --state open" in said


def test_more_jobs_are_shown_when_asked() -> None:
    game = Simulation(1, clients=1, workers=1, on_chain=False)
    game.deposit("escrow", game.clients[0], 10**9)
    for _ in range(60):
        game.now += timedelta(seconds=1)
        post(game, tasks=1)
    at = look(recorded(game), "jobs")
    assert "The latest 50 jobs; there are more." in text(at)
    at.button(key="more").click().run()
    assert "The latest 60 jobs." in text(at)


def test_an_event_says_all_that_is_known_of_it() -> None:
    log = demo().log.page(0, 10_000)
    ruled = next(one for one in log if one.name == "DisputeRuled.v1")
    rejected = next(one for one in log if one.position > ruled.position and one.name == "ResultRejected.v1")
    said = text(look(demo(), "event", {"position": str(rejected.position)}))
    assert f'<dt>because of</dt><dd><a href="/event?position={ruled.position}"' in said
    assert rejected.stream.hex() in said
    assert codec.decode_meta(rejected.meta).actor in said
    assert f'href="/audit?event={rejected.position}"' in said
    assert f'href="/job?id={DEMO}"' in said


def test_any_event_has_a_page() -> None:
    first: dict[str, int] = {}
    for one in demo().log.page(0, 10_000):
        first.setdefault(one.name, one.position)
    assert len(first) == 22
    for position in first.values():
        assert f"<h2>Event {position} " in text(look(demo(), "event", {"position": str(position)}))


def test_an_event_that_has_not_happened_is_watched_for() -> None:
    market = demo()
    market.upto = 300
    at = look(market, "event", {"position": "301"})
    assert "Event 301 has not happened" in text(at)
    market.upto = 301
    at.run()
    assert "<h2>Event 301 " in text(at)


@pytest.mark.parametrize("position", ["", "x", "-1", "0", "9" * 40])
def test_a_position_that_is_none_is_refused_with_what_to_do(position: str) -> None:
    (error,) = look(demo(), "event", {"position": position}).error
    assert "give a number, as /event?position=1" in error.value
