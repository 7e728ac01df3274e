"""How far a log that somebody hands over can be folded into rows: up to the first event that makes no sense."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from domain.bitcoin import BadScript
from domain.errors import Corrupt
from domain.events import (
    AnyEvent,
    EscrowFunded,
    EscrowOpened,
    JobPosted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutPlanned,
    ProgramAdmitted,
    StakeDeposited,
    StakeOpened,
    TaskAssigned,
    WorkerRegistered,
)
from services.ledger.codec import EVENTS, decode_stored
from services.ports import Stored
from services.projections.settlement import script_of

#: The field by which an event brings something into being, and those by which others speak of it.
_MADE: Final = {
    JobPosted: "job",
    EscrowFunded: "escrow",
    EscrowOpened: "escrow",
    WorkerRegistered: "worker",
    ProgramAdmitted: "program",
}
_REFERENCES: Final = {
    kind: tuple(name for name in kind.__struct_fields__ if name in ("job", "original", "escrow", "worker"))
    for kind in EVENTS
}


class Sense:
    """What is known so far of what events may speak of.

    Attributes:
        tasks: Of all jobs together.
    """

    def __init__(self) -> None:
        self.tasks = 0
        self._known: set[str] = set()
        self._given: set[tuple[str, int, int]] = set()
        self._terms: dict[str, int] = {}
        self._fees: dict[int, tuple[int, ...]] = {}

    def makes(self, event: AnyEvent) -> bool:
        """Whether the event can be folded behind those before it; it is known from then on."""
        kind = type(event)
        made = _MADE.get(kind)
        if made is not None:
            self._known.add(getattr(event, made))
        if isinstance(event, JobPosted):
            self.tasks += event.tasks
            if event.program.address not in self._known:
                return False
        if "replica" in kind.__struct_fields__:
            run = attrgetter("job", "task", "replica")(event)
            if isinstance(event, TaskAssigned):
                self._given.add(run)
            if run not in self._given:
                return False
        return self._settles(event) and all(getattr(event, field) in self._known for field in _REFERENCES[kind])

    def _settles(self, event: AnyEvent) -> bool:
        """The same of what happens on the chain."""
        match event:
            case EscrowOpened() | StakeOpened():
                owner = event.client if isinstance(event, EscrowOpened) else event.worker
                self._terms[owner] = self._terms.get(owner, 0) + 1
                return _has_script(event)
            case EscrowFunded() | StakeDeposited() if event.vout is not None:
                owner = event.client if isinstance(event, EscrowFunded) else event.worker
                return event.term is not None and event.term < self._terms.get(owner, 0)
            case PayoutPlanned():
                new = event.epoch not in self._fees and bool(event.fees_sat)
                self._fees[event.epoch] = event.fees_sat
                return new
            case PayoutBroadcast() | PayoutConfirmed():
                return event.fee_sat in self._fees.get(event.epoch, ())
        return getattr(event, "epoch", None) in (None, *self._fees)


def _has_script(event: EscrowOpened | StakeOpened) -> bool:
    try:
        script_of(event)
    except BadScript:
        return False
    return True


def sound(events: Sequence[Stored], tasks_max: int) -> int | None:
    """The last event before the first one that cannot be read, or that speaks of what there is not.

    Returns:
        None: Its jobs have more tasks than can be held.
    """
    sense = Sense()
    for stored in events:
        try:
            event = decode_stored(stored)
        except Corrupt:
            return stored.position - 1
        if not sense.makes(event):
            return stored.position - 1
        if sense.tasks > tasks_max:
            return None
    return len(events)
