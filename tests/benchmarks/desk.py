"""A client's desk on a whole market with two workers: post a job, hold every verified result.

Everything is real: the program is admitted, commands are signed, events recorded, results verified and paid.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from domain.blobs import BlobRef
from domain.events import AnyEvent, JobCompleted, ResultSubmitted, ResultVerified
from services import arrays
from services.client.session import Session, Work, follow, read, session
from services.config import Settings
from services.stack.roles import market_services
from services.stack.supervisor import Stack
from services.worker.options import WorkerOptions

WORKERS = 2
#: When a job counts as stuck, in seconds; the longest of these benchmarks takes a minute of compute on two workers.
JOB_S_MAX = 300
_FUNDS_MSAT = 100_000_000_000
_OPTIONS = WorkerOptions(
    price_msat=1, tflop_msat=0, gb_msat=0, stake_msat=10_000_000_000, memory_mb=8192, measure=False
)

Arrays = dict[str, np.ndarray[Any, Any]]


class Lost(Exception):
    """A job ended without all of its results."""


class Desk:
    """Posts jobs of one client and gathers their results as they are verified; make it with ``open_desk``."""

    def __init__(self, client: Session) -> None:
        self._client = client
        self._jobs: dict[str, _Job] = defaultdict(lambda: _Job(client))

    async def run(
        self,
        program: bytes,
        shared: Mapping[str, Any] | None,
        mapped: Mapping[str, Any] | None,
        tasks: int,
        **terms: Any,
    ) -> list[Arrays]:
        """From arrays to arrays: the outputs of every task, in order, once the last is here and the job completed.

        Raises:
            Lost: A task has no verified result.
            TimeoutError: The job does not end.
        """
        packed = [None if one is None else await asyncio.to_thread(arrays.pack, one) for one in (shared, mapped)]
        usual: dict[str, Any] = {"price_msat": 1, "memory_mb": 4096}
        work = Work(program=program, shared=packed[0], mapped=packed[1], tasks=tasks, **{**usual, **terms})
        job = self._jobs[await self._client.post(work)]
        async with asyncio.timeout(JOB_S_MAX):
            await job.completed.wait()
        if len(job.results) < tasks:
            raise Lost(f"{tasks - len(job.results)} of {tasks} tasks have no verified result")
        return [arrays.unpack(await job.results[task]) for task in range(tasks)]

    async def follow(self, settings: Settings, after: int) -> None:
        """Keep up with the events of jobs, for ever."""
        async for stored in follow(settings, after=after):
            event = read(stored)
            if isinstance(event, ResultSubmitted | ResultVerified | JobCompleted):
                self._jobs[event.job].see(event)


class _Job:
    def __init__(self, client: Session) -> None:
        self._client = client
        self._shown: dict[tuple[int, str], BlobRef] = {}
        self.results: dict[int, asyncio.Task[bytes]] = {}
        self.completed = asyncio.Event()

    def see(self, event: AnyEvent) -> None:
        match event:
            case ResultSubmitted():
                self._shown[event.task, event.worker] = event.result
            case ResultVerified() if event.settles:
                opening = self._client.opener.open(self._shown[event.task, event.worker])
                self.results[event.task] = asyncio.get_running_loop().create_task(opening)
            case JobCompleted():
                self.completed.set()


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """A market of its own with two workers, and a client with money on it."""
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as home:
        services = market_services({f"worker-{number}": _OPTIONS for number in range(1, WORKERS + 1)})
        async with Stack(Settings(home=Path(home)), services) as stack, session(stack.settings, "bench") as client:
            await client.fund(_FUNDS_MSAT)
            desk = Desk(client)
            following = asyncio.get_running_loop().create_task(desk.follow(stack.settings, client.position))
            try:
                yield desk
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
