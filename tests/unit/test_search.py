"""One box finds everything that has a name, and says a sentence to everything else."""

from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import events as e
from domain.events import AnyEvent
from services.ledger.codec import EVENTS, decode_stored
from services.ports import Stored
from services.viewing import archive
from services.viewing.past import Folds, Past
from services.viewing.search import Answer, Found, search

DEMO = Path(__file__).parents[1] / "golden" / "logs" / "demo.jsonl.gz"


@cache
def demo(upto: int = 10**6) -> Past:
    log = archive.read(DEMO.read_bytes())
    return Past(Folds(log).at(upto), log)


@cache
def told() -> list[tuple[AnyEvent, Stored]]:
    return [(decode_stored(stored), stored) for stored in demo().events(limit=10_000)]


def first(kind: type[AnyEvent]) -> tuple[AnyEvent, int]:
    return next((event, stored.position) for event, stored in told() if type(event) is kind)


def only(text: str, view: Past | None = None) -> Found:
    answer = search(view or demo(), text)
    assert len(answer.found) == 1, answer
    return answer.found[0]


def place(text: str) -> tuple[str, dict[str, str]]:
    found = only(text)
    return found.page, found.query


def test_every_id_of_the_log_is_found() -> None:
    view = demo()
    job, escrow = view.jobs(1)[0], view.escrows()[0]
    assert place(job.job) == ("job", {"id": job.job})
    assert place(job.job[:8].upper()) == ("job", {"id": job.job})
    assert place(job.work_key) == ("job", {"id": job.job})
    assert (
        place(escrow.escrow)
        == place(escrow.client)
        == place(escrow.client[:9].lower())
        == ("money", {"escrow": escrow.escrow})
    )
    for worker in view.workers():
        assert place(worker.worker) == place(worker.worker[:10]) == ("worker", {"id": worker.worker})
    admitted, position = first(e.ProgramAdmitted)
    assert isinstance(admitted, e.ProgramAdmitted)
    for text in (admitted.program, admitted.program.removeprefix("sha256:")[:20], admitted.identity):
        assert place(text) == ("event", {"position": str(position)})
    funded, position = first(e.EscrowFunded)
    assert isinstance(funded, e.EscrowFunded)
    assert place(funded.reference) == ("event", {"position": str(position)})
    granted, position = first(e.RoleGranted)
    assert isinstance(granted, e.RoleGranted)
    assert only(granted.party).page == "event"


def test_every_digest_of_a_result_leads_to_its_task() -> None:
    run = next(run for run in demo().tasks(demo().jobs(1)[0].job) if run.state == "verified")
    for text in (run.commitment, run.equality, run.result_commitment, run.result_address):
        assert text is not None
        assert {"id": run.job, "task": str(run.task)} in [one.query for one in search(demo(), text).found]
    assert only(str(run.commitment)).query == {"id": run.job, "task": str(run.task)}


@pytest.mark.parametrize("text", ["#300", "# 300", "300", " 300 "])
def test_position_is_found(text: str) -> None:
    assert {"position": "300"} in [one.query for one in search(demo(), text).found if one.page == "event"]


def test_position_that_has_not_happened_is_not_found() -> None:
    assert search(demo(), "#1,000,000").found == ()
    assert search(demo(200), "#300").found == ()
    assert search(demo(), "#0").found == ()
    assert search(demo(), "9" * 18).found == ()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_name_of_an_event_leads_to_its_contract(event: type) -> None:
    for text in (event.__name__, event.__name__.lower(), f"{event.__name__}.v1"):
        assert place(text) == ("subscribers", {"event": event.__name__})


def test_time_leads_to_the_last_event_until_then() -> None:
    view = demo()
    for position in (1, 17, 200, view.position):
        at = view.event(position).recorded_at
        last = max(stored.position for _, stored in told() if stored.recorded_at <= at)
        for text in (at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S.%f} UTC", at.isoformat().replace("+00:00", "Z")):
            assert place(text) == ("event", {"position": str(last)})
    first_at, last_at = view.event(1).recorded_at, view.event(view.position).recorded_at
    assert search(view, (first_at - timedelta(seconds=1)).isoformat()).found == ()
    assert place(f"{last_at:%Y-%m-%d}") == ("event", {"position": str(view.position)})


def test_what_several_names_begin_with_is_listed_with_what_each_is() -> None:
    found = [one for number in range(4096) for one in search(demo(), f"{number:03x}").found]
    kinds = {one.what.partition(",")[0] for one in found}
    assert {"job", "escrow", "commitment of a worker to its result", "reference of a deposit"} <= kinds
    assert any(len(search(demo(), f"{number:03x}").found) > 1 for number in range(256))


def test_what_is_not_there_yet_is_watched_by_its_key() -> None:
    id_, worker, program = "ab" * 12, "U" + "B" * 55, "sha256:" + "0f" * 32
    assert search(demo(), id_) == Answer(id_, watch=id_)
    assert search(demo(), id_.upper()).watch == id_
    assert search(demo(), worker.lower()).watch == worker
    assert search(demo(), program).watch == program
    assert search(demo(), "0f" * 32).watch is None


def test_view_of_the_past_finds_nothing_that_came_later() -> None:
    job = demo().jobs(1)[0]
    _, posted = first(e.JobPosted)
    assert search(demo(posted - 1), job.job).found == ()
    assert len(search(demo(posted), job.job).found) == 1


@given(st.text(max_size=120) | st.binary(max_size=90).map(lambda b: b.decode("utf-8", "surrogateescape")))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_an_answer(text: str) -> None:
    answer = search(demo(), text)
    assert answer.found or answer.why or answer.whole
    answer.text.encode()


@pytest.mark.parametrize(
    "text", ["", " " * 10**6, "a" * 10**6, "\0", "a\0b", "🙂", "\ud800", "'; DROP TABLE x; --", "%", "_", "ab"]
)
def test_text_that_can_be_no_name_gets_a_sentence_or_nothing(text: str) -> None:
    answer = search(demo(), text)
    assert answer.found == ()
    assert answer.why or text in ("'; DROP TABLE x; --",)
