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
            chain = f", {event.chain_ppm / 10_000:g} % more are kept for miners" if event.chain_ppm else ""
            return f"the market's fee is {event.fee_ppm / 10_000:g} % of a price{chain}"
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
            return f"{sat(event.amount_msat)} of escrow {_id(event.escrow)} go back to its client"
        case e.EscrowOpened() | e.StakeOpened() | e.DepositReorged() | e.DepositRestored() | e.CoinTaken():
            return _said_of_account(event)
        case e.ChainJoined():
            return f"the market settles on {event.network} from block {event.height:,} on"
        case e.ChainAdvanced():
            return f"the chain has reached block {event.height:,}"
        case e.ChainReorganised():
            return f"the chain above block {event.height:,} was replaced by another"
        case _:
            return _said_of_payout(event)


def _said_of_account(event: "e.EscrowOpened | e.StakeOpened | e.CoinEvent") -> str:
    match event:
        case e.EscrowOpened():
            return f"{short(event.client)} opened an escrow whose term ends at block {event.expires_height:,}"
        case e.StakeOpened():
            return f"{short(event.worker)} opened an account for stake and pay until block {event.expires_height:,}"
        case e.DepositReorged():
            return f"a deposit of {sat(event.amount_msat)} by {short(event.owner)} left the chain"
        case e.DepositRestored():
            return f"the deposit of {sat(event.amount_msat)} by {short(event.owner)} is in the chain again"
        case e.CoinTaken():
            return f"{sat(event.amount_msat)} of {short(event.owner)}'s {event.account} were spent without the market"
    assert_never(event)


def _said_of_payout(event: "e.PayoutEvent") -> str:
    match event:
        case e.PayoutPlanned():
            return f"payout {event.epoch} was planned, for a fee of {event.fees_sat[0]:,} sat"
        case e.PayoutAllotted():
            what = {"reward": "for work", "escrow": "of free escrow", "stake": "of stake"}[event.due]
            return f"payout {event.epoch} gives {short(event.owner)} {event.amount_sat:,} sat {what}"
        case e.PayoutContested():
            return f"the arbiter does not sign payout {event.epoch}: its {event.objection} is another"
        case e.PayoutBroadcast():
            return f"payout {event.epoch} was sent as transaction {short(event.txid)}"
        case e.PayoutConfirmed():
            return f"payout {event.epoch} is in block {event.height:,} as transaction {short(event.txid)}"
        case e.LogAnchored():
            return f"the first {event.size:,} events are bound into block {event.height:,}"
        case e.PayoutReorged():
            return f"payout {event.epoch} left the chain with its block, and is sent again"
        case e.PayoutAbandoned():
            return f"payout {event.epoch} can never confirm: what it would have paid is due again"
    assert_never(event)


def _id(id_: str) -> str:
    return id_[:8]


def _run(event: "e.TaskEvent | e.EscrowReleased") -> str:
    replica = getattr(event, "replica", 0)
    run = f"task {event.task} of job {_id(event.job)}"
    return f"{run}, run {replica + 1}" if replica else run
