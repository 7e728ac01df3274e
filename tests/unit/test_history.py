"""One job's events in three groupings: links between them, by task, on an axis of time; and its money."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from domain import events as e
from services.ports import Stored
from services.projections.queries import Job
from services.viewing import causes, flow, history, timeline
from services.viewing.history import Entry
from services.viewing.rows import Rows
from services.viewing.timeline import Axis, took
from tests.page.recorded import demo
from tests.simulate import Simulation


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    view = demo().view(None)
    return history.read(view, view.jobs()[0].job)


def only(entries: list[Entry], kind: type, **facts: object) -> Entry:
    found = [one for one in entries if type(one.event) is kind]
    return next(one for one in found if all(getattr(one.event, name) == value for name, value in facts.items()))


def test_history_has_every_event_of_the_job_and_no_other(entries: list[Entry]) -> None:
    spoken_of = [stored for stored in demo().log.page(0, 10_000) if entries[0].event.job.encode() in stored.data]  # type: ignore[union-attr]
    assert [one.stored for one in entries] == spoken_of


def test_a_payment_leads_back_to_the_posting_step_by_step(entries: list[Entry]) -> None:
    links, by_position = causes.links(entries), {one.position: one for one in entries}
    at: int | None = only(entries, e.EscrowReleased, task=16).position
    names = []
    while at is not None:
        names.append(by_position[at].name)
        at = links[at].cause
    assert names == [
        "EscrowReleased",
        "ResultVerified",
        "ResultSubmitted",
        "ResultCommitted",
        "TaskAssigned",
        "JobPosted",
    ]


def test_a_rejection_follows_from_the_ruling_and_costs_stake(entries: list[Entry]) -> None:
    links = causes.links(entries)
    rejected = only(entries, e.ResultRejected)
    task = rejected.event.task  # type: ignore[union-attr]
    assert links[rejected.position].cause == only(entries, e.DisputeRuled, task=task).position
    assert only(entries, e.StakeSlashed, task=task).position in links[rejected.position].effects


def test_effects_are_what_has_the_event_as_its_cause(entries: list[Entry]) -> None:
    links = causes.links(entries)
    assert sorted(at for link in links.values() for at in link.effects) == sorted(
        at for at, link in links.items() if link.cause is not None
    )
    assert [at for at, link in links.items() if link.cause is None] == [entries[0].position]


def test_events_of_one_command_know_each_other(entries: list[Entry]) -> None:
    links = causes.links(entries)
    ruled = only(entries, e.DisputeRuled)
    same = [one for one in entries if one.meta == ruled.meta]
    assert links[ruled.position].command == [one.position for one in same]
    assert {one.name for one in same} >= {"DisputeRuled", "ResultRejected", "StakeSlashed"}


def test_story_tells_each_task_with_all_its_runs(entries: list[Entry]) -> None:
    story = history.story(entries)
    assert len(story.tasks) == 24
    assert Counter(run.state for task in story.tasks.values() for run in task.runs) == {"verified": 48, "rejected": 12}
    assert {task.state for task in story.tasks.values()} == {"verified"}
    told = {one.position for task in story.tasks.values() for one in task.entries}
    assert told == {one.position for one in entries if hasattr(one.event, "task")}


def test_story_puts_tasks_with_trouble_first(entries: list[Entry]) -> None:
    ranked = history.story(entries).ranked()
    assert [bool(task.troubles) for task in ranked] == [True] * 12 + [False] * 12
    assert ranked[0].sentence == "replicas agree; 3 runs, 1 rejected"


def test_story_counts_steps_that_happened_often(entries: list[Entry]) -> None:
    steps = {type(step.first.event): step for step in history.story(entries).steps}
    assert steps[e.TaskAssigned].text == "60 runs given to 3 workers"
    assert steps[e.TaskAssigned].number == 60
    assert steps[e.JobPosted].text == entries[0].said


@pytest.mark.parametrize("seed", range(12))
def test_story_and_links_hold_on_any_history(seed: int) -> None:
    """What workers, referees and clients may do in any order; the replicas' states are those of the market's rules."""
    game = Simulation(seed).run(400)
    opened = [history.entry(stored) for stored in game.records]
    for job, tasks in game.world.tasks_of.items():
        mine = [one for one in opened if getattr(one.event, "job", None) == job]
        story, links = history.story(mine), causes.links(mine)
        assert [one.position for one in mine if links[one.position].cause is None] == [mine[0].position]
        for index, task in story.tasks.items():
            latest = {run.replica: run.state for run in task.latest}
            phases = {n: slot.phase.name.lower() for n, slot in enumerate(tasks[index].slots)}
            waiting = {n for n, phase in phases.items() if phase in ("open", "withdrawn")}
            assert {n: state for n, state in latest.items() if n not in waiting} == {
                n: phase for n, phase in phases.items() if n not in waiting
            }
            assert all(latest[n] in ("expired", "returned", "failed", "rejected") for n in waiting & latest.keys())


# ------------------------------------------------------------------------------------------------------------ timeline
def test_timeline_shows_each_run_from_the_posting_to_its_end(entries: list[Entry]) -> None:
    posted, end = entries[0].at, entries[-1].at
    task = history.story(entries).tasks[16]
    rows = timeline.rows(task.runs, posted, end)
    assert [[span.kind for span in row.spans] for row in rows] == [["waits", "runs", "bound", "checked"]] * 2
    for row in rows:
        assert row.spans[0].start == posted
        assert all(one.end == after.start for one, after in zip(row.spans, row.spans[1:], strict=False))


def test_timeline_of_a_second_attempt_waits_from_the_end_of_the_first(entries: list[Entry]) -> None:
    story = history.story(entries)
    task = next(one for one in story.tasks.values() if one.troubles)
    rows = timeline.rows(task.runs, entries[0].at, entries[-1].at)
    again = next(row for row in rows[2:])
    first = next(row for row in rows if row.run.replica == again.run.replica)
    assert again.spans[0].start == first.spans[-1].end


def test_timeline_names_the_gap_in_which_nobody_worked(entries: list[Entry]) -> None:
    end = entries[-1].at + timedelta(minutes=10)
    (gap,) = timeline.gaps(history.story(entries), Axis(entries[0].at, end))
    assert gap.end == end
    assert took(gap.length) == "10 min"


def test_axis_keeps_what_is_outside_at_its_ends(entries: list[Entry]) -> None:
    start = entries[0].at
    axis = Axis(start, start + timedelta(seconds=10))
    assert axis.share(start + timedelta(seconds=4)) == 40
    assert axis.share(start - timedelta(seconds=1)) == 0
    assert axis.share(start + timedelta(seconds=11)) == 100
    assert Axis(start, start).share(start) == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.2336, "234 ms"),
        (3.281, "3.28 s"),
        (125, "2 min 5 s"),
        (7_260, "2 h 1 min"),
        (176_400, "2 d 1 h"),
    ],
)
def test_lengths_of_time_are_said_in_two_units_at_most(seconds: float, said: str) -> None:
    assert took(timedelta(seconds=seconds)) == said


# --------------------------------------------------------------------------------------------------------------- money
def as_of(records: Sequence[Stored], position: int) -> dict[str, Job]:
    rows = Rows()
    rows.extend(records[:position])
    return {one.job: one for one in rows.jobs}


@pytest.mark.parametrize("seed", range(6))
def test_money_adds_up_to_what_its_events_moved_at_every_moment(seed: int) -> None:
    game = Simulation(seed).run(250).play_out()
    opened = [history.entry(stored) for stored in game.records]
    for moment in range(10, len(opened) + 1, 10):
        for id_, job in as_of(game.records, moment).items():
            mine = [one for one in opened[:moment] if getattr(one.event, "job", None) == id_]
            found = flow.flow(job, mine)
            assert sum(part.amount_msat for part in found.parts) == found.reserved.amount_msat
            for part in (found.reserved, *found.parts[:3]):
                moved = (one.event for one in mine if one.position in part.positions)
                assert part.amount_msat == sum(event.amount_msat for event in moved)  # type: ignore[union-attr]
            assert found.parts[-1].amount_msat >= 0
            if job.original:
                continue
            items = flow.bill(job)
            assert sum(item.actual_msat for item in items[:-1]) == items[-1].actual_msat
            assert all(0 <= item.actual_msat <= item.quoted_msat for item in items)
    assert all(flow.flow(job, []).parts[-1].amount_msat == 0 for job in as_of(game.records, len(opened)).values())


def test_every_amount_names_the_events_that_moved_it(entries: list[Entry]) -> None:
    workers, fee, free, _ = flow.flow(demo().view(None).jobs()[0], entries).parts
    assert (workers.amount_msat, len(workers.positions)) == (96_000, 48)
    assert (fee.amount_msat, len(fee.positions)) == (960, 1)
    assert (free.amount_msat, free.positions) == (0, ())


def test_bill_compares_what_was_quoted_with_what_it_came_to(entries: list[Entry]) -> None:
    market = demo()
    assert [tuple(item) for item in flow.bill(market.view(None).jobs()[0])] == [
        ("compute", 48_000, 48_000),
        ("checking by others", 48_000, 48_000),
        ("fee", 960, 960),
        ("total", 96_960, 96_960),
    ]
    fresh = market.view(entries[1].position).jobs()[0]
    assert [item.actual_msat for item in flow.bill(fresh)] == [0, 0, 0, 0]
