"""Leases on their way through the executor: those of one job that wait together run as one batch.

A sandbox runs one batch at a time. A worker that takes single tasks over many lanes pays the way there and back once
for all that queued up meanwhile, and what comes out together is packed together.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import NamedTuple

from domain.events import JobPosted
from services.ports import Clock
from services.worker.backlog import Backlog
from services.worker.executor import Executor, Failure, Limits, Names, Success

#: The most tasks in one batch.
BATCH_MAX = 256
Outcomes = list[Success | Failure]


class Inputs(NamedTuple):
    """What the sandbox needs besides the task's number, and what it is called; see ``Executor.run``."""

    program: bytes
    shared: bytes | None
    mapped: bytes | None
    names: Names | None = None


class _Waiting(NamedTuple):
    terms: JobPosted
    inputs: Inputs
    tasks: list[int]
    expires_at: datetime
    outcomes: "asyncio.Queue[Outcomes | None]"


class Runner:
    """Feeds one executor. ``run`` the loop in a task; ``outcomes`` is what the lanes use."""

    def __init__(self, executor: Executor, clock: Clock, backlog: Backlog, *, gather_s: float) -> None:
        """Args:
        backlog: Results are added to it, and none is taken from a sandbox while it is full; who delivers them drops
            them.
        gather_s: What finishes within this time is handed over together, in seconds.
        """
        self._executor, self._clock, self._backlog, self._gather_s = executor, clock, backlog, gather_s
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()

    async def outcomes(
        self, terms: JobPosted, inputs: Inputs, tasks: list[int], expires_at: datetime
    ) -> AsyncIterator[Outcomes]:
        """Outcomes of these tasks, in groups as they finish; what is not done at ``expires_at`` has failed."""
        waiting = _Waiting(terms, inputs, tasks, expires_at, asyncio.Queue(maxsize=len(tasks) + 1))  # and the end
        self._waiting.append(waiting)
        self._wake.set()
        while (group := await waiting.outcomes.get()) is not None:
            yield group

    async def run(self) -> None:
        """Run batches for ever, as many at a time as the executor has sandboxes."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._executor.size):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._next()
                try:
                    await self._run(batch)
                finally:
                    for waiting in batch:
                        waiting.outcomes.put_nowait(None)

    def _next(self) -> list[_Waiting]:
        """The leases that run together: the oldest, and those of its job that follow."""
        batch = [self._waiting.popleft()]
        size = len(batch[0].tasks)
        others: deque[_Waiting] = deque()
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.terms.job == batch[0].terms.job and size + len(waiting.tasks) <= BATCH_MAX:
                batch.append(waiting)
                size += len(waiting.tasks)
            else:
                others.append(waiting)
        self._waiting = others
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        terms, inputs = batch[0].terms, batch[0].inputs
        owner = {index: waiting for waiting in batch for index in waiting.tasks}
        limits = Limits(wall_s=terms.timeout_s, memory_mb=terms.memory_mb)
        clock = asyncio.get_running_loop().time
        now, left = clock(), [(one, (one.expires_at - self._clock.now()).total_seconds()) for one in batch]
        ends = {index: now + left_s for one, left_s in left for index in one.tasks}
        groups: dict[int, Outcomes] = {}
        began = clock()
        outcomes = self._executor.run(
            inputs.program, inputs.shared, inputs.mapped, list(owner), limits, ends=ends, names=inputs.names
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                if groups and clock() - began > self._gather_s:
                    self._hand_over(groups, owner)
                if not groups:
                    began = clock()
                groups.setdefault(id(owner[outcome.task]), []).append(outcome)
                if isinstance(outcome, Success):
                    self._backlog.add(len(outcome.result))
                if self._backlog.full:
                    self._hand_over(groups, owner)
                    await self._backlog.room()
        self._hand_over(groups, owner)
        self._executor.stand_by()

    def _hand_over(self, groups: dict[int, Outcomes], owner: dict[int, _Waiting]) -> None:
        for group in groups.values():
            owner[group[0].task].outcomes.put_nowait(group)
        groups.clear()
