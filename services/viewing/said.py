"""What an event says, as a sentence for people."""

from typing import assert_never

from domain import events as e
from domain.events import AnyEvent
from services.client.sentences import METHODS, REASONS
from services.client.words import count, sat, short


def said(event: AnyEvent) -> str:
    """One sentence; ids are shortened, amounts are in satoshi."""
    match event:
        case e.RoleGranted():
            return f"{short(event.party)} may act as {event.role}"
        case e.RoleRevoked():
            return f"{short(event.party)} may no longer act as {event.role}"
        case e.FeeSet():
            return f"the market's fee is {event.fee_ppm / 10_000:g} % of a price"
        case e.ProgramAdmitted():
            return f"program {short(event.program.removeprefix('sha256:'))} was read and may run"
        case e.JobPosted():
            runs = f", {event.replicas} workers each" if event.replicas > 1 else ""
            return f"job {_id(event.job)} was posted: {count(event.tasks, 'task')}{runs} at {sat(event.price_msat)}"
        case e.JobReused():
            return f"job {_id(event.job)} was answered by the results of job {_id(event.original)}"
        case e.JobCompleted() if event.failed:
            return f"job {_id(event.job)} ended: {event.verified} verified, {event.failed} not"
        case e.JobCompleted():
            return f"job {_id(event.job)} is complete: {count(event.verified, 'task')} verified"
        case e.JobCancelled():
            return f"job {_id(event.job)} was cancelled by its client"
        case e.JobExpired():
            return f"job {_id(event.job)} ran out of time"
        case e.TaskAssigned():
            return f"{_run(event)} was given to {short(event.worker)}"
        case e.AssignmentExpired():
            return f"{short(event.worker)} ran out of time on {_run(event)}"
        case e.AssignmentReturned():
            return f"{short(event.worker)} handed back {_run(event)}"
        case e.AssignmentFailed():
            return f"{short(event.worker)} could not run {_run(event)}: {REASONS[event.reason]}"
        case e.ResultCommitted():
            return f"{short(event.worker)} is bound to a result of {_run(event)}"
        case e.ResultSubmitted():
            return f"{short(event.worker)} showed its result of {_run(event)}"
        case e.ResultVerified():
            return f"the result of {_run(event)} by {short(event.worker)} was verified: {METHODS[event.method]}"
        case e.ResultRejected():
            return f"the result of {_run(event)} by {short(event.worker)} was rejected"
        case e.TaskFailed():
            return f"task {event.task} of job {_id(event.job)} was given up after {count(event.failures, 'failure')}"
        case e.ReplicasWithdrawn():
            return f"task {event.task} of job {_id(event.job)} will not be given to further workers"
        case e.DisputeOpened():
            return f"results of task {event.task} of job {_id(event.job)} differ: a referee runs it again"
        case e.DisputeRuled():
            upheld, rejected = count(len(event.upheld), "result"), len(event.rejected)
            return f"a referee upheld {upheld} of task {event.task} of job {_id(event.job)} and rejected {rejected}"
        case e.WorkerRegistered():
            return f"worker {short(event.worker)} joined: {event.platform}, {count(event.cores, 'core')}"
        case e.CapabilityMeasured():
            return f"worker {short(event.worker)} was measured at {event.flops_per_s / 1e9:.3g} GFLOP/s"
        case e.AskPlaced():
            return f"worker {short(event.worker)} takes tasks from {sat(event.price_msat)} on"
        case e.AskWithdrawn():
            return f"worker {short(event.worker)} takes no more tasks"
        case e.WorkerPaused():
            why = "a referee rejected its result" if event.reason == "slashed" else "it asked for that"
            return f"worker {short(event.worker)} is paused: {why}"
        case e.WorkerResumed():
            return f"worker {short(event.worker)} is back"
        case e.WorkerRetired():
            return f"worker {short(event.worker)} left for good"
        case e.StakeDeposited():
            return f"{short(event.worker)} put {sat(event.amount_msat)} at stake"
        case e.StakeSlashed():
            return f"{short(event.worker)} lost {sat(event.amount_msat)} for task {event.task} of job {_id(event.job)}"
        case e.StakeWithdrawn():
            return f"{short(event.worker)} took {sat(event.amount_msat)} of its stake back"
        case e.EscrowFunded():
            return f"{short(event.client)} put {sat(event.amount_msat)} into escrow"
        case e.EscrowReserved():
            return f"{sat(event.amount_msat)} were reserved for job {_id(event.job)}"
        case e.EscrowReleased():
            return (
                f"{short(event.worker)} earned {sat(event.amount_msat)} with task {event.task} of job {_id(event.job)}"
            )
        case e.FeeCharged():
            return f"the market charged {sat(event.amount_msat)} for job {_id(event.job)}"
        case e.EscrowFreed():
            return f"{sat(event.amount_msat)} of job {_id(event.job)} are free again"
        case e.EscrowRefunded():
            return f"{sat(event.amount_msat)} went from escrow {_id(event.escrow)} back to its client"
    assert_never(event)


def _id(id_: str) -> str:
    return id_[:8]


def _run(event: "e.TaskEvent | e.EscrowReleased") -> str:
    replica = getattr(event, "replica", 0)
    run = f"task {event.task} of job {_id(event.job)}"
    return f"{run}, run {replica + 1}" if replica else run
