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
    ChainAdvanced,
    ChainJoined,
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    DisputeRuled,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    FeeSet,
    JobCancelled,
    JobExpired,
    JobPosted,
    JobReused,
    LogAnchored,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutPlanned,
    PayoutReorged,
    ProgramAdmitted,
    ResultCommitted,
    ResultSubmitted,
    Role,
    RoleGranted,
    RoleRevoked,
    StakeDeposited,
    StakeOpened,
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
    StakeOpened,
    WorkerRegistered,
    WorkerResumed,
    WorkerRetired,
)
_CHAIN = (ChainAdvanced, ChainReorganised, DepositReorged, DepositRestored, CoinTaken)
_PAYOUT = (
    PayoutPlanned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    LogAnchored,
    PayoutReorged,
    PayoutAbandoned,
)
_BY_ROLE: Mapping[type, Role] = {
    AssignmentExpired: "clock",
    **dict.fromkeys((*_CHAIN, *_PAYOUT), "settlement"),
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
        self.arbiter = ""

    def checks(self) -> Mapping[type, Check]:
        own_work = each(_OWN_WORK, self.work)
        by_role = {event: self._by(role) for event, role in _BY_ROLE.items()}
        return {
            **own_work,
            **by_role,
            ChainJoined: self.join,
            DisputeRuled: self.rule,
            EscrowOpened: self.open_escrow,
            EscrowRefunded: self.refund,
            JobCancelled: self.own_job,
            JobPosted: self.post,
            JobReused: self.own_job,
            PayoutContested: self.contest,
            RoleGranted: self.grant,
            RoleRevoked: self.revoke,
            StakeWithdrawn: self.withdraw,
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
        """Free money goes back because its owner wants it, or because the account's term is ending."""
        if escrow_id(_actor(stored)) != event.escrow:
            self._need("settlement", stored)

    def withdraw(self, event: StakeWithdrawn, stored: Stored) -> None:
        if _actor(stored) != event.worker:
            self._need("settlement", stored)

    def open_escrow(self, event: EscrowOpened, stored: Stored) -> None:
        if _actor(stored) != event.client:
            raise Broken("the actor is not the client")

    def join(self, event: ChainJoined, stored: Stored) -> None:
        self._need("settlement", stored)
        self.arbiter = event.arbiter

    def contest(self, event: PayoutContested, stored: Stored) -> None:
        if _actor(stored) != self.arbiter:
            raise Broken("the actor is not the arbiter")

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
