"""The read models' rows in memory: what the projector would have written, had it stopped at a position."""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from msgspec.structs import asdict

from domain.events import FeeSet
from services.ledger import codec
from services.ports import Stored
from services.projections import escrows, jobs, programs, queries, tasks, workers
from services.projections.store import see
from services.projections.tasks import Row as TaskRow


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

    @property
    def count(self) -> int:
        """How many there are."""
        few = len(self._jobs) + len(self._workers) + len(self._escrows) + len(self._programs)
        return few + len(self._tasks.rows)

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
    def workers(self) -> list[queries.Worker]:
        """In the order of registration."""
        known = [row for row in self._workers.values() if row.registered_at is not None]
        found = [queries.Worker(**asdict(row)) for row in known]
        return sorted(found, key=lambda one: (one.registered_at, one.worker))

    @property
    def escrows(self) -> list[queries.Escrow]:
        """By id."""
        return sorted((queries.Escrow(**asdict(row)) for row in self._escrows.values()), key=lambda one: one.escrow)

    @property
    def programs(self) -> list[queries.Program]:
        """By address; those that were admitted."""
        known = (row for row in self._programs.values() if row.admitted_at is not None)
        found = (queries.Program(**asdict(row)) for row in known)
        return sorted(found, key=lambda one: one.program)


def _copied(rows: dict[Any, Any]) -> dict[Any, Any]:
    return {key: copy.copy(row) for key, row in rows.items()}
