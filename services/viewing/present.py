"""The market now, out of the read models: what was asked at a position is not asked again, whoever looks."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from domain.errors import Unavailable
from services.ledger.errors import LogLost
from services.ledger.proofs import Proofs
from services.ports import Stored
from services.projections.queries import Escrow, Hit, Job, Program, Reader, Task, Worker
from services.viewing.settled import Asked, Settled
from services.viewing.view import NoSuchEvent, Totals

T = TypeVar("T")
#: Answers that are kept; all of them belong to the last position.
ANSWERS_MAX: Final = 256


class Ask(Protocol):
    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """Do it in the loop that the database's connections belong to, and wait for it."""
        ...


class LogFacts:
    """The log in PostgreSQL and its index by key."""

    def __init__(self, reader: Reader, ask: Ask) -> None:
        self._reader, self._ask = reader, ask

    def head(self) -> int:
        return self._ask(self._reader.log.head())

    def page(self, after: int, limit: int) -> Sequence[Stored]:
        return self._ask(self._reader.events(after=after, limit=limit))

    def of(self, key: str, after: int, limit: int) -> Sequence[Stored]:
        return self._ask(self._reader.events(key, after=after, limit=limit))

    def last_of(self, key: str, upto: int, limit: int) -> Sequence[Stored]:
        return self._ask(self._reader.latest(key, limit, upto=upto))

    def root(self, size: int) -> bytes:
        return self._ask(_proving(Proofs(self._reader.log).root(size)))

    def inclusion(self, position: int, size: int) -> Sequence[bytes]:
        return self._ask(_proving(Proofs(self._reader.log).inclusion(position, size)))


class Answers:
    """What was asked at the last position, for all viewers; another position forgets it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._position = 0
        self._kept: OrderedDict[object, object] = OrderedDict()

    def at(self, position: int, question: object, ask: Callable[[], T]) -> T:
        """The answer at a position, asked for once."""
        with self._lock:
            if position > self._position:
                self._position = position
                self._kept.clear()
            if position == self._position and question in self._kept:
                return self._kept[question]  # type: ignore[return-value]  # kept under its question
        answer = ask()
        with self._lock:
            if position == self._position:
                self._kept[question] = answer
                while len(self._kept) > ANSWERS_MAX:
                    self._kept.popitem(last=False)
        return answer


class Present:
    """The market at ``position``, which the read models have reached.

    Their rows may be an event ahead of it when they answer; the page is drawn again then. Events are not.
    """

    live = True

    def __init__(self, reader: Reader, ask: Ask, answers: Answers, position: int, at: datetime | None) -> None:
        self._reader, self._ask, self._answers = reader, ask, answers
        self.position, self.at = position, at

    @property
    def settled(self) -> Settled:
        return Asked(self._reader.settled, self._once)

    def head(self) -> int:
        return self.position

    def totals(self) -> Totals:
        return _totals(self._once("totals", lambda: self._reader.totals()))

    def jobs(self, limit: int = 100, state: str | None = None) -> Sequence[Job]:
        return self._once(("jobs", limit, state), lambda: self._reader.jobs(limit, state))

    def job(self, id_: str) -> Job:
        return self._once(("job", id_), lambda: self._reader.job(id_))

    def tasks(self, job: str, limit: int | None = None) -> Sequence[Task]:
        return self._once(("tasks", job, limit), lambda: self._reader.tasks(job, limit))

    def workers(self) -> Sequence[Worker]:
        return self._once("workers", lambda: self._reader.workers())

    def worker(self, key: str) -> Worker:
        return self._once(("worker", key), lambda: self._reader.worker(key))

    def escrows(self) -> Sequence[Escrow]:
        return self._once("escrows", lambda: self._reader.escrows())

    def escrow(self, id_: str) -> Escrow:
        return self._once(("escrow", id_), lambda: self._reader.escrow(id_))

    def program(self, address: str) -> Program | None:
        return self._once(("program", address), lambda: self._reader.program(address))

    def hits(self, beginning: str) -> tuple[Sequence[Hit], bool]:
        return self._once(("hits", beginning), lambda: self._reader.hits(beginning))

    def fee_ppm(self) -> int:
        return self._once("fees", lambda: self._reader.fees()).fee_ppm

    def events(self, key: str | None = None, *, after: int = 0, limit: int = 1_000) -> Sequence[Stored]:
        found = self._once(("events", key, after, limit), lambda: self._reader.events(key, after=after, limit=limit))
        return [one for one in found if one.position <= self.position]  # the log is ahead of the read models

    def latest(self, key: str | None = None, limit: int = 20, *, upto: int | None = None) -> Sequence[Stored]:
        last = self.position if upto is None else max(0, min(upto, self.position))
        if key is None:
            return self.events(after=max(0, last - limit), limit=min(limit, last))
        return self._once(("latest", key, limit, last), lambda: self._reader.latest(key, limit, upto=last))

    def event(self, position: int) -> Stored:
        found = self.events(after=position - 1, limit=1) if 0 < position <= self.position else ()
        if not found:
            raise NoSuchEvent(position=position, last=self.position)
        return found[0]

    def root(self, size: int | None = None) -> bytes:
        size = self.position if size is None else size
        return self._once(("root", size), lambda: _proving(Proofs(self._reader.log).root(size)))

    def inclusion(self, position: int, size: int | None = None) -> Sequence[bytes]:
        size = self.position if size is None else size
        proof = Proofs(self._reader.log)
        return self._once(("inclusion", position, size), lambda: _proving(proof.inclusion(position, size)))

    def _once(self, question: object, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._answers.at(self.position, question, lambda: self._ask(work()))


async def _proving(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except LogLost as error:
        raise Unavailable(reason=str(error)) from error


def _totals(row: dict[str, int | None]) -> Totals:
    sums = {name: int(value or 0) for name, value in row.items() if not name.startswith("asked_")}
    least, most = row["asked_least_msat"], row["asked_most_msat"]
    return Totals(**sums, asked_msat=None if least is None or most is None else (least, most))
