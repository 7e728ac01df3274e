"""What a job's events say to the client who follows them."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.blobs import blob_ref
from domain.events import (
    AnyEvent,
    AssignmentFailed,
    EscrowFreed,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    JobCancelled,
    JobCompleted,
    JobPosted,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    TaskAssigned,
    TaskFailed,
)
from services.client.errors import JobFailed
from services.client.errors import ResultRejected as Rejected
from services.client.jobs import failure
from services.client.story import Story
from services.projections.model import Seen

JOB, CLIENT, ESCROW, WORKER = "ab" * 12, "U" + "A" * 55, "cd" * 12, "U" + "B" * 55
AT = datetime(2026, 1, 1, tzinfo=UTC)
REF, NONCE, DIGEST = blob_ref(b"result", "00" * 16), "00" * 16, "00" * 32
POSTED = JobPosted(
    JOB, CLIENT, ESCROW, REF, None, None, 1, 1, 1_000, 0, 60, 128, ("cpu",), "xla", DIGEST, AT + timedelta(hours=1), 10
)
RESERVED = EscrowReserved(ESCROW, JOB, 1_010)
ASSIGNED = TaskAssigned(JOB, 0, 0, WORKER, 1_000, AT)
SHOWN = (ResultCommitted(JOB, 0, 0, WORKER, DIGEST, None), ResultSubmitted(JOB, 0, 0, WORKER, NONCE, REF, DIGEST))
VERIFIED = ResultVerified(JOB, 0, 0, WORKER, "opened", settles=True)
PAID = (EscrowReleased(ESCROW, JOB, 0, 0, WORKER, 1_000), JobCompleted(JOB, 1, 0), FeeCharged(ESCROW, JOB, 10))
GONE = (JobCompleted(JOB, 0, 1), EscrowFreed(ESCROW, JOB, 1_010))


def seen(*events: AnyEvent) -> list[Seen]:
    return [Seen(position, event, AT) for position, event in enumerate(events, start=1)]


def told(*events: AnyEvent) -> Story:
    story = Story(JOB)
    for one in seen(*events):
        assert story.see(one)
    return story


def test_result_is_there_when_it_is_verified_and_not_before() -> None:
    story = told(POSTED, RESERVED, ASSIGNED, *SHOWN)
    assert story.results == {}
    assert story.take_settled() == []
    assert story.see(Seen(9, VERIFIED, AT))
    assert story.take_settled() == [0]
    assert story.take_settled() == []
    assert story.results == {0: REF}


def test_job_is_over_when_its_money_is_where_it_belongs() -> None:
    before = (POSTED, RESERVED, ASSIGNED, *SHOWN, VERIFIED)
    assert [told(*before, *PAID[:count]).closed for count in range(4)] == [False, False, False, True]


def test_event_that_comes_twice_counts_once() -> None:
    story = told(POSTED, RESERVED, ASSIGNED)
    assert not any(story.see(one) for one in seen(POSTED, RESERVED, ASSIGNED))
    assert story.row is not None
    assert (story.row.assigned, story.row.reserved_msat) == (1, 1_010)


def test_event_of_another_job_is_passed_over() -> None:
    assert not told(POSTED).see(Seen(7, JobCancelled("00" * 12), AT))


def test_what_comes_while_the_beginning_is_read_is_kept() -> None:
    story, events = Story(JOB), seen(POSTED, RESERVED, ASSIGNED, *SHOWN, VERIFIED, *PAID)
    story.hold()
    for one in events[4:]:
        story.see(one)
    story.recall(events[:6])
    assert story.closed
    assert story.row == told(POSTED, RESERVED, ASSIGNED, *SHOWN, VERIFIED, *PAID).row


@pytest.mark.parametrize(
    ("events", "kind", "said"),
    [
        ((JobCancelled(JOB),), JobFailed, "it was cancelled; submit it again"),
        (
            (ASSIGNED, AssignmentFailed(JOB, 0, 0, WORKER, "memory"), TaskFailed(JOB, 0, 3)),
            JobFailed,
            "it needed too much memory; given up; see the reason, change timeout_s= or memory_mb=",
        ),
        ((ASSIGNED, *SHOWN, ResultRejected(JOB, 0, 0, WORKER, "replayed")), Rejected, "a referee's replay contradicts"),
    ],
)
def test_job_without_result_says_why(events: tuple[AnyEvent, ...], kind: type[JobFailed], said: str) -> None:
    error = failure(told(POSTED, RESERVED, *events, *GONE), 0)
    assert type(error) is kind
    assert said in str(error)
