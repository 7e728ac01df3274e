"""One worker: what it is, what it asks, and whether it takes work.

None    -- WorkerRegistered --> ACTIVE
ACTIVE  -- WorkerPaused     --> PAUSED   (by its own wish, or because a referee rejected its result)
PAUSED  -- WorkerResumed    --> ACTIVE
ACTIVE, PAUSED -- WorkerRetired --> RETIRED (terminal)
"""

from enum import StrEnum
from typing import Annotated, assert_never

from msgspec import Meta, Struct
from msgspec.structs import replace

from domain import errors
from domain.events import (
    AskPlaced,
    AskWithdrawn,
    CapabilityMeasured,
    Megabytes,
    Platform,
    WorkerEvent,
    WorkerPaused,
    WorkerRegistered,
    WorkerResumed,
    WorkerRetired,
)
from domain.ids import Count, Version
from domain.money import Msat, PositiveMsat

#: The most tasks that one worker may hold.
SLOTS_MAX = 1024
#: The most tasks that one lease hands over.
LEASE_MAX = 64


class RegisterWorker(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    platform: Platform
    cores: Annotated[int, Meta(ge=1, le=65_536)]
    memory_mb: Megabytes
    jax_version: Version


class MeasureCapability(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The worker's own measurement on the probe program."""

    flops_per_s: Count
    bytes_per_s: Count


class PlaceAsk(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Offer to run tasks at these prices; it replaces the ask before it. The fields are those of ``AskPlaced``."""

    price_msat: PositiveMsat
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)]
    memory_mb: Megabytes
    tflop_msat: Msat = 0
    gb_msat: Msat = 0


class WithdrawAsk(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    pass


class PauseWorker(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    pass


class ResumeWorker(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    pass


class RetireWorker(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    pass


Command = RegisterWorker | MeasureCapability | PlaceAsk | WithdrawAsk | PauseWorker | ResumeWorker | RetireWorker


class State(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    RETIRED = "retired"


class Worker(Struct, frozen=True):
    key: str
    platform: Platform
    memory_mb: int
    jax_version: str
    state: State = State.ACTIVE
    ask: AskPlaced | None = None
    version: int = 1


def decide(worker: Worker | None, command: Command, key: str) -> tuple[WorkerEvent, ...]:
    """What happens on a command of the worker ``key``.

    Raises:
        AlreadyRegistered, UnknownWorker, WorkerNotActive: The command does not fit the worker's state.
    """
    if isinstance(command, RegisterWorker):
        if worker is not None:
            raise errors.AlreadyRegistered(worker=key)
        registered = WorkerRegistered(key, command.platform, command.cores, command.memory_mb, command.jax_version)
        return (registered,)
    if worker is None:
        raise errors.UnknownWorker(worker=key)
    if worker.state is State.RETIRED:
        raise errors.WorkerNotActive(worker=key, state=worker.state)
    match command:
        case MeasureCapability():
            return (CapabilityMeasured(key, command.flops_per_s, command.bytes_per_s),)
        case PlaceAsk():
            placed = AskPlaced(
                key, command.price_msat, command.slots, command.memory_mb, command.tflop_msat, command.gb_msat
            )
            return (placed,) if placed != worker.ask else ()
        case WithdrawAsk():
            return (AskWithdrawn(key),) if worker.ask is not None else ()
        case PauseWorker():
            return (WorkerPaused(key, "asked"),) if worker.state is State.ACTIVE else ()
        case ResumeWorker():
            return (WorkerResumed(key),) if worker.state is State.PAUSED else ()
        case RetireWorker():
            return (WorkerRetired(key),)
        case _:
            assert_never(command)


def evolve(worker: Worker | None, event: WorkerEvent) -> Worker:
    """The worker after ``event``."""
    if isinstance(event, WorkerRegistered):
        return Worker(event.worker, event.platform, event.memory_mb, event.jax_version)
    assert worker is not None, "a worker's stream opens with WorkerRegistered"
    version = worker.version + 1
    match event:
        case CapabilityMeasured():
            return replace(worker, version=version)
        case AskPlaced():
            return replace(worker, ask=event, version=version)
        case AskWithdrawn():
            return replace(worker, ask=None, version=version)
        case WorkerPaused():
            return replace(worker, state=State.PAUSED, version=version)
        case WorkerResumed():
            return replace(worker, state=State.ACTIVE, version=version)
        case WorkerRetired():
            return replace(worker, state=State.RETIRED, ask=None, version=version)
        case _:
            assert_never(event)
