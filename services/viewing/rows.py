"""The read models' rows in memory: what the projector would have written, had it stopped at a position."""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from msgspec.structs import asdict

from domain.events import FeeSet
from domain.money import MSAT_PER_SAT
from services.ledger import codec
from services.ports import Stored
from services.projections import escrows, jobs, programs, queries, settlement, tasks, workers
from services.projections.settled import Account
from services.projections.settlement_rows import Changed
from services.projections.store import see
from services.projections.tasks import Row as TaskRow
from services.viewing.settled import Folded


class Rows:
    """Attributes:
    position: Of the last event that is in them. at: When that was recorded.
    """

    def __init__(self) -> None:
        self.position = 0
        self.at: datetime | None = None
        self.fee_ppm = 0
        self._jobs: jobs.Rows = {}
        self._tasks = tasks.Changed()
        self._workers: workers.Rows = {}
        self._escrows: escrows.Rows = {}
        self._programs: programs.Rows = {}
        self._settled = Changed()

    @property
    def count(self) -> int:
        """How many there are."""
        few = len(self._jobs) + len(self._workers) + len(self._escrows) + len(self._programs)
        return few + len(self._tasks.rows) + self._settled.count

    def extend(self, page: Sequence[Stored]) -> None:
        """Fold the next events.

        Raises:
            Corrupt: One cannot be read.
        """
        if not page:
            return
        seen = see(page, codec.decode)
        jobs.follow(self._jobs, seen)
        tasks.follow(self._tasks, seen)
        workers.follow(self._workers, seen)
        escrows.follow(self._escrows, seen)
        programs.follow(self._programs, seen)
        settlement.follow(self._settled, seen)
        for one in seen:
            if type(one.event) is FeeSet:
                self.fee_ppm = one.event.fee_ppm
        self.position, self.at = page[-1].position, page[-1].recorded_at

    def copy(self) -> Self:
        """The same rows, to be folded further on their own."""
        found = type(self)()
        found.position, found.at, found.fee_ppm = self.position, self.at, self.fee_ppm
        for name in ("_jobs", "_workers", "_escrows", "_programs"):
            setattr(found, name, _copied(getattr(self, name)))
        for part in tasks.Changed.__slots__:
            setattr(found._tasks, part, _copied(getattr(self._tasks, part)))
        found._settled = self._settled.copy()
        return found

    @property
    def jobs(self) -> list[queries.Job]:
        """Newest first."""
        found = [queries.Job(**asdict(row)) for row in self._jobs.values()]
        return sorted(found, key=lambda one: (-one.posted_at.timestamp(), one.job))

    def job(self, id_: str) -> queries.Job | None:
        """The job of exactly this id."""
        row = self._jobs.get(id_)
        return None if row is None else queries.Job(**asdict(row))

    def tasks(self, job: str) -> list[queries.Task]:
        """By task and replica."""
        found = sorted((key, row) for key, row in self._tasks.rows.items() if key[0] == job)
        return [self._task(row) for _, row in found]

    @property
    def runs(self) -> list[queries.Task]:
        """Those of all jobs, by job, task and replica."""
        return [self._task(row) for _, row in sorted(self._tasks.rows.items())]

    def _task(self, row: TaskRow) -> queries.Task:
        fields = asdict(row)
        assigned_pos = fields.pop("assigned_pos")
        revealed = self._tasks.revealed.get((row.job, row.task))
        if revealed is not None and assigned_pos < revealed.last_pos:
            fields["reveal_by"] = revealed.reveal_by
            fields["last_pos"] = max(fields["last_pos"], revealed.last_pos)
        closed = self._tasks.closed.get((row.job, row.task))
        if closed is not None:
            fields["last_pos"] = max(fields["last_pos"], closed.last_pos)
        return queries.Task(**fields, closed=closed is not None)

    @property
    def settled(self) -> Folded:
        """The money on the chain."""
        return Folded(self._settled, self._escrows)

    @property
    def workers(self) -> list[queries.Worker]:
        """In the order of registration."""
        accounts = {one.key: one for one in self.settled.accounts()}
        known = [row for row in self._workers.values() if row.registered_at is not None]
        found = [_worker(row, accounts.get(row.worker)) for row in known]
        return sorted(found, key=lambda one: (one.registered_at, one.worker))

    @property
    def escrows(self) -> list[queries.Escrow]:
        """By id."""
        accounts = {one.key: one for one in self.settled.accounts()}
        found = (_escrow(row, accounts.get(row.escrow)) for row in self._escrows.values())
        return sorted(found, key=lambda one: one.escrow)

    @property
    def programs(self) -> list[queries.Program]:
        """By address; those that were admitted."""
        known = (row for row in self._programs.values() if row.admitted_at is not None)
        found = (queries.Program(**asdict(row)) for row in known)
        return sorted(found, key=lambda one: one.program)


def _worker(row: workers.Row, account: Account | None) -> queries.Worker:
    fields = asdict(row)
    if account is None:
        return queries.Worker(**fields, due_msat=row.earned_msat, leaving_msat=row.withdrawn_msat)
    return queries.Worker(
        **fields,
        paid_msat=account.rewarded_msat,
        due_msat=row.earned_msat - account.rewarded_msat,
        paying_msat=account.rewarding_msat,
        leaving_msat=row.withdrawn_msat - account.returned_msat,
        missing_msat=account.missing_msat,
        on_chain_msat=account.live_sat * MSAT_PER_SAT,
        payout_script=account.paid_to,
    )


def _escrow(row: escrows.Row, account: Account | None) -> queries.Escrow:
    fields = asdict(row)
    if account is None:
        undrawn_msat = row.released_msat + row.charged_msat
        return queries.Escrow(**fields, undrawn_msat=undrawn_msat, leaving_msat=row.refunded_msat)
    return queries.Escrow(
        **fields,
        drawn_msat=account.drawn_msat,
        undrawn_msat=row.released_msat + row.charged_msat - account.drawn_msat,
        leaving_msat=row.refunded_msat - account.returned_msat,
        missing_msat=account.missing_msat,
        on_chain_msat=account.live_sat * MSAT_PER_SAT,
    )


def _copied(rows: dict[Any, Any]) -> dict[Any, Any]:
    return {key: copy.copy(row) for key, row in rows.items()}
