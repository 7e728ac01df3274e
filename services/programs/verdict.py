"""What the inspection of a program ends in: an ``Inspection``, or ``Inadmissible`` with its reason. Loads no jax."""

from typing import Final, Literal

from msgspec import Struct

from domain.blobs import BLOB_BYTES_MAX
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
    "exhausted",
    "crash",
]


class Inadmissible(Refused):
    """A program that no worker runs.

    Attributes:
        reason: Stable code.
        detail: The offending part, and what to change.
    """

    template = "the program is not admitted ({reason}): {detail}"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason=reason, detail=detail)
        self.reason: Reason = reason
        self.detail = detail

    @property
    def lasting(self) -> bool:
        """Whether the same bytes would be refused again: not what a machine ran out of this time."""
        return self.reason not in ("timeout", "exhausted")


class AdmissionLimits(Struct, frozen=True, kw_only=True):
    """What a program may have or take at most.

    Attributes:
        program_bytes: Of the blob. constant_bytes: Of all its array constants; a repeated number counts once.
        input_bytes, output_bytes: Of one task; results of ``output_bytes`` leave a blob room for names.
        arrays: Inputs and outputs together, and the nodes of either tree.
        memory_bytes: As ``Meter.memory_bytes``.
        operations: In the text. visits: Operations looked at while counting; a function is looked at once for each
            combination of known whole numbers that it is called with.
        work: Each of the meter's ``flops``, ``transcendentals`` and ``bytes_moved``.
        depth: Calls and regions within one another.
    """

    program_bytes: int = 8 << 20
    constant_bytes: int = 4 << 20
    input_bytes: int = 2 * BLOB_BYTES_MAX
    output_bytes: int = BLOB_BYTES_MAX - (1 << 20)
    arrays: int = 4096
    memory_bytes: int = 1 << 40
    operations: int = 20_000
    visits: int = 100_000
    work: int = 10**18
    depth: int = 64


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
