"""What can go wrong, in two kinds: a party is told no, or the market itself is wrong.

Exception
├── Refused      the command cannot be done now; carries its facts, reads as a sentence with the next step
│   ├── Malformed, Unauthorised, Unsigned, Expired, Replayed       before any rule is asked
│   └── Unknown*, *TooSmall, Not*, Already* ...                    by a rule
└── Corrupt      a recorded fact contradicts the rules: a bug or tampering; stop
"""

from typing import Any, ClassVar


class Refused(Exception):
    """A command was refused and changed nothing.

    A subclass states its sentence in ``template``; the keyword arguments are its facts and stay attributes.
    """

    template: ClassVar[str] = "refused"

    def __init__(self, **facts: Any) -> None:
        super().__init__(self.template.format(**facts))
        self.facts = facts

    @property
    def name(self) -> str:
        """Stable name of the refusal, as clients of any language see it."""
        return type(self).__name__


class Corrupt(Exception):
    """The log, a read model or the program contradicts itself."""


class Malformed(Refused):
    template = "the command cannot be read: {reason}; see `pasar schema ls` for its form"


class Unsigned(Refused):
    template = "the signature does not belong to this command and key; sign the exact bytes that you send"


class Expired(Refused):
    template = "the command expired at {expires_at}; check the clock and send it again"


class TooFarAhead(Refused):
    template = "the command's expiry {expires_at} is more than {seconds} s ahead; sign it closer to sending"


class Replayed(Refused):
    template = "this nonce was used before; sign a new command with a fresh nonce"


class Unauthorised(Refused):
    template = "only {needed} may do this; sign with that party's key"


class Unavailable(Refused):
    template = "the market cannot record anything now ({reason}); nothing was changed, try again later"


class UnknownJob(Refused):
    template = "there is no job {job}; `pasar job list` shows those that exist"


class UnknownTask(Refused):
    template = "job {job} has no task {task}; its tasks are 0 to {last}"


class UnknownWorker(Refused):
    template = "worker {worker} is not registered; register it first"


class AlreadyRegistered(Refused):
    template = "worker {worker} is registered already; place an ask to change its terms"


class WorkerNotActive(Refused):
    template = "worker {worker} is {state} and takes no work; resume it first"


class StakeTooSmall(Refused):
    template = "the free stake is {free_msat} msat and {needed_msat} msat are needed; deposit the difference"


class EscrowTooSmall(Refused):
    template = "escrow {escrow} has {free_msat} msat free, {needed_msat} msat are needed; fund it with the difference"


class UnknownEscrow(Refused):
    template = "escrow {escrow} does not exist or is not yours; fund it first"


class TermEnding(Refused):
    template = (
        "the term of escrow {escrow} ends at height {expires_height} and the chain is at {height}; "
        "open a new term with `pasar escrow open`"
    )


class AlreadyCredited(Refused):
    template = "deposit {reference} was credited before"


class BadTerms(Refused):
    template = "the terms cannot be accepted: {field} is {value}, allowed is {allowed}"


class BlobMissing(Refused):
    template = "blob {address} is not in the store; put it there before you post"


class NotAdmitted(Refused):
    template = "program {program} was not inspected yet; ask the inspector to admit it, then post the job"


class OverBudget(Refused):
    template = "the job may cost {cost_msat} msat, fee included, and the budget is {budget_msat} msat; raise the budget"


class NotYourAssignment(Refused):
    template = "task {task} of job {job} is not assigned to {worker}; take work before you answer it"


class TooLate(Refused):
    template = "the assignment of task {task} of job {job} ended at {expires_at}; take new work"


class NotYetOver(Refused):
    template = "the assignment of task {task} of job {job} still has time"


class AlreadyCommitted(Refused):
    template = "task {task} of job {job} already has your commitment; submit the result that opens it"


class NotCommitted(Refused):
    template = "task {task} of job {job} has no commitment of yours; commit before you submit"


class NotYetRevealable(Refused):
    template = "the other replicas of task {task} of job {job} have not committed; wait for the reveal"


class DoesNotOpen(Refused):
    template = "the result of task {task} of job {job} does not open its commitment; submit what you committed to"


class AlreadySettled(Refused):
    template = "{what} is already settled"


class NoDispute(Refused):
    template = "task {task} of job {job} has no open dispute"


class BadRuling(Refused):
    template = "a ruling names each disputed worker exactly once; disputed are {disputed}"


class JobClosed(Refused):
    template = "job {job} is {state}; post a new one"
