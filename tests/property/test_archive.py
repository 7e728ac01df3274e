"""A file that somebody opens is a log or is refused with a sentence; nothing else, whatever is in it."""

import gzip
import zlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit import audit
from services.ports import Stored
from services.viewing import archive
from services.viewing.archive import Archive, NoLog, Replayable
from services.viewing.past import Folds, Past
from tests.asof import as_shown
from tests.history import tree_of
from tests.logs import zipped
from tests.payouts import Payday
from tests.simulate import Simulation


@cache
def records() -> list[Stored]:
    return Simulation(8).run(120).play_out().records


@cache
def payday() -> list[Stored]:
    return Payday(4).run(150).records


@cache
def log() -> bytes:
    return zipped(records()[:100], records()[100:])


def opened(file: bytes) -> Archive | None:
    """What comes of a file; what is shown of it can be looked at, as of any event."""
    try:
        found = archive.read(file)
    except NoLog:
        return None
    folds = Folds(found)
    for position in (found.sound // 2, found.sound):
        view = Past(folds.at(position), found)
        as_shown(view)
        view.totals()
        view.latest(limit=5)
        view.settled.on_chain()
        for one in view.settled.accounts():
            view.settled.coins(one.key)
        for payout in view.settled.payouts():
            assert payout.paid_sat is not None
            view.settled.payments(payout.epoch)
    return found


def test_saved_log_is_the_log_to_the_byte() -> None:
    found = archive.read(log())
    assert list(found.page(0, 10**6)) == records()
    assert found.sound == len(records())
    assert tree_of(found.page(0, 10**6)) == tree_of(records())
    assert archive.read(gzip.decompress(log())).page(0, 10**6) == found.page(0, 10**6)


def test_same_events_make_the_same_file() -> None:
    assert zipped(records()[:100], records()[100:]) == log()


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_with_a_sentence(file: bytes) -> None:
    assert opened(file) is None
    assert opened(gzip.compress(file)) is None
    assert opened(b"\x1f\x8b" + file) is None


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_file_is_refused_or_shown_as_far_as_it_is_sound(data: st.DataObject) -> None:
    text = bytearray(gzip.decompress(log()) if data.draw(st.booleans()) else log())
    start = data.draw(st.integers(0, len(text) - 1))
    damage = data.draw(st.sampled_from(("byte", "cut", "gone", "twice")))
    end = min(len(text), start + data.draw(st.integers(1, 2_000)))
    if damage == "byte":
        text[start] ^= data.draw(st.integers(1, 255))
    elif damage == "cut":
        del text[start:]
    elif damage == "gone":
        del text[start:end]
    else:
        text[start:start] = text[start:end]
    opened(bytes(text))


def tampered(data: st.DataObject, records: list[Stored]) -> list[Stored]:
    """The events with up to three of them left out, repeated or in other places, as a log that follows on."""
    events = list(records)
    for _ in range(data.draw(st.integers(1, 3))):
        at, other = (data.draw(st.integers(0, len(events) - 2)) for _ in range(2))
        match data.draw(st.sampled_from(("gone", "twice", "swapped", "moved"))):
            case "gone":
                del events[at]
            case "twice":
                events.insert(other, events[at])
            case "swapped":
                events[at], events[other] = events[other], events[at]
            case "moved":
                events.insert(other, events.pop(at))
    return [one._replace(position=place) for place, one in enumerate(events, 1)]


@given(st.data())
@settings(max_examples=60, deadline=None)
async def test_history_that_was_tampered_with_can_be_looked_at_and_audited(data: st.DataObject) -> None:
    events = tampered(data, records())
    found = opened(zipped(events))
    assert found is not None
    verdict = await audit(Replayable(found))
    assert verdict.ok or events != records()[: len(events)]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_history_of_payouts_that_was_tampered_with_can_be_looked_at(data: st.DataObject) -> None:
    assert opened(zipped(tampered(data, payday()))) is not None


def test_file_that_is_larger_than_it_looks_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FILE_MAX", 4 << 20)
    one = records()[0]
    with pytest.raises(NoLog, match="larger than 4 MB"):
        archive.read(zipped([one._replace(position=n) for n in range(1, 20_000)]))
    bomb = zlib.compressobj(9, wbits=31)
    with pytest.raises(NoLog, match="no end"):
        archive.read(bomb.compress(bytes(8 << 20)) + bomb.flush())


def test_job_of_more_tasks_than_can_be_held_is_not_opened() -> None:
    events = records()
    posted = next(one for one in events if one.name == "JobPosted.v1")
    large = posted._replace(data=posted.data.replace(b'"tasks":', b'"tasks":9000000000', 1))
    assert large.data != posted.data
    with pytest.raises(NoLog, match="more than 16,777,216 tasks"):
        archive.read(zipped([large if one is posted else one for one in events]))


def test_two_files_in_one_are_refused() -> None:
    with pytest.raises(NoLog, match="follows its end"):
        archive.read(log() + log())
