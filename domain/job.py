"""One job: what a client buys, how much of its reservation is left, and when it is over.

None    -- JobPosted                   --> OPEN
OPEN    -- JobReused                   --> CLOSING    (answered by an earlier job's results; it completes at once)
OPEN    -- JobCancelled | JobExpired   --> CLOSING    (no new assignments; what is assigned is still taken and paid)
OPEN, CLOSING -- JobCompleted          --> COMPLETED  (terminal)
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, assert_never

from msgspec import Meta, Struct
from msgspec.structs import replace

from domain import errors
from domain.blobs import BlobRef, is_whole
from domain.errors import BadTerms
from domain.events import (
    EscrowFreed,
    EscrowReleased,
    EscrowReserved,
    Execution,
    FeeCharged,
    JobCancelled,
    JobCompleted,
    JobEvent,
    JobExpired,
    JobPosted,
    JobReused,
    Platform,
    ProgramAdmitted,
)
from domain.ids import TASKS_MAX, At, EscrowId, JobId
from domain.money import MSAT_MAX, PPM, Msat

REPLICAS_MAX = 5
#: What earlier results cost, as a share of having the job run.
REUSE_PPM = 100_000
DEADLINE_MAX = timedelta(days=30)


class State(StrEnum):
    OPEN = "open"
    CLOSING = "closing"
    COMPLETED = "completed"


class PostJob(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Buy ``tasks`` runs of ``program``; the fields are those of ``JobPosted``.

    Attributes:
        budget_msat: The most that the job may cost, fee included; no bound if absent.
        reuse: Take the results of the same work, if it was verified before, for a tenth of what it cost then and if
            that is less than to have it run.
    """

    escrow: EscrowId
    program: BlobRef
    tasks: int
    price_msat: int
    expires_at: At
    shared: BlobRef | None = None
    mapped: BlobRef | None = None
    replicas: int = 1
    stake_msat: int = 0
    timeout_s: int = 60
    memory_mb: int = 1024
    platforms: Annotated[tuple[Platform, ...], Meta(min_length=1, max_length=3)] = ("cpu",)
    execution: Execution = "xla"
    budget_msat: Msat | None = None
    reuse: bool = False


class CancelJob(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    job: JobId


class Job(Struct, frozen=True, gc=False):
    """Attributes:
    terms: The event that posted it.
    left_msat: What is still reserved for it in the escrow.
    live: Replicas that are assigned, committed or submitted.
    done: Tasks of which no replica will move again.
    replayed: Tasks whose result a referee's own run confirmed.
    original: The job whose results this one was given, or nothing.
    """

    terms: JobPosted
    state: State = State.OPEN
    left_msat: int = 0
    live: int = 0
    done: int = 0
    verified: int = 0
    replayed: int = 0
    original: str = ""
    version: int = 1


def fee_msat(price_msat: int, fee_ppm: int) -> int:
    """A share of the price of a run."""
    return price_msat * fee_ppm // PPM


def cost_msat(terms: JobPosted) -> int:
    """What the escrow must hold free for the job, in msat."""
    return terms.tasks * terms.replicas * (terms.price_msat + terms.fee_msat + terms.chain_msat)


def reuse_msat(original: JobPosted) -> int:
    """What the results of an earlier job cost, in msat."""
    return -(-cost_msat(original) * REUSE_PPM // PPM)


def fee_due_msat(job: Job) -> int:
    """What is charged on a finished job: the fees on each paid run, or all of the price of a reuse."""
    if job.original:
        return job.left_msat
    return _paid_runs(job) * (job.terms.fee_msat + job.terms.chain_msat)


def chain_due_msat(job: Job) -> int:
    """The part of it that is kept for those who mine the payouts."""
    return 0 if job.original else _paid_runs(job) * job.terms.chain_msat


def _paid_runs(job: Job) -> int:
    return (cost_msat(job.terms) - job.left_msat) // job.terms.price_msat


def work_key(
    identity: str,
    inputs: Sequence[BlobRef | None],
    tasks: int,
    platforms: Sequence[Platform],
    execution: Execution = "xla",
) -> str:
    """64 hex digits that are equal for equal work, whoever posts it: the same program on the same inputs.

    Args:
        identity: Of the program. inputs: The shared and the mapped arrays.
    """
    named_inputs = [f"{ref.address}+{ref.offset}+{ref.size}" if ref is not None else "-" for ref in inputs]
    named = ["pasar/work/2", identity, *named_inputs, str(tasks), execution, *sorted(platforms)]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def post(
    command: PostJob, job: JobId, client: str, now: datetime, *, program: ProgramAdmitted, fee_ppm: int, chain_ppm: int
) -> JobPosted:
    """Accept a job's terms.

    Args:
        fee_ppm, chain_ppm: Shares of the price for the market, and for those who mine the payouts.

    Raises:
        BadTerms: A field lies outside what the market deals in, or what the program is made for.
    """
    if not is_whole(command.program):  # a part of what was admitted is another program, which nobody inspected
        named = f"{command.program.size} bytes from {command.program.offset}"
        raise BadTerms(field="program", value=named, allowed="the whole blob, with a salted commitment to it")
    _check("tasks", command.tasks, 1, TASKS_MAX)
    _check("replicas", command.replicas, 1, REPLICAS_MAX)
    _check("price_msat", command.price_msat, 1, MSAT_MAX)
    _check("stake_msat", command.stake_msat, 0, MSAT_MAX)
    _check("timeout_s", command.timeout_s, 1, 86_400)
    _check("memory_mb", command.memory_mb, max(64, memory_mb(program)), 1 << 20)
    others = sorted(set(command.platforms) - set(program.platforms))
    if others:
        raise BadTerms(field="platforms", value=", ".join(others), allowed=", ".join(program.platforms))
    if command.replicas > 1 and command.platforms != ("cpu",):
        # How far apart honest results of other devices may be was not measured yet, and a referee replays on a CPU.
        raise BadTerms(field="platforms", value=", ".join(command.platforms), allowed="cpu alone for several replicas")
    if not now < command.expires_at <= now + DEADLINE_MAX:
        allowed = f"after {now.isoformat()} and within {DEADLINE_MAX.days} days"
        raise BadTerms(field="expires_at", value=command.expires_at.isoformat(), allowed=allowed)
    posted = JobPosted(
        job,
        client,
        command.escrow,
        command.program,
        command.shared,
        command.mapped,
        command.tasks,
        command.replicas,
        command.price_msat,
        command.stake_msat,
        command.timeout_s,
        command.memory_mb,
        command.platforms,
        command.execution,
        work_key(
            program.identity, (command.shared, command.mapped), command.tasks, command.platforms, command.execution
        ),
        command.expires_at,
        fee_msat(command.price_msat, fee_ppm),
        fee_msat(command.price_msat, chain_ppm),
    )
    _check("the job's cost in msat", cost_msat(posted), 1, MSAT_MAX)
    return posted


def within_budget(command: PostJob, due_msat: int) -> int:
    """What the job costs, as it will be reserved.

    Raises:
        OverBudget: The client allows less.
    """
    if command.budget_msat is not None and due_msat > command.budget_msat:
        raise errors.OverBudget(cost_msat=due_msat, budget_msat=command.budget_msat)
    return due_msat


def memory_mb(program: ProgramAdmitted) -> int:
    """The least memory in which the program's arrays fit, in MB."""
    return -(-program.meter.memory_bytes >> 20)


def cancel(job: Job, client: str) -> JobCancelled:
    """Stop assigning the job's tasks.

    Raises:
        Unauthorised: Somebody else posted it.
        JobClosed: It is no longer open.
    """
    if client != job.terms.client:
        raise errors.Unauthorised(needed="the client who posted the job")
    if job.state is not State.OPEN:
        raise errors.JobClosed(job=job.terms.job, state=job.state)
    return JobCancelled(job.terms.job)


def expire(job: Job, now: datetime) -> JobExpired:
    """Close a job whose deadline has passed.

    Raises:
        JobClosed: It is no longer open, or its deadline is still ahead.
    """
    if job.state is not State.OPEN or now < job.terms.expires_at:
        raise errors.JobClosed(job=job.terms.job, state=job.state)
    return JobExpired(job.terms.job)


def complete(job: Job) -> JobCompleted | None:
    """The ending, once no task of the job can move again."""
    over = job.done == job.terms.tasks or (job.state is State.CLOSING and job.live == 0)
    if not over or job.state is State.COMPLETED:
        return None
    return JobCompleted(job.terms.job, job.verified, job.terms.tasks - job.verified)


def evolve(job: Job | None, event: JobEvent) -> Job:
    """The job after one of its own events."""
    if isinstance(event, JobPosted):
        return Job(event)
    assert job is not None, "a job's stream opens with JobPosted"
    match event:
        case JobCancelled() | JobExpired():
            return replace(job, state=State.CLOSING, version=job.version + 1)
        case JobReused():
            tasks, version = job.terms.tasks, job.version + 1
            state = State.CLOSING
            return replace(job, state=state, done=tasks, verified=tasks, original=event.original, version=version)
        case JobCompleted():
            return replace(job, state=State.COMPLETED, version=job.version + 1)
        case _:
            assert_never(event)


def account(job: Job, event: EscrowReserved | EscrowReleased | FeeCharged | EscrowFreed) -> Job:
    """The job after money moved for it."""
    amount_msat = event.amount_msat if isinstance(event, EscrowReserved) else -event.amount_msat
    return Job(
        job.terms,
        job.state,
        job.left_msat + amount_msat,
        job.live,
        job.done,
        job.verified,
        job.replayed,
        job.original,
        job.version,
    )


def count(job: Job, *, live: int, done: int, verified: int, replayed: int) -> Job:
    """The job after its tasks moved by these many."""
    return Job(
        job.terms,
        job.state,
        job.left_msat,
        job.live + live,
        job.done + done,
        job.verified + verified,
        job.replayed + replayed,
        job.original,
        job.version,
    )


def _check(field: str, value: Any, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadTerms(field=field, value=value, allowed=f"{low} to {high}")
