"""Every domain event: the published language, in the words of the trade.

An event is stored and published under ``<Name>.v<version>``; a class that is replaced keeps its old name here and
gets an upcaster in ``services.ledger.codec``. Fields say what they may reveal: ``public``, ``pseudonym`` or
``commitment``. None holds free text, a plaintext digest, or anything that may have to be erased, because the log can
never forget.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from domain.bitcoin import Network
from domain.blobs import BlobRef
from domain.ids import (
    Address,
    At,
    BlockHeader,
    Count,
    Digest,
    Epoch,
    EscrowId,
    Height,
    JobId,
    Nonce,
    OutPoint,
    PartyKey,
    PublicKey,
    Reference,
    Replica,
    Script,
    TaskIndex,
    Txid,
    Version,
    Vout,
)
from domain.meter import Meter
from domain.money import Msat, PositiveMsat, Ppm, Sat

Role = Literal["operator", "referee", "settlement", "clock", "inspector"]
#: Whose money a script holds: a client's budget, a worker's stake, or what the market and the arbiter keep for others.
Account = Literal["escrow", "stake", "reserve"]
#: What a payout is: a worker's reward, a client's free money, or a worker's free stake.
Due = Literal["reward", "escrow", "stake"]
#: ``plan``: the arbiter's own plan is another. ``root``: its own log has another Merkle root.
Objection = Literal["plan", "root"]
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
    """Jobs posted from here on pay these shares of each price, in parts per million.

    Attributes:
        fee_ppm: The market's own.
        chain_ppm: Set aside for those who mine the payouts.
    """

    fee_ppm: Ppm
    chain_ppm: Ppm = 0


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
        chain_msat: What is set aside of it for those who mine the payouts.
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
    chain_msat: Msat = 0


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
class StakeOpened(Event, frozen=True):
    """The worker has a script for its stake and for its pay; a later one is a new term, to which the money moves.

    The script is that of ``EscrowOpened``, its release key the worker's.

    Attributes:
        payout_script: Where it is paid, and gets its stake back.
    """

    worker: PartyKey
    release_key: PublicKey
    refund_key: PublicKey
    market_key: PublicKey
    arbiter_key: PublicKey
    expires_height: Height
    payout_script: Script


class StakeDeposited(Event, frozen=True):
    """Attributes:
    reference: Its name outside: the transaction's id where it was paid on the chain, then with the output's number
        ``vout``, the ``height`` of its block, and the term, from 0, whose script it was paid to.
    """

    worker: PartyKey
    amount_msat: PositiveMsat
    reference: Reference
    vout: Vout | None = None
    height: Height | None = None
    term: Count | None = None


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
class EscrowOpened(Event, frozen=True):
    """The client has a script to put money in; a later one is a new term, to which the money moves.

    Two of client, market and arbiter can spend it, and from ``expires_height`` on the client alone:
    ``wsh(or_d(multi(2,release,market,arbiter),and_v(v:pk(refund),after(expires_height))))``.

    Attributes:
        refund_script: Where free money is paid back to.
    """

    escrow: EscrowId
    client: PartyKey
    release_key: PublicKey
    refund_key: PublicKey
    market_key: PublicKey
    arbiter_key: PublicKey
    expires_height: Height
    refund_script: Script


class EscrowFunded(Event, frozen=True):
    """Attributes:
    reference: Its name outside: the transaction's id where it was paid on the chain, then with the output's number
        ``vout``, the ``height`` of its block, and the term, from 0, whose script it was paid to.
    """

    escrow: EscrowId
    client: PartyKey
    amount_msat: PositiveMsat
    reference: Reference
    vout: Vout | None = None
    height: Height | None = None
    term: Count | None = None


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
    """The market earned its fee on a finished job's verified runs, or its price for handing out earlier results.

    Attributes:
        amount_msat: All of it. chain_msat: The part that is kept for those who mine the payouts.
    """

    escrow: EscrowId
    job: JobId
    amount_msat: PositiveMsat
    chain_msat: Msat = 0


class EscrowFreed(Event, frozen=True):
    """What a finished job did not use is free again."""

    escrow: EscrowId
    job: JobId
    amount_msat: PositiveMsat


class EscrowRefunded(Event, frozen=True):
    """Free money went back to the client, out of the market."""

    escrow: EscrowId
    amount_msat: PositiveMsat


# ------------------------------------------------------------------------------------------------------- settlement
class ChainJoined(Event, frozen=True):
    """The market settles on this chain, from this block on, with these keys.

    Attributes:
        confirmations: Blocks, its own included, after which a transaction counts.
        arbiter: The party that signs a payout as well, once it has found the same.
        market_script: Where the market's fees are paid.
    """

    network: Network
    height: Height
    block: Txid
    confirmations: Height
    arbiter: PartyKey
    market_key: PublicKey
    arbiter_key: PublicKey
    market_script: Script


class ChainAdvanced(Event, frozen=True):
    """The best chain that settlement sees ends with this block."""

    height: Height
    block: Txid


class ChainReorganised(Event, frozen=True):
    """Blocks above this one are no longer in the best chain; what they held is undone by the events that follow."""

    height: Height
    block: Txid


class DepositReorged(Event, frozen=True):
    """A deposit that was counted is no longer in the best chain: as much of the account can not be spent."""

    account: Account
    owner: PartyKey
    outpoint: OutPoint
    amount_msat: PositiveMsat


class DepositRestored(Event, frozen=True):
    """The output is there again: its transaction came back, or the one that took it left the chain."""

    account: Account
    owner: PartyKey
    outpoint: OutPoint
    amount_msat: PositiveMsat
    height: Height


class CoinTaken(Event, frozen=True):
    """An output was spent without the market: by its owner after the term, or by two of the account's other keys.

    Attributes:
        txid, height: The transaction that spent it, and its block's height.
    """

    account: Account
    owner: PartyKey
    outpoint: OutPoint
    amount_msat: PositiveMsat
    txid: Txid
    height: Height | None = None


class Coin(Struct, frozen=True):
    """An unspent output of an account."""

    outpoint: OutPoint
    value_sat: Sat


class Drawn(Struct, frozen=True):
    """What a payout takes out of one account.

    Attributes:
        coins: All of them are spent.
        due_sat: What goes to the account's own owner. pool_sat: What goes to workers, market, miners and reserve.
        change_sat: What stays; an output to ``script``, none if it is 0.
    """

    account: Account
    owner: PartyKey
    coins: tuple[Coin, ...]
    due_sat: Sat
    pool_sat: Sat
    change_sat: Sat
    script: Script


class PayoutPlanned(Event, frozen=True):
    """One transaction that pays whom ``PayoutAllotted`` names, and commits to the log.

    Its inputs are the coins of ``drawn`` in their order; its outputs the allotments by amount and script, the market's,
    the anchor's OP_RETURN, the reserve's, and the changes in the order of ``drawn``. It is signed once for each of
    ``fees_sat``, and one of them can confirm; a cheaper one leaves the rest of the dearest fee in the first change, or
    with those who bear it.

    Attributes:
        rate_msat: Fee for a virtual byte, at the first rung.
        fees_sat: Of the transaction at each rung.
        fund_sat: Of the dearest fee, what the market's fund for miners bears.
        reserve_sat, reserve_script: What is kept for those whose reward is too small to be paid.
        size, root: The log's first events and their Merkle root.
        receipts: Merkle root over what each job's workers are paid by it.
        previous: The anchor before this one; zeros if it is the first.
        anchor: What the OP_RETURN says, a tagged hash over all that.
    """

    epoch: Epoch
    height: Height
    rate_msat: Msat
    fees_sat: tuple[Sat, ...]
    fund_sat: Sat
    drawn: tuple[Drawn, ...]
    market_sat: Sat
    market_script: Script
    reserve_sat: Sat
    reserve_script: Script
    size: Count
    root: Digest
    receipts: Digest
    previous: Digest
    anchor: Digest


class Paid(Struct, frozen=True):
    """What a worker is paid of what it earned with one job."""

    job: JobId
    amount_msat: PositiveMsat


class PayoutAllotted(Event, frozen=True):
    """One output of a payout.

    Attributes:
        amount_sat: What is taken from what the owner has due.
        borne_vb: Virtual bytes whose fee is taken out of it; none of a reward.
        paid: Of a reward: the work that it is for, what was earned first first.
    """

    epoch: Epoch
    due: Due
    owner: PartyKey
    amount_sat: Sat
    borne_vb: Count
    script: Script
    paid: tuple[Paid, ...] = ()


class PayoutContested(Event, frozen=True):
    """The arbiter does not sign."""

    epoch: Epoch
    objection: Objection


class PayoutBroadcast(Event, frozen=True):
    """The signed transaction goes to the network from here on; again at a dearer rung where that was not enough."""

    epoch: Epoch
    txid: Txid
    fee_sat: Sat


class PayoutConfirmed(Event, frozen=True):
    """The transaction is in the best chain, as deep as it takes.

    Attributes:
        header: Of its block. index, branch: Its place there, and the hashes that lead from it to the header's root.
    """

    epoch: Epoch
    txid: Txid
    fee_sat: Sat
    height: Height
    block: Txid
    header: BlockHeader
    index: Count
    branch: tuple[Digest, ...]


class LogAnchored(Event, frozen=True):
    """The log's first ``size`` events are bound into a block."""

    epoch: Epoch
    size: Count
    root: Digest
    anchor: Digest
    txid: Txid
    height: Height


class PayoutReorged(Event, frozen=True):
    """The transaction is no longer in the best chain; it is sent again."""

    epoch: Epoch
    txid: Txid


class PayoutAbandoned(Event, frozen=True):
    """It will never confirm, because an output that it spends is gone or the arbiter did not sign: all is due again."""

    epoch: Epoch


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
StakeEvent: TypeAlias = StakeOpened | StakeDeposited | StakeSlashed | StakeWithdrawn
EscrowEvent: TypeAlias = (
    EscrowOpened | EscrowFunded | EscrowReserved | EscrowReleased | FeeCharged | EscrowFreed | EscrowRefunded
)
MarketEvent: TypeAlias = RoleGranted | RoleRevoked | FeeSet
#: What happened to outputs of the market's accounts, in the chain's stream.
CoinEvent: TypeAlias = DepositReorged | DepositRestored | CoinTaken
ChainEvent: TypeAlias = ChainJoined | ChainAdvanced | ChainReorganised
PayoutEvent: TypeAlias = (
    PayoutPlanned
    | PayoutAllotted
    | PayoutContested
    | PayoutBroadcast
    | PayoutConfirmed
    | LogAnchored
    | PayoutReorged
    | PayoutAbandoned
)
AnyEvent: TypeAlias = (
    ProgramEvent
    | JobEvent
    | TaskEvent
    | DisputeEvent
    | WorkerEvent
    | StakeEvent
    | EscrowEvent
    | MarketEvent
    | CoinEvent
    | ChainEvent
    | PayoutEvent
)
