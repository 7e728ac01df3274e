"""Who did it could do it."""

from collections.abc import Callable, Mapping
from typing import Any

from domain.events import (
    AskPlaced,
    AskWithdrawn,
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    CapabilityMeasured,
    DisputeRuled,
    EscrowFunded,
    EscrowRefunded,
    FeeSet,
    JobCancelled,
    JobExpired,
    JobPosted,
    JobReused,
    ProgramAdmitted,
    ResultCommitted,
    ResultSubmitted,
    Role,
    RoleGranted,
    RoleRevoked,
    StakeDeposited,
    StakeWithdrawn,
    WorkerPaused,
    WorkerRegistered,
    WorkerResumed,
    WorkerRetired,
)
from domain.ids import escrow_id
from services.audit.invariant import Broken, Check, Invariant, each
from services.ledger.codec import decode_meta
from services.ports import Stored

_OWN_WORK = (
    AskPlaced,
    AskWithdrawn,
    AssignmentFailed,
    AssignmentReturned,
    CapabilityMeasured,
    ResultCommitted,
    ResultSubmitted,
    StakeWithdrawn,
    WorkerRegistered,
    WorkerResumed,
    WorkerRetired,
)
_BY_ROLE: Mapping[type, Role] = {
    AssignmentExpired: "clock",
    EscrowFunded: "settlement",
    FeeSet: "operator",
    JobExpired: "clock",
    ProgramAdmitted: "inspector",
    StakeDeposited: "settlement",
}


class Actors(Invariant):
    """An event's actor is the party that it speaks of, or holds the role that it needs."""

    name = "actors"

    def __init__(self) -> None:
        self.roles: set[tuple[str, str]] = set()
        self.clients: dict[str, str] = {}

    def checks(self) -> Mapping[type, Check]:
        own_work = each(_OWN_WORK, self.work)
        by_role = {event: self._by(role) for event, role in _BY_ROLE.items()}
        return {
            **own_work,
            **by_role,
            DisputeRuled: self.rule,
            EscrowRefunded: self.refund,
            JobCancelled: self.own_job,
            JobPosted: self.post,
            JobReused: self.own_job,
            RoleGranted: self.grant,
            RoleRevoked: self.revoke,
            WorkerPaused: self.pause,
        }

    def work(self, event: Any, stored: Stored) -> None:
        if _actor(stored) != event.worker:
            raise Broken("the actor is not the worker")

    def pause(self, event: WorkerPaused, stored: Stored) -> None:
        if event.reason == "asked":
            self.work(event, stored)

    def post(self, event: JobPosted, stored: Stored) -> None:
        self.clients[event.job] = event.client
        if _actor(stored) != event.client:
            raise Broken("the actor is not the client")

    def own_job(self, event: JobCancelled | JobReused, stored: Stored) -> None:
        if _actor(stored) != self.clients.get(event.job):
            raise Broken("the actor is not the job's client")

    def refund(self, event: EscrowRefunded, stored: Stored) -> None:
        if escrow_id(_actor(stored)) != event.escrow:
            raise Broken("the actor does not own the escrow")

    def rule(self, event: DisputeRuled, stored: Stored) -> None:
        if _actor(stored) != event.referee:
            raise Broken("the actor is not the referee")
        self._need("referee", stored)

    def grant(self, event: RoleGranted, stored: Stored) -> None:
        if not self.roles:
            self.roles.add(("operator", _actor(stored)))
        self._need("operator", stored)
        self.roles.add((event.role, event.party))

    def revoke(self, event: RoleRevoked, stored: Stored) -> None:
        self._need("operator", stored)
        self.roles.discard((event.role, event.party))

    def _by(self, role: Role) -> Callable[[Any, Stored], None]:
        def check(event: Any, stored: Stored) -> None:
            self._need(role, stored)

        return check

    def _need(self, role: Role, stored: Stored) -> None:
        if (role, _actor(stored)) not in self.roles:
            raise Broken(f"the actor does not hold the role {role}")


def _actor(stored: Stored) -> str:
    return decode_meta(stored.meta, position=stored.position).actor
