"""Who holds what, who is bound to what, who is paid and who is punished."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from domain.blobs import result_commitment
from domain.events import (
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    DisputeRuled,
    EscrowReleased,
    JobCompleted,
    JobPosted,
    ResultCommitted,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    RoleGranted,
    RoleRevoked,
    StakeSlashed,
    TaskAssigned,
)
from services.audit.invariant import Broken, Check, Invariant, each, need
from services.ports import Stored


class PaidForVerified(Invariant):
    """Whoever is paid has a verified result, and is paid once; whoever has one is paid before the job ends."""

    name = "paid_for_verified"

    def __init__(self) -> None:
        self.earned: set[tuple[str, int, int, str]] = set()
        self.paid: set[tuple[str, int, str]] = set()
        self.owed: Counter[str] = Counter()

    def checks(self) -> Mapping[type, Check]:
        return {ResultVerified: self.earn, EscrowReleased: self.pay, JobCompleted: self.complete}

    def earn(self, event: ResultVerified, stored: Stored) -> None:
        self.earned.add((event.job, event.task, event.replica, event.worker))
        self.owed[event.job] += 1

    def pay(self, event: EscrowReleased, stored: Stored) -> None:
        key = (event.job, event.task, event.replica, event.worker)
        if key not in self.earned:
            raise Broken("money is released without a verified result of this worker")
        self.earned.remove(key)
        self.owed[event.job] -= 1
        once = (event.job, event.task, event.worker)
        if once in self.paid:
            raise Broken("the worker was paid for this task before")
        self.paid.add(once)

    def complete(self, event: JobCompleted, stored: Stored) -> None:
        need(not self.owed[event.job], f"{self.owed[event.job]} verified results of the job were not paid")


class BoundBeforeShown(Invariant):
    """A verdict is on a submitted result, and that opens what the same worker had committed to."""

    name = "bound_before_shown"

    def __init__(self) -> None:
        self.committed: dict[tuple[str, int, int], tuple[str, str]] = {}
        self.submitted: dict[tuple[str, int, int], str] = {}

    def checks(self) -> Mapping[type, Check]:
        judged = each((ResultVerified, ResultRejected), self.judge)
        ended = each((AssignmentExpired, AssignmentReturned, AssignmentFailed), self.end)
        return {ResultCommitted: self.commit, ResultSubmitted: self.submit, **judged, **ended}

    def commit(self, event: ResultCommitted, stored: Stored) -> None:
        key = (event.job, event.task, event.replica)
        if key in self.committed or key in self.submitted:
            raise Broken("the replica has a commitment already")
        self.committed[key] = (event.worker, event.commitment)

    def submit(self, event: ResultSubmitted, stored: Stored) -> None:
        key = (event.job, event.task, event.replica)
        bound = result_commitment(event.worker, event.job, event.task, event.nonce, event.result, event.equality)
        if self.committed.pop(key, None) != (event.worker, bound):
            raise Broken("the result does not open an earlier commitment of its worker")
        self.submitted[key] = event.worker

    def judge(self, event: ResultVerified | ResultRejected, stored: Stored) -> None:
        if self.submitted.pop((event.job, event.task, event.replica), None) != event.worker:
            raise Broken("the verdict is on a result that its worker did not submit")

    def end(self, event: Any, stored: Stored) -> None:
        self.committed.pop((event.job, event.task, event.replica), None)


class SlashedByRuling(Invariant):
    """Whoever is rejected or slashed was named by a ruling of a party that was a referee then."""

    name = "slashed_by_ruling"

    def __init__(self) -> None:
        self.referees: set[str] = set()
        self.stakes: dict[str, int] = {}
        self.named: set[tuple[str, int, str]] = set()
        self.upheld: set[tuple[str, int, str]] = set()
        self.rejected: set[tuple[str, int, str]] = set()

    def checks(self) -> Mapping[type, Check]:
        return {
            JobPosted: self.post,
            RoleGranted: self.grant,
            RoleRevoked: self.revoke,
            DisputeRuled: self.rule,
            ResultVerified: self.verify,
            ResultRejected: self.reject,
            StakeSlashed: self.slash,
        }

    def post(self, event: JobPosted, stored: Stored) -> None:
        self.stakes[event.job] = event.stake_msat

    def grant(self, event: RoleGranted, stored: Stored) -> None:
        if event.role == "referee":
            self.referees.add(event.party)

    def revoke(self, event: RoleRevoked, stored: Stored) -> None:
        if event.role == "referee":
            self.referees.discard(event.party)

    def rule(self, event: DisputeRuled, stored: Stored) -> None:
        need(event.referee in self.referees, "the ruling is by a party that was no referee then")
        self.named |= {(event.job, event.task, worker) for worker in event.rejected}
        self.upheld |= {(event.job, event.task, worker) for worker in event.upheld}

    def verify(self, event: ResultVerified, stored: Stored) -> None:
        if event.method == "replayed" and (event.job, event.task, event.worker) not in self.upheld:
            raise Broken("the result is verified by a replay that upheld none such")

    def reject(self, event: ResultRejected, stored: Stored) -> None:
        key = (event.job, event.task, event.worker)
        need(key in self.named, "no ruling rejects this worker's result")
        self.named.remove(key)
        self.rejected.add(key)

    def slash(self, event: StakeSlashed, stored: Stored) -> None:
        key = (event.job, event.task, event.worker)
        need(key in self.rejected, "stake is slashed without a ruling that rejects this worker's result")
        self.rejected.remove(key)
        stake_msat = self.stakes.get(event.job)
        need(event.amount_msat == stake_msat, f"the job's stake is {stake_msat} msat")


class OneHolder(Invariant):
    """A replica is one worker's at a time, a worker has a task once, and nobody rules on its own work."""

    name = "one_holder"

    def __init__(self) -> None:
        self.terms: dict[str, JobPosted] = {}
        self.holder: dict[tuple[str, int, int], str] = {}
        #: Whether a worker that was given the task may be given it again.
        self.again: dict[tuple[str, int, str], bool] = {}

    def checks(self) -> Mapping[type, Check]:
        freed = each((AssignmentExpired, AssignmentReturned), self.free)
        lost = each((AssignmentFailed, ResultRejected), self.lose)
        held = each((ResultCommitted, ResultSubmitted, ResultVerified), self.hold)
        return {JobPosted: self.post, TaskAssigned: self.assign, DisputeRuled: self.rule, **freed, **lost, **held}

    def post(self, event: JobPosted, stored: Stored) -> None:
        need(event.job not in self.terms, "the job was posted before")
        self.terms[event.job] = event

    def assign(self, event: TaskAssigned, stored: Stored) -> None:
        terms = self.terms.get(event.job)
        if terms is None or event.task >= terms.tasks or event.replica >= terms.replicas:
            raise Broken("the job has no such replica")
        slot, mine = (event.job, event.task, event.replica), (event.job, event.task, event.worker)
        if slot in self.holder:
            raise Broken(f"the replica is held by {self.holder[slot]}")
        if not self.again.get(mine, True):
            raise Broken("the worker has, had or failed this task already")
        self.holder[slot] = event.worker
        self.again[mine] = False

    def hold(self, event: Any, stored: Stored) -> None:
        if self.holder.get((event.job, event.task, event.replica)) != event.worker:
            raise Broken("the worker does not hold this replica")

    def free(self, event: Any, stored: Stored) -> None:
        self.lose(event, stored)
        self.again[event.job, event.task, event.worker] = True

    def lose(self, event: Any, stored: Stored) -> None:
        self.hold(event, stored)
        del self.holder[event.job, event.task, event.replica]

    def rule(self, event: DisputeRuled, stored: Stored) -> None:
        need((event.job, event.task, event.referee) not in self.again, "the referee worked on the task itself")
