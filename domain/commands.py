"""What a party may ask of the market: the commands of no single stream, and all of them together.

The others stand with the state machine that decides them.
"""

from typing import NamedTuple

from msgspec import Struct

from domain import dispute, escrow, job, settlement, stake, task, worker
from domain.events import Platform, Role
from domain.ids import Address, Digest, JobId, PartyKey, TaskIndex, Version
from domain.meter import Meter
from domain.money import Ppm


class ExpireAssignment(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The clock says that this assignment's time is over."""

    job: JobId
    task: TaskIndex
    worker: PartyKey


class ExpireJob(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The clock says that this job's deadline has passed."""

    job: JobId


class GrantRole(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    role: Role
    party: PartyKey


class RevokeRole(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    role: Role
    party: PartyKey


class SetFee(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Shares of each price for jobs posted from here on; the fields are those of ``FeeSet``."""

    fee_ppm: Ppm
    chain_ppm: Ppm = 0


class AdmitProgram(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The inspector's finding; the fields are those of ``ProgramAdmitted``."""

    program: Address
    identity: Digest
    meter: Meter
    platforms: tuple[Platform, ...]
    jax_version: Version


#: What a party may send. Taking tasks or disputes is answered by the shell, which knows who waits.
Command = (
    job.PostJob
    | job.CancelJob
    | task.TakeTasks
    | task.CommitResult
    | task.SubmitResult
    | task.FailTask
    | task.ReturnTasks
    | dispute.TakeDisputes
    | dispute.RuleDispute
    | worker.Command
    | stake.WithdrawStake
    | escrow.RefundEscrow
    | settlement.Command
    | ExpireAssignment
    | ExpireJob
    | GrantRole
    | RevokeRole
    | SetFee
    | AdmitProgram
)


class Actor(NamedTuple):
    """Who sends a command, and which of its commands: ``nonce`` and ``item`` give new things their ids."""

    key: str
    nonce: str = ""
    item: int = 0
