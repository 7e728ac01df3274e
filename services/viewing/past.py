"""The market as it was after an event: rows folded from the log, and the log up to there."""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Final, TypeVar

from domain.errors import UnknownEscrow, UnknownJob, UnknownWorker
from services.ports import Stored
from services.projections.queries import Escrow, Hit, Job, Program, Task, Worker, only
from services.replay import undisturbed
from services.viewing.hits import hits_in
from services.viewing.rows import Rows
from services.viewing.settled import Settled
from services.viewing.view import Facts, NoSuchEvent, Totals

T = TypeVar("T")
PAGE_EVENTS: Final = 4_000
#: Folded positions that are kept, to go on from, and the rows in all of them together.
FOLDS_MAX: Final = 6
ROWS_MAX: Final = 500_000
Progress = Callable[[int, int], None]


class NotYet(UnknownJob):
    template = "job {job} was not posted yet at event {position}"


class Folds:
    """Rows of one log at positions; the next one begins at the nearest that is known before it.

    One is folded at a time, however many are asked for: all of them at once would take as long, and memory for each.

    Args:
        waiting: Held while somebody waits for another's fold.
    """

    def __init__(self, facts: Facts, waiting: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._facts, self._waiting = facts, waiting
        self._one = threading.Lock()
        self._lock = threading.Lock()
        self._kept: dict[int, Rows] = {}

    def at(self, position: int, progress: Progress | None = None) -> Rows:
        """The rows after the event at ``position``, or the last one if there are fewer. They are not to be changed.

        Args:
            progress: Called with events folded so far and those to fold.
        """
        upto = max(0, min(position, self._facts.head()))
        found = self._found(upto)
        if found is not None:
            return found
        with self._waiting():
            self._one.acquire()
        try:
            return self._found(upto) or self._fold(upto, progress)
        finally:
            self._one.release()

    def _found(self, upto: int) -> Rows | None:
        with self._lock:
            return self._kept.get(upto)

    def _fold(self, upto: int, progress: Progress | None) -> Rows:
        with self._lock:
            known = max((one for one in self._kept if one <= upto), default=0)
            rows = self._kept[known].copy() if known else Rows()
        with undisturbed():
            while rows.position < upto:
                rows.extend(self._facts.page(rows.position, min(PAGE_EVENTS, upto - rows.position)))
                if progress is not None:
                    progress(rows.position - known, upto - known)
        with self._lock:
            self._kept[upto] = rows
            while len(self._kept) > FOLDS_MAX or (len(self._kept) > 1 and self._rows() > ROWS_MAX):
                del self._kept[next(iter(self._kept))]
        return rows

    def _rows(self) -> int:
        return sum(rows.count for rows in self._kept.values())


class Past:
    """A view that does not move."""

    live = False

    def __init__(self, rows: Rows, facts: Facts) -> None:
        self._rows, self._facts = rows, facts
        self.settled: Settled = rows.settled
        self.position: int = rows.position
        self.at: datetime | None = rows.at

    def head(self) -> int:
        return self._facts.head()

    def totals(self) -> Totals:
        return totals_of(self._rows.jobs, self._rows.workers, self._rows.escrows)

    def jobs(self, limit: int = 100, state: str | None = None) -> Sequence[Job]:
        return [one for one in self._rows.jobs if state in (None, one.state)][:limit]

    def job(self, id_: str) -> Job:
        exact = self._rows.job(id_)
        if exact is not None:
            return exact
        found = [one for one in self._rows.jobs if one.job.startswith(id_)]
        return only(found, "job", id_, NotYet(job=id_, position=self.position))

    def tasks(self, job: str, limit: int | None = None) -> Sequence[Task]:
        return self._rows.tasks(job)[:limit]

    def workers(self) -> Sequence[Worker]:
        return self._rows.workers

    def worker(self, key: str) -> Worker:
        found = [one for one in self._rows.workers if one.worker.startswith(key)]
        return only(found, "worker", key, UnknownWorker(worker=key))

    def escrows(self) -> Sequence[Escrow]:
        return self._rows.escrows

    def escrow(self, id_: str) -> Escrow:
        found = [one for one in self._rows.escrows if one.escrow.startswith(id_)]
        return only(found, "escrow", id_, UnknownEscrow(escrow=id_))

    def program(self, address: str) -> Program | None:
        return next((one for one in self._rows.programs if one.program == address), None)

    def hits(self, beginning: str) -> tuple[Sequence[Hit], bool]:
        return hits_in(self._rows, self, beginning), True

    def fee_ppm(self) -> int:
        return self._rows.fee_ppm

    def events(self, key: str | None = None, *, after: int = 0, limit: int = 1_000) -> Sequence[Stored]:
        found = self._facts.page(after, limit) if key is None else self._facts.of(key, after, limit)
        return [one for one in found if one.position <= self.position]

    def latest(self, key: str | None = None, limit: int = 20, *, upto: int | None = None) -> Sequence[Stored]:
        last = self.position if upto is None else max(0, min(upto, self.position))
        if key is None:
            return self.events(after=max(0, last - limit), limit=min(limit, last))
        return self._facts.last_of(key, last, limit)

    def event(self, position: int) -> Stored:
        found = self.events(after=position - 1, limit=1) if position > 0 else ()
        if not found:
            raise NoSuchEvent(position=position, last=self.position)
        return found[0]

    def root(self, size: int | None = None) -> bytes:
        return self._facts.root(self.position if size is None else size)

    def inclusion(self, position: int, size: int | None = None) -> Sequence[bytes]:
        return self._facts.inclusion(position, self.position if size is None else size)


def totals_of(jobs: Sequence[Job], workers: Sequence[Worker], escrows: Sequence[Escrow]) -> Totals:
    """What rows add up to; the read models are asked for the same in ``totals.sql``."""
    asking = [one for one in workers if one.asking and one.state == "active"]
    open_ = [one for one in jobs if one.state == "open"]
    asks = [one.ask_msat or 0 for one in asking]

    def total(rows: Iterable[T], of: Callable[[T], int]) -> int:
        return sum(map(of, rows))

    return Totals(
        jobs=len(jobs),
        open_jobs=len(open_),
        tasks=total(jobs, lambda one: one.tasks),
        open_tasks=total(open_, lambda one: one.tasks - one.verified - one.given_up),
        settled=total(jobs, lambda one: one.verified),
        rejected=total(jobs, lambda one: one.rejected),
        workers=len(workers),
        asking=len(asking),
        slots=total(asking, lambda one: one.slots or 0),
        busy=total(workers, lambda one: one.open),
        asked_msat=(min(asks), max(asks)) if asks else None,
        funded_msat=total(escrows, lambda one: one.funded_msat),
        free_msat=total(escrows, lambda one: one.free_msat),
        reserved_msat=total(escrows, lambda one: one.reserved_msat),
        paid_msat=total(escrows, lambda one: one.released_msat),
        charged_msat=total(escrows, lambda one: one.charged_msat),
        refunded_msat=total(escrows, lambda one: one.refunded_msat),
        deposited_msat=total(workers, lambda one: one.deposited_msat),
        slashed_msat=total(workers, lambda one: one.slashed_msat),
        withdrawn_msat=total(workers, lambda one: one.withdrawn_msat),
        stake_msat=total(workers, lambda one: one.stake_msat),
    )
