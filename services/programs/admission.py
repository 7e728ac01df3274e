"""Whether a stranger's program may run here at all, and what one run of it takes: a pure function of its bytes."""

from typing import Final, Literal

from msgspec import Struct

from domain.errors import Refused
from domain.events import Platform
from domain.meter import Meter

Reason = Literal[
    "unreadable",
    "too_large",
    "effects",
    "callback",
    "collective",
    "io",
    "custom_call",
    "composite",
    "operation",
    "rng",
    "dtype",
    "dynamic_shape",
    "unbounded_loop",
    "constants",
    "inputs",
    "outputs",
    "memory",
    "work",
    "devices",
    "safety_checks",
    "platform",
    "recursion",
    # by the process that looks, where looking goes wrong
    "timeout",
    "crash",
]


class Inadmissible(Refused):
    """A program that no worker runs. Attributes: ``reason``, a stable code; ``detail``, what to change."""

    template = "the program is not admitted ({reason}): {detail}"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason=reason, detail=detail)
        self.reason: Reason = reason
        self.detail = detail

    @property
    def lasting(self) -> bool:
        """Whether the same bytes would be refused again: not what a machine ran out of this time."""
        return self.reason not in ("timeout", "memory", "crash")


class AdmissionLimits(Struct, frozen=True):
    """What a program may take at most; a count above one is refused under the reason of its name."""

    program_bytes: int = 8 << 20


DEFAULT: Final = AdmissionLimits()


class Inspection(Struct, frozen=True):
    """What a program is.

    Attributes:
        identity: 64 hex digits, equal for equal programs; see ``canonical``.
        meter: What one run takes.
        platforms: Where it can run.
        jax_version: Of the exporter, as the program itself says; empty if it does not.
    """

    identity: str
    meter: Meter
    platforms: tuple[Platform, ...]
    jax_version: str


def inspect(program: bytes, limits: AdmissionLimits = DEFAULT) -> Inspection:
    """Admit a program, from its bytes alone; the same bytes give the same answer everywhere.

    Raises:
        Inadmissible: It may not run, for the reason named.
    """
    raise NotImplementedError
