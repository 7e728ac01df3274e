"""Timers: every deadline in the world, as commands that the clock issues when it has passed."""

import heapq
import itertools
from datetime import datetime
from typing import Any

from domain import job, task
from domain.commands import ExpireAssignment, ExpireJob
from domain.events import JobPosted, ReplicasWithdrawn, ResultCommitted, TaskAssigned
from domain.market import Fact, World


class Timers:
    """A heap of deadlines; an entry is looked at once, and counts only if the world still says so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._order = itertools.count()
        self._heap: list[tuple[datetime, int, str, tuple[int, ...]]] = []
        for job_id, found in world.jobs.items():
            if found.state is job.State.COMPLETED:
                continue
            self._push(found.terms.expires_at, job_id)
            for index, one in enumerate(world.tasks_of[job_id]):
                for slot in one.slots:
                    if slot.expires_at is not None:
                        self._push(slot.expires_at, job_id, index)

    def see(self, fact: Fact) -> None:
        """Follow one fact that sets a deadline."""
        event: Any = fact.event
        kind = type(event)
        if kind is TaskAssigned:
            self._push(event.expires_at, event.job, event.task)
        elif kind is ResultCommitted or kind is ReplicasWithdrawn:
            if event.reveal_by is not None:
                self._push(event.reveal_by, event.job, event.task)
        elif kind is JobPosted:
            self._push(event.expires_at, event.job)

    def due(self, now: datetime) -> list[ExpireAssignment | ExpireJob]:
        """What has run out, each once."""
        commands: dict[ExpireAssignment | ExpireJob, None] = {}
        while self._heap and self._heap[0][0] <= now:
            _, _, job_id, tasks = heapq.heappop(self._heap)
            found = self._world.jobs.get(job_id)
            if found is None or found.state is job.State.COMPLETED:
                continue
            if not tasks:
                if found.state is job.State.OPEN:
                    commands[ExpireJob(job_id)] = None
                continue
            for index in tasks:
                for slot in self._world.tasks_of[job_id][index].slots:
                    over = slot.expires_at is not None and slot.expires_at <= now
                    if over and slot.phase in (task.Phase.ASSIGNED, task.Phase.COMMITTED):
                        commands[ExpireAssignment(job_id, index, slot.worker)] = None
        return list(commands)

    def _push(self, at: datetime, job_id: str, *tasks: int) -> None:
        heapq.heappush(self._heap, (at, next(self._order), job_id, tasks))
