"""The market at one position, as every page reads it: now, as it was, or out of a file.

All that a view gives belongs to one position. What it raises is a ``Refused`` that says what to do.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Protocol

from msgspec import Struct

from domain.errors import Refused
from services.ports import Stored
from services.projections.queries import Escrow, Hit, Job, Program, Task, Worker
from services.viewing.settled import Settled


class NoSuchEvent(Refused):
    template: ClassVar[str] = "event {position} has not happened; the last one is {last}"


class Totals(Struct, frozen=True, kw_only=True):
    """What all of the market adds up to.

    Attributes:
        settled: Tasks with a verified result, those that were handed out again among them.
        open_jobs, open_tasks: What is on offer or in work; tasks that are neither verified nor given up.
        asking: Workers whose ask stands. slots: Tasks that they take at a time. busy: Tasks in workers' hands.
        asked_msat: The cheapest and the dearest least price of a task; absent while nobody asks.
        escrow_msat: In escrow, free or reserved. stake_msat: At stake.
    """

    jobs: int
    open_jobs: int
    tasks: int
    open_tasks: int
    settled: int
    rejected: int
    workers: int
    asking: int
    slots: int
    busy: int
    asked_msat: tuple[int, int] | None
    funded_msat: int
    free_msat: int
    reserved_msat: int
    paid_msat: int
    charged_msat: int
    refunded_msat: int
    deposited_msat: int
    slashed_msat: int
    withdrawn_msat: int
    stake_msat: int

    @property
    def escrow_msat(self) -> int:
        return self.free_msat + self.reserved_msat


class Facts(Protocol):
    """A log that can be asked by key."""

    def head(self) -> int:
        """The last position; 0 when the log is empty."""
        ...

    def page(self, after: int, limit: int) -> Sequence[Stored]:
        """Up to ``limit`` events behind a position, in order."""
        ...

    def of(self, key: str, after: int, limit: int) -> Sequence[Stored]:
        """The same, of those that speak of a job, a party, an escrow, a program or a name of an event."""
        ...

    def last_of(self, key: str, upto: int, limit: int) -> Sequence[Stored]:
        """The last events up to a position that speak of it, in order."""
        ...

    def root(self, size: int) -> bytes:
        """Merkle root of the first ``size`` events."""
        ...

    def inclusion(self, position: int, size: int) -> Sequence[bytes]:
        """Siblings that prove an event to be among the first ``size`` (RFC 9162, 2.1.3.1)."""
        ...


class View(Protocol):
    """Attributes:
    position: Of the last event that is shown; 0 before the first one.
    at: When that was recorded.
    live: Whether it moves on with the market.
    settled: The money on the chain.
    """

    @property
    def position(self) -> int: ...
    @property
    def at(self) -> datetime | None: ...
    @property
    def live(self) -> bool: ...
    @property
    def settled(self) -> Settled: ...

    def head(self) -> int:
        """The last position that there is to look at."""
        ...

    def totals(self) -> Totals: ...

    def jobs(self, limit: int = 100, state: str | None = None) -> Sequence[Job]:
        """The latest jobs, newest first."""
        ...

    def job(self, id_: str) -> Job:
        """The job whose id begins so.

        Raises:
            UnknownJob, Ambiguous: None or several do.
        """
        ...

    def tasks(self, job: str, limit: int | None = None) -> Sequence[Task]:
        """The replicas of a job's tasks that were ever assigned, in order."""
        ...

    def workers(self) -> Sequence[Worker]: ...

    def worker(self, key: str) -> Worker:
        """Raises:
        UnknownWorker, Ambiguous: None or several begin so.
        """
        ...

    def escrows(self) -> Sequence[Escrow]: ...

    def escrow(self, id_: str) -> Escrow:
        """Raises:
        UnknownEscrow, Ambiguous: None or several begin so.
        """
        ...

    def program(self, address: str) -> Program | None: ...

    def hits(self, beginning: str) -> tuple[Sequence[Hit], bool]:
        """What has a name that begins so (letters and digits), and whether all was looked through."""
        ...

    def fee_ppm(self) -> int:
        """The market's share of a price, in parts per million."""
        ...

    def events(self, key: str | None = None, *, after: int = 0, limit: int = 1_000) -> Sequence[Stored]:
        """Events behind a position, in order; of a key, or all."""
        ...

    def latest(self, key: str | None = None, limit: int = 20, *, upto: int | None = None) -> Sequence[Stored]:
        """The last events, in order; of those up to a position if given."""
        ...

    def event(self, position: int) -> Stored:
        """Raises:
        NoSuchEvent: It has not happened.
        """
        ...

    def root(self, size: int | None = None) -> bytes:
        """Merkle root of the first ``size`` events, or of those that are shown."""
        ...

    def inclusion(self, position: int, size: int | None = None) -> Sequence[bytes]:
        """Siblings that prove an event to be under that root."""
        ...
