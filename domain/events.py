"""Every domain event: the published language, in the words of the trade.

An event is stored and published under ``<Name>.v<version>``; a class that is replaced keeps its old name here and
gets an upcaster in ``services.ledger.codec``. Fields say what they may reveal: ``public``, ``pseudonym`` or
``commitment``. None holds free text, a plaintext digest, or anything that may have to be erased, because the log can
never forget.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from domain.blobs import BlobRef
from domain.ids import (
    Address,
    At,
    Count,
    Digest,
    EscrowId,
    JobId,
    Nonce,
    PartyKey,
    Reference,
    Replica,
    TaskIndex,
    Version,
)
from domain.meter import Meter
from domain.money import Msat, PositiveMsat, Ppm

Role = Literal["operator", "referee", "settlement", "clock", "inspector"]
Platform = Literal["cpu", "cuda", "tpu"]
Execution = Literal["xla"]
#: ``opened``: the commitment was opened, nobody ran it again. ``agreed``: blind replicas returned the same bytes.
#: ``replayed``: a referee ran the program again.
Method = Literal["opened", "agreed", "replayed"]
FailureReason = Literal["timeout", "memory", "crash", "inadmissible", "blob_missing", "nonfinite"]
PauseReason = Literal["asked", "slashed"]
Seconds = Annotated[int, Meta(ge=1, le=30 * 86_400, extra={"privacy": "public"})]
Megabytes = Annotated[int, Meta(ge=1, le=1 << 24, extra={"privacy": "public"})]
Flag = Annotated[bool, Meta(extra={"privacy": "public"})]


def _versioned(name: str) -> str:
    return f"{name}.v1"


class Event(Struct, frozen=True, tag_field="type", tag=_versioned, gc=False):
    """A fact. Its ``type`` is its stored name and version.

    Facts and states hold no cycles, so the garbage collector need not walk the millions of them.
    """


# ---------------------------------------------------------------------------------------------------------- market
class RoleGranted(Event, frozen=True):
    """``party`` may act in ``role`` from here on."""

    role: Role
    party: PartyKey


class RoleRevoked(Event, frozen=True):
    role: Role
    party: PartyKey


class FeeSet(Event, frozen=True):
    """Jobs posted from here on pay the market this share of each price, in parts per million."""

    fee_ppm: Ppm


# --------------------------------------------------------------------------------------------------------- program
class ProgramAdmitted(Event, frozen=True):
    """The market's inspector read a program, found only what the market runs, and counted its work.

    Attributes:
        program: Address of the exported program.
        identity: Equal for equal programs, however their functions, files and arguments are called.
        meter: What one task takes.
        jax_version: The one that exported it.
    """

    program: Address
    identity: Digest
    meter: Meter
    platforms: tuple[Platform, ...]
    jax_version: Version


# ------------------------------------------------------------------------------------------------------------- job
class JobPosted(Event, frozen=True):
    """A client buys ``tasks`` runs of one program, each by ``replicas`` different workers.

    Attributes:
        shared: Arrays that every task gets, if any.
        mapped: Arrays whose leading axis is the task index, if any.
        price_msat: What one worker earns for one verified run.
        fee_msat: What the market charges for it.
        stake_msat: What one worker loses for one rejected run.
        timeout_s: Time a worker has for one task, in seconds; a lease of n tasks has n times that.
        work_key: The same work, whoever posts it, has the same key.
    """

    job: JobId
    client: PartyKey
    escrow: EscrowId
    program: BlobRef
    shared: BlobRef | None
    mapped: BlobRef | None
    tasks: Count
    replicas: Count
    price_msat: PositiveMsat
    stake_msat: Msat
    timeout_s: Seconds
    memory_mb: Megabytes
    platforms: tuple[Platform, ...]
    execution: Execution
    work_key: Digest
    expires_at: At
    fee_msat: Msat = 0


class JobReused(Event, frozen=True):
    """The same work was verified before: the results of ``original`` are this job's, and nobody runs it again."""

    job: JobId
    original: JobId
    tasks: Count


class JobCompleted(Event, frozen=True):
    """Every task is verified or given up."""

    job: JobId
    verified: Count
    failed: Count


class JobCancelled(Event, frozen=True):
    """The client wants no further assignments; what is assigned is still taken and paid."""

    job: JobId


class JobExpired(Event, frozen=True):
    """The job's deadline passed; what is assigned is still taken and paid."""

    job: JobId


# ------------------------------------------------------------------------------------------------------------ task
class TaskAssigned(Event, frozen=True):
    """``worker`` alone may answer this replica until ``expires_at``."""

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    price_msat: PositiveMsat
    expires_at: At


class AssignmentExpired(Event, frozen=True):
    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey


class AssignmentReturned(Event, frozen=True):
    """The worker handed the task back, unharmed."""

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey


class AssignmentFailed(Event, frozen=True):
    """The worker could not run the task."""

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    reason: FailureReason


class ResultCommitted(Event, frozen=True):
    """The worker is bound to a result that nobody can read yet.

    ``reveal_by`` is set by the commitment that completes the replicas: from here on all of them may be submitted.
    """

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    commitment: Digest
    reveal_by: At | None


class ResultSubmitted(Event, frozen=True):
    """The result that opens the worker's commitment."""

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    nonce: Nonce
    result: BlobRef
    equality: Digest


class ResultVerified(Event, frozen=True):
    """The result is accepted and its worker has earned the price.

    ``settles`` is true on the verification that completes the task's replicas.
    """

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    method: Method
    settles: Flag


class ResultRejected(Event, frozen=True):
    """A referee's replay contradicts the result; its worker is not paid."""

    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    method: Method


class TaskFailed(Event, frozen=True):
    """Too many workers could not run it: the task is given up."""

    job: JobId
    task: TaskIndex
    failures: Count


class ReplicasWithdrawn(Event, frozen=True):
    """The task's open replicas will not be assigned; its committed ones may be submitted until ``reveal_by``."""

    job: JobId
    task: TaskIndex
    reveal_by: At


# --------------------------------------------------------------------------------------------------------- dispute
class DisputeOpened(Event, frozen=True):
    """Replicas of a task disagree; a referee will run it again."""

    job: JobId
    task: TaskIndex
    workers: tuple[PartyKey, ...]


class DisputeRuled(Event, frozen=True):
    """A referee ran the task again and says whose result stands; ``evidence`` is its own result and the distances."""

    job: JobId
    task: TaskIndex
    referee: PartyKey
    upheld: tuple[PartyKey, ...]
    rejected: tuple[PartyKey, ...]
    evidence: BlobRef


# ---------------------------------------------------------------------------------------------------------- worker
class WorkerRegistered(Event, frozen=True):
    worker: PartyKey
    platform: Platform
    cores: Count
    memory_mb: Megabytes
    jax_version: Version


class CapabilityMeasured(Event, frozen=True):
    """Speed of the worker's device on the probe program, in floating-point operations and bytes a second."""

    worker: PartyKey
    flops_per_s: Count
    bytes_per_s: Count


class AskPlaced(Event, frozen=True):
    """What the worker takes for a task, at most ``slots`` of them at a time.

    Attributes:
        price_msat: The least for any task.
        tflop_msat, gb_msat: For 10^12 metered operations and for 10^9 metered bytes; see ``orders.price_msat``.
    """

    worker: PartyKey
    price_msat: PositiveMsat
    slots: Count
    memory_mb: Megabytes
    tflop_msat: Msat = 0
    gb_msat: Msat = 0


class AskWithdrawn(Event, frozen=True):
    worker: PartyKey


class WorkerPaused(Event, frozen=True):
    worker: PartyKey
    reason: PauseReason


class WorkerResumed(Event, frozen=True):
    worker: PartyKey


class WorkerRetired(Event, frozen=True):
    worker: PartyKey


# ----------------------------------------------------------------------------------------------------------- stake
class StakeDeposited(Event, frozen=True):
    worker: PartyKey
    amount_msat: PositiveMsat
    reference: Reference


class StakeSlashed(Event, frozen=True):
    """The worker lost stake for the result that a ruling on this task rejected."""

    worker: PartyKey
    job: JobId
    task: TaskIndex
    amount_msat: PositiveMsat


class StakeWithdrawn(Event, frozen=True):
    worker: PartyKey
    amount_msat: PositiveMsat


# ---------------------------------------------------------------------------------------------------------- escrow
class EscrowFunded(Event, frozen=True):
    escrow: EscrowId
    client: PartyKey
    amount_msat: PositiveMsat
    reference: Reference


class EscrowReserved(Event, frozen=True):
    """Free money now belongs to a job."""

    escrow: EscrowId
    job: JobId
    amount_msat: PositiveMsat


class EscrowReleased(Event, frozen=True):
    """A worker earned its price for one verified result."""

    escrow: EscrowId
    job: JobId
    task: TaskIndex
    replica: Replica
    worker: PartyKey
    amount_msat: PositiveMsat


class FeeCharged(Event, frozen=True):
    """The market earned its fee on a finished job's verified runs, or its price for handing out earlier results."""

    escrow: EscrowId
    job: JobId
    amount_msat: PositiveMsat


class EscrowFreed(Event, frozen=True):
    """What a finished job did not use is free again."""

    escrow: EscrowId
    job: JobId
    amount_msat: PositiveMsat


class EscrowRefunded(Event, frozen=True):
    """Free money went back to the client, out of the market."""

    escrow: EscrowId
    amount_msat: PositiveMsat


ProgramEvent: TypeAlias = ProgramAdmitted
JobEvent: TypeAlias = JobPosted | JobReused | JobCompleted | JobCancelled | JobExpired
AssignmentEnded: TypeAlias = AssignmentExpired | AssignmentReturned | AssignmentFailed
TaskEvent: TypeAlias = (
    TaskAssigned
    | AssignmentEnded
    | ResultCommitted
    | ResultSubmitted
    | ResultVerified
    | ResultRejected
    | TaskFailed
    | ReplicasWithdrawn
)
DisputeEvent: TypeAlias = DisputeOpened | DisputeRuled
WorkerEvent: TypeAlias = (
    WorkerRegistered | CapabilityMeasured | AskPlaced | AskWithdrawn | WorkerPaused | WorkerResumed | WorkerRetired
)
StakeEvent: TypeAlias = StakeDeposited | StakeSlashed | StakeWithdrawn
EscrowEvent: TypeAlias = EscrowFunded | EscrowReserved | EscrowReleased | FeeCharged | EscrowFreed | EscrowRefunded
MarketEvent: TypeAlias = RoleGranted | RoleRevoked | FeeSet
AnyEvent: TypeAlias = (
    ProgramEvent | JobEvent | TaskEvent | DisputeEvent | WorkerEvent | StakeEvent | EscrowEvent | MarketEvent
)
