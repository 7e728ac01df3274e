"""What a client is told: each error is a sentence with the next step, and carries its facts as attributes."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from domain import errors
from domain.deposits import deposit_sat
from domain.errors import Refused
from domain.quote import Reason
from services.bus.client import RefusedByMarket
from services.client.money import Amount
from services.client.words import count, in_sat
from services.programs.export import NotExportable
from services.programs.verdict import Inadmissible
from services.programs.verdict import Reason as Inadmissibility


class Told(Refused):
    """A refusal whose facts can be read as attributes."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self.__dict__.update(facts)


class EscrowTooSmall(Told, errors.EscrowTooSmall):
    """Attributes:
    needed_msat, free_msat: What the job may cost, fee included, and what the escrow has free.
    hint: The call that makes up for it.
    """

    template: ClassVar[str] = "the job needs {needed_msat} and {free_msat} are free in the escrow; {hint}"

    def __init__(self, needed_msat: int, free_msat: int) -> None:
        hint = f"fund it with m.fund(pasar.sats({deposit_sat(needed_msat - free_msat)}))"
        super().__init__(needed_msat=Amount(needed_msat), free_msat=Amount(free_msat), hint=hint)


class OverBudget(Told, errors.OverBudget):
    """Attributes:
    cost_msat, budget_msat: What it may cost, fee included, and what it was allowed to.
    """

    template: ClassVar[str] = "the job may cost {cost_msat}, fee included, and the budget is {budget_msat}; {hint}"

    def __init__(self, cost_msat: int, budget_msat: int) -> None:
        sats = -(-cost_msat // 1000)
        hint = f"raise it to budget=pasar.sats({sats}), or lower replicas="
        super().__init__(cost_msat=Amount(cost_msat), budget_msat=Amount(budget_msat), hint=hint)


class NobodyEligible(Told):
    """Attributes:
    reasons: Why the workers cannot run it, the most frequent reason first.
    eligible, needed: Workers that could, and different ones that the job needs.
    """

    template: ClassVar[str] = "{eligible} of {needed} needed could run it: {because}; {hint}"

    def __init__(self, reasons: Sequence[Reason], eligible: int, needed: int) -> None:
        because = in_sat("; ".join(map(str, reasons))) or "no more workers are known"
        super().__init__(
            reasons=tuple(reasons),
            eligible=count(eligible, "worker"),
            needed=needed,
            because=because,
            hint=_remedy(reasons),
        )
        self.eligible = eligible


class JobFailed(Told):
    """A task has no verified result.

    Attributes:
        reason: What ended it.
    """

    template: ClassVar[str] = "job {job} brought no result: {reason}; {hint}"

    def __init__(self, job: str, reason: str, hint: str = "what it did not use is free again in your escrow") -> None:
        super().__init__(job=job, reason=reason, hint=hint)


class ResultRejected(JobFailed):
    """A referee's replay contradicts what workers returned, and nobody returned the right result in time."""


class ResultLost(JobFailed):
    """The result was verified, and its bytes cannot be fetched any more."""


class ResultUnfit(JobFailed):
    """The result was verified, and does not have the form that the program returns."""


class ConnectionLost(Refused):
    template: ClassVar[str] = (
        "the connection to the market ended ({reason}); jobs go on without it: open the market again with "
        "pasar.connect() and find them with m.job_by_id(...)"
    )


class NoAnswer(Refused):
    template: ClassVar[str] = (
        "the market does not answer ({reason}); see `pasar status`, and look at m.jobs() whether it was done"
    )


class NotAnArgument(NotExportable):
    template: ClassVar[str] = (
        "{where} is a {kind} and not an array or a number; name its argument in static_argnames=, or close over it"
    )


class NotMapped(NotExportable):
    template: ClassVar[str] = "{where} cannot be mapped: {reason}"


#: What would let the most frequent kind of worker in.
_REMEDIES = {
    "asks_nothing": "start one with `pasar worker run`, or wait for one",
    "platform": "name other platforms=",
    "memory": "lower memory_mb=, or pass smaller arrays",
    "stake": "lower stake=",
    "price": "raise price=",
}


def _remedy(reasons: Sequence[Reason]) -> str:
    return _REMEDIES[reasons[0].hindrance] if reasons else "start one with `pasar worker run`"


_INADMISSIBLE = re.compile(r"the program is not admitted \((\w+)\): (.*)", re.DOTALL)


def told(refused: RefusedByMarket, *, needed_msat: int = 0, free_msat: int = 0) -> Refused:
    """The market's refusal as the error of its name, where it has one here.

    Args:
        needed_msat, free_msat: What the job may cost and what its escrow has.
    """
    if refused.name in (errors.EscrowTooSmall.__name__, errors.UnknownEscrow.__name__):
        return EscrowTooSmall(needed_msat, free_msat)
    if refused.name == Inadmissible.__name__ and (found := _INADMISSIBLE.fullmatch(str(refused))):
        reason: Inadmissibility = found[1]  # type: ignore[assignment]  # the inspector says no other
        return Inadmissible(reason, found[2])
    return refused


__all__ = [
    "ConnectionLost", "EscrowTooSmall", "Inadmissible", "JobFailed", "NoAnswer", "NobodyEligible", "NotAnArgument",
    "NotExportable", "NotMapped", "OverBudget", "RefusedByMarket", "Refused", "ResultLost", "ResultRejected",
    "ResultUnfit", "told",
]  # fmt: skip
