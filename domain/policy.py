"""What follows from an event in another stream: the only place where one stream moves another.

ResultVerified                  -> the worker's price is released from the escrow
ResultRejected                  -> the worker's stake for the task is slashed and the worker is paused
DisputeRuled                    -> the task's submitted replicas are verified or rejected
JobCancelled, JobExpired        -> replicas that wait for others are freed from waiting
a job's last task is done       -> the job completes, the fee is charged, and what it did not use is free again
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from domain import escrow, job, stake, task
from domain.events import (
    AnyEvent,
    DisputeRuled,
    JobCancelled,
    JobCompleted,
    JobExpired,
    ResultRejected,
    ResultVerified,
    WorkerPaused,
)
from domain.worker import State, Worker


class Known(Protocol):
    """The states that a reaction looks at."""

    def job_of(self, job: str) -> job.Job: ...
    def tasks_in(self, job: str) -> Sequence[task.Task]: ...
    def worker_of(self, key: str) -> Worker: ...
    def stake_of(self, key: str) -> stake.Stake: ...


def react(event: AnyEvent, known: Known, now: datetime) -> Sequence[AnyEvent]:
    """The events that must follow ``event`` in the same transaction."""
    reaction = _REACTIONS.get(type(event))
    return reaction(event, known, now) if reaction else ()


def _pay(event: ResultVerified, known: Known, now: datetime) -> Sequence[AnyEvent]:
    bought = known.job_of(event.job)
    released = escrow.release(bought, event.task, event.replica, event.worker)
    return (released,)


def _punish(event: ResultRejected, known: Known, now: datetime) -> Sequence[AnyEvent]:
    terms = known.job_of(event.job).terms
    slashed = stake.slash(known.stake_of(event.worker), event.job, event.task, terms.stake_msat)
    active = known.worker_of(event.worker).state is State.ACTIVE
    return (*slashed, WorkerPaused(event.worker, "slashed")) if active else slashed


def _judge(event: DisputeRuled, known: Known, now: datetime) -> Sequence[AnyEvent]:
    terms = known.job_of(event.job).terms
    return task.rule(known.tasks_in(event.job)[event.task], terms, event.task, event.rejected)


def _stop_waiting(event: JobCancelled | JobExpired, known: Known, now: datetime) -> Sequence[AnyEvent]:
    terms = known.job_of(event.job).terms
    if terms.replicas == 1:
        return ()
    return [e for index, t in enumerate(known.tasks_in(event.job)) for e in task.withdraw(t, terms, index, now)]


def _settle(event: JobCompleted, known: Known, now: datetime) -> Sequence[AnyEvent]:
    return escrow.settle(known.job_of(event.job))


_REACTIONS: dict[type, Callable[..., Sequence[AnyEvent]]] = {
    ResultVerified: _pay,
    ResultRejected: _punish,
    DisputeRuled: _judge,
    JobCancelled: _stop_waiting,
    JobExpired: _stop_waiting,
    JobCompleted: _settle,
}
