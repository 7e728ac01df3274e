"""Matcher: which replicas are open, who waits for work, and who gets what."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from domain import job, task
from domain.errors import Corrupt, Refused
from domain.events import (
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    JobCancelled,
    JobCompleted,
    JobExpired,
    JobPosted,
    ResultRejected,
    TaskAssigned,
)
from domain.market import Fact, World
from domain.orders import Waiting, lease_size, merit
from services.bus.commands import Lease

#: Added to a lease's time: the way there and back, and the first compilation.
GRACE = timedelta(seconds=15)


class Parked(NamedTuple):
    """A request for work that nobody could answer yet."""

    worker: str
    slots: int
    reply: str
    until: datetime


class Openings:
    """The open replicas of one job, in the order they opened, with a place for each worker that looks through them.

    A replica that a worker may not take now, it may never take while it stays open, so no worker looks at it twice.
    """

    def __init__(self) -> None:
        self._entries: list[int] = []
        self._taken: list[bool] = []
        self._places: dict[str, int] = {}
        self.count = 0

    def add(self, index: int) -> None:
        self._entries.append(index)
        self._taken.append(False)
        self.count += 1

    def take(self, worker: str, tasks: Sequence[task.Task], most: int) -> Iterator[int]:
        """Tasks for ``worker``, up to ``most``; each is assigned before the next is asked for."""
        at = self._places.get(worker, 0)
        while most and at < len(self._entries):
            index = self._entries[at]
            if not self._taken[at]:
                if tasks[index].closed:  # given up while this replica was open
                    self._drop(at)
                elif task.may_take(tasks[index], worker):
                    self._drop(at)
                    most -= 1
                    yield index
            at += 1
        self._places[worker] = at

    def _drop(self, at: int) -> None:
        self._taken[at] = True
        self.count -= 1


class Matcher:
    """Keeps the openings by what happened, and answers requests for work."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._openings: dict[str, Openings] = {}
        self._turn: deque[str] = deque()
        self._parked: dict[tuple[str, str], Parked] = {}
        for found in world.jobs.values():
            if found.state is job.State.OPEN:
                self._open(found.terms)

    # -------------------------------------------------------------------------------------------------- what is open
    def see(self, fact: Fact) -> None:
        """Follow one recorded or about-to-be-recorded fact."""
        watch = _WATCHED.get(type(fact.event))
        if watch is not None:
            watch(self, fact.event)

    def _open(self, terms: JobPosted) -> None:
        openings = self._openings[terms.job] = Openings()
        self._turn.append(terms.job)
        tasks = self._world.tasks_of[terms.job]
        for index, one in enumerate(tasks):  # a task's replicas together: nobody is paid before the last has committed
            for slot in one.slots:
                if not one.closed and slot.phase is task.Phase.OPEN:
                    openings.add(index)

    def _reopen(self, job_id: str, index: int) -> None:
        openings = self._openings.get(job_id)
        if openings is not None and not self._world.tasks_of[job_id][index].closed:
            openings.add(index)

    def _close(self, job_id: str) -> None:
        if self._openings.pop(job_id, None) is not None:
            self._turn.remove(job_id)

    # --------------------------------------------------------------------------------------------------- who gets it
    def lease(self, worker: str, slots: int, now: datetime) -> tuple[list[Lease], list[Fact]]:
        """Assign up to ``slots`` tasks to ``worker`` now.

        Raises:
            Corrupt: The rules do not allow what the books here say is open.
        """
        for _ in range(len(self._turn)):
            job_id = self._turn[0]
            self._turn.rotate(-1)
            openings, terms = self._openings[job_id], self._world.jobs[job_id].terms
            if openings.count and self._world.may_work(worker, terms):
                facts = self._assign(worker, terms, openings, slots, now)
                assigned = [fact.event for fact in facts if isinstance(fact.event, TaskAssigned)]
                if assigned:
                    return [Lease(terms, [event.task for event in assigned], assigned[0].expires_at)], facts
        return [], []

    def _assign(self, worker: str, terms: JobPosted, openings: Openings, slots: int, now: datetime) -> list[Fact]:
        world = self._world
        found, holding = world.workers[worker], world.holding(worker)
        assert found.ask is not None, "may_work has looked"
        most = lease_size(min(slots, found.ask.slots - holding.running), openings.count, len(self._parked) + 1)
        if terms.stake_msat:
            most = min(most, world.free_stake_msat(worker) // terms.stake_msat)
        before = holding.running  # runs first: a worker takes the next lease while the last one is in work
        expires_at = now + GRACE + timedelta(seconds=terms.timeout_s * (before + most))
        tasks = world.tasks_of[terms.job]
        try:
            return [world.assign(terms.job, index, worker, expires_at) for index in openings.take(worker, tasks, most)]
        except Refused as error:  # those before it are assigned already: no party may be told that nothing happened
            raise Corrupt(f"the openings of job {terms.job} are not those of its tasks") from error

    def park(self, parked: Parked) -> None:
        """Keep a request until there is work for it."""
        self._parked[parked.worker, parked.reply] = parked

    def unpark(self, worker: str) -> Parked | None:
        """A parked request of this worker, taken out to be answered."""
        for key in self._parked:
            if key[0] == worker:
                return self._parked.pop(key)
        return None

    def expired(self, now: datetime) -> list[Parked]:
        """Requests that have waited long enough, taken out to be answered with nothing."""
        over = [key for key, parked in self._parked.items() if parked.until <= now]
        return [self._parked.pop(key) for key in over]

    def let_go(self) -> list[Parked]:
        """Every parked request, taken out to be refused."""
        parked, self._parked = list(self._parked.values()), {}
        return parked

    def serve(self, now: datetime) -> Iterator[tuple[Parked, list[Lease], list[Fact]]]:
        """Parked requests that get work now, in the order of merit, which each lease changes."""
        if not self._parked or not any(openings.count for openings in self._openings.values()):
            return
        queue = [(merit(waiting), number, parked) for number, (waiting, parked) in enumerate(self._waiting())]
        heapify(queue)
        while queue:
            rank, number, parked = heappop(queue)
            waiting = self._asks(parked)
            assert waiting is not None, "its ask stands"
            if merit(waiting) > rank:  # its worker got a lease meanwhile, and others may come first now
                heappush(queue, (merit(waiting), number, parked))
                continue
            leases, facts = self.lease(parked.worker, parked.slots, now)
            if leases:
                del self._parked[parked.worker, parked.reply]
                yield parked, leases, facts

    def _waiting(self) -> Iterator[tuple[Waiting, Parked]]:
        for parked in self._parked.values():
            waiting = self._asks(parked)
            if waiting is not None:
                yield waiting, parked

    def _asks(self, parked: Parked) -> Waiting | None:
        """Who asks, with the load of this moment; a worker without an ask asks for nothing."""
        worker = self._world.workers.get(parked.worker)
        if worker is None or worker.ask is None:
            return None
        load = self._world.holding(parked.worker).running / worker.ask.slots
        return Waiting(parked.worker, worker.ask.price_msat, load, parked.slots)


def _posted(matcher: Matcher, event: JobPosted) -> None:
    matcher._open(event)


def _freed(matcher: Matcher, event: AssignmentExpired | AssignmentReturned | AssignmentFailed | ResultRejected) -> None:
    matcher._reopen(event.job, event.task)


def _over(matcher: Matcher, event: JobCompleted | JobCancelled | JobExpired) -> None:
    matcher._close(event.job)


_WATCHED: dict[type, Callable[..., None]] = {
    JobPosted: _posted,
    **dict.fromkeys((AssignmentExpired, AssignmentReturned, AssignmentFailed, ResultRejected), _freed),
    **dict.fromkeys((JobCompleted, JobCancelled, JobExpired), _over),
}
