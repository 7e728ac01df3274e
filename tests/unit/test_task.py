"""One task from assignment to payment, and every way in which it goes wrong."""

import pytest

from domain import errors
from domain.events import (
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    DisputeOpened,
    DisputeRuled,
    EscrowFreed,
    EscrowReleased,
    JobCancelled,
    JobCompleted,
    JobExpired,
    ReplicasWithdrawn,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    StakeSlashed,
    TaskFailed,
    WorkerPaused,
)
from domain.job import CancelJob
from domain.task import FailTask, ReturnTasks
from tests.spec import ANNA, BEN, CARL, CLIENT, OPERATOR, REFEREE, Market, a_market

PAID_AND_OVER = (ResultSubmitted, ResultVerified, EscrowReleased, JobCompleted)


def test_commitment_comes_before_the_result() -> None:
    market = a_market().with_job().assigned(ANNA)
    market.when(ANNA, market.submit()).refused(errors.NotCommitted)


def test_single_replica_is_paid_when_its_commitment_opens() -> None:
    market = a_market().with_job().assigned(ANNA).committed(ANNA)
    *_, verified, released, _ = market.when(ANNA, market.submit()).then(*PAID_AND_OVER)
    assert isinstance(verified, ResultVerified)
    assert (verified.method, verified.settles) == ("opened", True)
    assert isinstance(released, EscrowReleased)
    assert (released.worker, released.amount_msat) == (ANNA, 100)


def test_result_that_does_not_open_its_commitment_is_refused() -> None:
    market = a_market().with_job().assigned(ANNA).committed(ANNA, b"right")
    market.when(ANNA, market.submit(b"another")).refused(errors.DoesNotOpen)


def test_commitment_of_another_worker_cannot_be_copied() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN)
    copied = market.commit(ANNA)
    market.send(ANNA, copied)
    market.send(BEN, copied)
    market.when(BEN, market.submit()).refused(errors.DoesNotOpen)


def test_result_for_the_assignment_of_somebody_else_is_refused() -> None:
    market = a_market().with_job().assigned(ANNA)
    market.when(BEN, market.commit(BEN)).refused(errors.NotYourAssignment)


def test_commitment_is_refused_when_the_assignment_is_over() -> None:
    market = a_market().with_job().assigned(ANNA, seconds=60).later(60)
    market.when(ANNA, market.commit(ANNA)).refused(errors.TooLate)


def test_second_commitment_is_refused() -> None:
    market = a_market().with_job().assigned(ANNA).committed(ANNA)
    market.when(ANNA, market.commit(ANNA, b"changed my mind")).refused(errors.AlreadyCommitted)


def test_task_outside_the_job_is_refused() -> None:
    market = a_market().with_job(tasks=3)
    refusal = market.when(ANNA, market.commit(ANNA, task=3)).refused(errors.UnknownTask)
    assert "0 to 2" in str(refusal)


def test_replica_stays_hidden_until_all_have_committed() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN).committed(ANNA)
    market.when(ANNA, market.submit()).refused(errors.NotYetRevealable)
    (committed,) = market.when(BEN, market.commit(BEN)).then(ResultCommitted)
    assert isinstance(committed, ResultCommitted)
    assert committed.reveal_by is not None


def test_equal_replicas_are_both_paid() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN).committed(ANNA).committed(BEN)
    market.when(BEN, market.submit()).then(ResultSubmitted)
    events = market.when(ANNA, market.submit()).then(
        ResultSubmitted, ResultVerified, ResultVerified, EscrowReleased, EscrowReleased, JobCompleted
    )
    assert [event.settles for event in events if isinstance(event, ResultVerified)] == [False, True]


def test_different_replicas_open_a_dispute_and_nobody_is_paid() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN)
    market.committed(ANNA).committed(BEN, b"wrong").submitted(BEN, b"wrong")
    market.when(ANNA, market.submit()).then(ResultSubmitted, DisputeOpened)


def in_dispute() -> Market:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN)
    return market.committed(ANNA).committed(BEN, b"wrong").submitted(BEN, b"wrong").submitted(ANNA)


def test_ruling_pays_the_honest_worker_and_slashes_the_other() -> None:
    market = in_dispute()
    events = market.when(REFEREE, market.ruling([ANNA], [BEN])).then(
        DisputeRuled, ResultRejected, ResultVerified, StakeSlashed, WorkerPaused, EscrowReleased
    )
    slashed = events[3]
    assert isinstance(slashed, StakeSlashed)
    assert (slashed.worker, slashed.amount_msat) == (BEN, 400)
    assert market.world.stakes[BEN].held_msat == 10_000 - 400


def test_rejected_replica_is_run_again_by_somebody_else() -> None:
    market = in_dispute()
    market.send(REFEREE, market.ruling([ANNA], [BEN]))
    with pytest.raises(errors.AlreadySettled):
        market.assigned(BEN)
    market.assigned(CARL).committed(CARL)
    market.when(CARL, market.submit()).then(*PAID_AND_OVER)
    assert market.world.escrows[market.world.jobs[market.job].terms.escrow].released_msat == 200


def test_rerun_that_differs_from_the_verified_result_is_disputed_alone() -> None:
    market = in_dispute()
    market.send(REFEREE, market.ruling([ANNA], [BEN]))
    market.assigned(CARL).committed(CARL, b"also wrong")
    *_, opened = market.when(CARL, market.submit(b"also wrong")).then(ResultSubmitted, DisputeOpened)
    assert isinstance(opened, DisputeOpened)
    assert opened.workers == (CARL,)


def test_ruling_is_refused_from_anyone_but_a_referee() -> None:
    market = in_dispute()
    market.when(ANNA, market.ruling([ANNA], [BEN])).refused(errors.Unauthorised)


def test_ruling_names_every_disputed_worker_once() -> None:
    market = in_dispute()
    market.when(REFEREE, market.ruling([ANNA], [])).refused(errors.BadRuling)
    market.when(REFEREE, market.ruling([ANNA, BEN], [BEN])).refused(errors.BadRuling)
    market.when(REFEREE, market.ruling([ANNA], [BEN, CARL])).refused(errors.BadRuling)


def test_second_ruling_is_refused() -> None:
    market = in_dispute()
    market.send(REFEREE, market.ruling([ANNA], [BEN]))
    market.when(REFEREE, market.ruling([BEN], [ANNA])).refused(errors.NoDispute)


def test_expired_assignment_goes_to_another_worker() -> None:
    market = a_market().with_job().assigned(ANNA).later(61)
    market.when(OPERATOR, market.expiry(ANNA)).then(AssignmentExpired)
    market.assigned(BEN)
    market.when(ANNA, market.commit(ANNA)).refused(errors.NotYourAssignment)


def test_expiry_is_refused_from_anyone_but_the_clock() -> None:
    market = a_market().with_job().assigned(ANNA).later(61)
    market.when(BEN, market.expiry(ANNA)).refused(errors.Unauthorised)


def test_expiry_before_its_time_is_refused() -> None:
    market = a_market().with_job().assigned(ANNA, seconds=60).later(59)
    market.when(OPERATOR, market.expiry(ANNA)).refused(errors.NotYetOver)


def test_worker_hands_back_what_it_holds_and_keeps_what_it_names() -> None:
    market = a_market().with_job(tasks=3).assigned(ANNA, 0).assigned(ANNA, 1).assigned(ANNA, 2)
    market.when(ANNA, ReturnTasks(keep=((market.job, 1),))).then(AssignmentReturned, AssignmentReturned)
    assert market.world.holdings[ANNA].tasks == {(market.job, 1)}
    assert market.world.holdings[ANNA].locked_msat == 400


def test_task_is_given_up_when_three_workers_failed() -> None:
    market = a_market().with_job(tasks=2)
    for worker in (ANNA, BEN):
        market.assigned(worker)
        market.when(worker, FailTask(market.job, 0, "crash")).then(AssignmentFailed)
    market.assigned(CARL)
    market.when(CARL, FailTask(market.job, 0, "memory")).then(AssignmentFailed, TaskFailed)
    market.assigned(ANNA, 1).committed(ANNA, task=1)
    *_, completed, freed = market.when(ANNA, market.submit(task=1)).then(*PAID_AND_OVER, EscrowFreed)
    assert isinstance(completed, JobCompleted)
    assert (completed.verified, completed.failed) == (1, 1)
    assert isinstance(freed, EscrowFreed)
    assert freed.amount_msat == 100


def test_cancelled_job_still_takes_and_pays_what_is_assigned() -> None:
    market = a_market().with_job(tasks=5).assigned(ANNA)
    market.when(CLIENT, CancelJob(market.job)).then(JobCancelled)
    market.committed(ANNA)
    *_, freed = market.when(ANNA, market.submit()).then(*PAID_AND_OVER, EscrowFreed)
    assert isinstance(freed, EscrowFreed)
    assert freed.amount_msat == 400


def test_cancelled_job_without_work_in_hand_ends_at_once() -> None:
    market = a_market().with_job(tasks=5)
    market.when(CLIENT, CancelJob(market.job)).then(JobCancelled, JobCompleted, EscrowFreed)


def test_worker_that_waits_for_replicas_may_submit_when_the_job_is_cancelled() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).committed(ANNA)
    market.when(CLIENT, CancelJob(market.job)).then(JobCancelled, ReplicasWithdrawn)
    market.when(ANNA, market.submit()).then(ResultSubmitted, DisputeOpened)
    market.when(REFEREE, market.ruling([ANNA], [])).then(
        DisputeRuled, ResultVerified, EscrowReleased, JobCompleted, EscrowFreed
    )


def test_job_past_its_deadline_takes_no_more_workers() -> None:
    market = a_market().with_job(tasks=2).later(3600)
    market.when(OPERATOR, market.deadline()).then(JobExpired, JobCompleted, EscrowFreed)


def test_last_replica_that_expires_in_a_cancelled_job_frees_the_one_that_waits() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN).committed(ANNA)
    market.send(CLIENT, CancelJob(market.job))
    market.later(61)
    market.when(OPERATOR, market.expiry(BEN)).then(AssignmentExpired, ReplicasWithdrawn)
    market.when(ANNA, market.submit()).then(ResultSubmitted, DisputeOpened)


def test_tasks_of_a_completed_job_can_be_forgotten() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN)
    market.committed(ANNA, b"right").committed(BEN, b"wrong").submitted(ANNA, b"right").submitted(BEN, b"wrong")
    market.send(REFEREE, market.ruling([ANNA], [BEN]))
    market.assigned(CARL).committed(CARL).submitted(CARL)
    market.world.forget(market.job)
    assert (market.world.tasks_of, market.world.disputes) == ({}, {})
    market.when(ANNA, market.submit()).refused(errors.AlreadySettled)
    market.when(ANNA, market.commit(ANNA, task=1)).refused(errors.UnknownTask)
    market.when(CLIENT, CancelJob(market.job)).refused(errors.JobClosed)
