"""The worker agent against a market that answers by script."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from domain.commands import Command
from domain.errors import NotYetRevealable
from domain.task import CommitResult, SubmitResult, TakeTasks
from services.bus.commands import Lease, Refusal, Reply
from services.worker.agent import Agent
from services.worker.executor import Success
from services.worker.runner import Inputs, Runner
from tests.spec import ANNA, NOW, a_market


class Memory:
    """Blobs and their opener in one: whatever is asked for is there."""

    async def put(self, stored: bytes) -> str:
        return "sha256:" + "0" * 64

    async def get(self, address: str) -> bytes:
        return b""

    async def open(self, ref: object) -> bytes:
        return b""


class Instant:
    """An executor whose every task succeeds at once; ``left_s`` is what each had left of its assignment."""

    size = 1

    def __init__(self) -> None:
        self.left_s: dict[int, float] = {}
        self.spares = 0

    async def run(
        self,
        program: bytes,
        shared: object,
        mapped: object,
        tasks: list[int],
        *_: object,
        ends: dict[int, float],
        names: object,
    ) -> Any:
        now = asyncio.get_running_loop().time()
        for task in tasks:
            self.left_s[task] = ends[task] - now
            yield Success(task, b"result", 0.0)

    def stand_by(self) -> None:
        self.spares += 1


class Fixed:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOW


class Scripted:
    """A market with one task in two replicas, whose other replica is handed back just before the first reveal."""

    def __init__(self, terms: Any) -> None:
        self.party = SimpleNamespace(key=ANNA, name="anna")
        self._terms = terms
        self._due: asyncio.Queue[Reply] = asyncio.Queue()
        self._due.put_nowait(Reply(leases=[Lease(terms, [0], NOW + timedelta(hours=1))]))
        self.shown = 0
        self.settled = asyncio.Event()

    async def send(self, items: Sequence[Command], *, timeout_s: float = 10, strict: bool = True) -> Reply:
        match items[0]:
            case TakeTasks():
                return await self._due.get()
            case CommitResult():
                self._due.put_nowait(Reply(reveal=[(self._terms.job, 0)]))
            case SubmitResult():
                self.shown += 1
                if self.shown == 1:
                    self._due.put_nowait(Reply(reveal=[(self._terms.job, 0)]))
                    return Reply(refused=[Refusal(0, NotYetRevealable.__name__, "another replica runs again")])
                self.settled.set()
        return Reply()


async def test_result_that_was_shown_too_early_is_kept_and_shown_again() -> None:
    world = a_market().with_job(replicas=2)
    market = Scripted(world.world.jobs[world.job].terms)
    agent = Agent(market, Instant(), Memory(), Memory(), slots=1, lanes=1)  # type: ignore[arg-type]
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(5):
        await market.settled.wait()
    agent.stop()
    await running
    assert market.shown == 2
    assert agent.done == 1


async def test_lease_runs_until_its_assignment_ends_and_leaves_a_spare_sandbox() -> None:
    world = a_market().with_job(replicas=1)
    executor = Instant()
    runner = Runner(executor, Fixed(), gather_s=1)  # type: ignore[arg-type]
    terms = world.world.jobs[world.job].terms
    running = asyncio.create_task(runner.run())
    for task, hours in enumerate((1, 2)):
        groups = runner.outcomes(terms, Inputs(b"", None, None), [task], NOW + timedelta(hours=hours))
        assert [[one.task for one in group] async for group in groups] == [[task]]
    running.cancel()
    assert {task: round(left_s) for task, left_s in executor.left_s.items()} == {0: 3600, 1: 7200}
    assert executor.spares > 0
