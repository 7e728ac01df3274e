"""What a state means, as a sentence: what is, what happens next, and by when."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from domain.books import SAFETY_BLOCKS
from services.client.words import count, sat, until

if TYPE_CHECKING:
    from services.projections.queries import Job, Worker
    from services.projections.settled import Payout


def of_job(job: "Job", *, now: datetime | None = None) -> str:
    """How a job is."""
    now = now or datetime.now(UTC)
    progress = f"{job.verified:,} of {count(job.tasks, 'task')} verified"
    work = _in_work(job)
    match job.state:
        case "open" if now >= job.expires_at:
            return f"Its time is over: {progress}; the market is about to close it."
        case "open" if not job.assigned:
            return f"Offered: no worker has taken a task yet; it is offered until {until(job.expires_at, now=now)}."
        case "open":
            return f"Running: {progress}{work}; tasks are given out until {until(job.expires_at, now=now)}."
        case "cancelled":
            return f"Cancelled: {progress}{work}; no task is given out any more, what workers hold is taken and paid."
        case "expired":
            return f"Expired: {progress}{work}; no task is given out any more, what workers hold is taken and paid."
        case "completed" if job.original:
            return f"Completed: the same work was verified before as job {job.original}, {_money(job)}."
        case "completed" if not job.failed:
            return f"Completed: {progress}, {_money(job)}."
        case "completed":
            return f"Ended: {progress}, {job.failed} not; {_money(job)}."
    raise AssertionError(f"no sentence for a job that is {job.state}")


def _in_work(job: "Job") -> str:
    disputes = f", {count(job.disputes, 'dispute')} so far" if job.disputes else ""
    given_up = f", {job.given_up} given up" if job.given_up else ""
    return disputes + given_up


def _money(job: "Job") -> str:
    parts = [f"{sat(job.paid_msat)} earned by workers"]
    if job.charged_msat:
        parts.append(f"{sat(job.charged_msat)} to the market")
    if job.freed_msat:
        parts.append(f"{sat(job.freed_msat)} free again in the escrow")
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


#: By the state of a replica's latest attempt.
REPLICA: Final = {
    "assigned": "a worker runs it",
    "committed": "result bound, waits for the others",
    "submitted": "result shown, waits for the verdict",
    "verified": "verified",
    "rejected": "result rejected by a referee",
    "expired": "its worker ran out of time",
    "returned": "handed back by its worker",
    "failed": "its worker could not run it",
}
#: After these the replica is given to another worker, unless its task is closed.
AGAIN: Final = ("expired", "returned", "failed", "rejected")
#: By what a result was accepted.
METHODS: Final = {
    "opened": "as its worker had committed to it, nobody ran it again",
    "agreed": "replicas agree",
    "replayed": "a referee ran it again",
}
REASONS: Final = {
    "timeout": "it took too long",
    "memory": "it needed too much memory",
    "crash": "it crashed",
    "inadmissible": "the program cannot be run",
    "blob_missing": "its inputs could not be fetched",
    "nonfinite": "the result has values that are not finite",
}


class Run(Protocol):
    """One replica of a task, as a sentence needs it."""

    @property
    def state(self) -> str: ...
    @property
    def method(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def closed(self) -> bool: ...


def of_run(run: Run) -> str:
    """How one replica of a task is."""
    said = REPLICA[run.state]
    if run.state == "failed" and run.reason:
        said += f": {REASONS[run.reason]}"
    if run.state == "verified" and run.method:
        said += f": {METHODS[run.method]}"
    if run.state in AGAIN:
        said += "; given up" if run.closed else "; it is given out again"
    return said


def of_trouble(runs: Sequence[Run]) -> str:
    """Why replicas wait for another worker, the commonest reason first; nothing if none does."""
    waiting = Counter(
        REASONS.get(run.reason or "", REPLICA[run.state]) if run.state == "failed" else REPLICA[run.state]
        for run in runs
        if run.state in AGAIN and not run.closed
    )
    if not waiting:
        return ""
    reasons = ", ".join(f"{reason} ({number})" for reason, number in waiting.most_common())
    return f"{count(waiting.total(), 'run')} without result, waiting for another worker: {reasons}."


def of_worker(worker: "Worker") -> str:
    """How a worker is."""
    match worker.state:
        case "active" if not worker.asking:
            return "Registered, and asks for no work."
        case "active" if worker.open:
            return f"Active: {count(worker.open, 'task')} in hand, more from {sat(worker.ask_msat or 0)} a task."
        case "active":
            return f"Active: it takes tasks from {sat(worker.ask_msat or 0)} on while it runs."
        case "paused":
            return "Paused: it is given no work until `pasar worker resume`."
        case "retired":
            return "Retired: it will not work again."
    raise AssertionError(f"no sentence for a worker that is {worker.state}")


#: What the arbiter found else than the market.
OBJECTIONS: Final = {"plan": "by its own books the plan is another", "root": "its own log has another root"}


def of_payout(payout: "Payout", height: int) -> str:
    """How a payout is, and what happens next.

    Args:
        height: Of the last block.
    """
    match payout.state:
        case "planned":
            return "Planned: market and arbiter sign it next, each by its own books; then it is sent."
        case "contested":
            why = OBJECTIONS[payout.objection] if payout.objection else "it found something else"
            return f"Contested: the arbiter does not sign, because {why}; it is given up next, and all is due again."
        case "sent":
            again = f", at rung {payout.rung + 1} of {len(payout.fees_sat)}" if payout.rung else ""
            dearer = (
                "; a dearer rung replaces it if no block takes it" if payout.rung + 1 < len(payout.fees_sat) else ""
            )
            return f"Sent{again}: it waits for a block{dearer}."
        case "confirmed":
            deep = max(0, height - (payout.height or height) + 1)
            return f"Paid: in block {payout.height:,}, {count(deep, 'block')} deep."
        case "abandoned":
            why = "the arbiter did not sign it" if payout.objection else "an output that it spends is gone"
            return f"Given up: {why}, so it can never confirm; all that it would have paid is due again."
    raise AssertionError(f"no sentence for a payout that is {payout.state}")


def of_term(expires_height: int, height: int) -> str:
    """How long an account's script holds, and what comes then.

    Args:
        height: Of the last block.
    """
    left = expires_height - height
    if left <= 0:
        return f"Its term ended at block {expires_height:,}: its owner can take it back alone."
    ending = f"Its term ends at block {expires_height:,}, in {count(left, 'block')}"
    if left <= SAFETY_BLOCKS:
        return f"{ending}: nothing new relies on it, what is due is paid and the rest goes back to its owner."
    return f"{ending}; then its owner can take it back alone."


#: What money is worth on each network.
NETWORKS: Final = {
    "regtest": "play money: this chain is this machine's own",
    "signet": "test money: a public chain for tests, whose coins are worth nothing",
    "testnet4": "test money: a public chain for tests, whose coins are worth nothing",
    "main": "real money, on Bitcoin's own chain",
}
