"""The worker agent against a market that answers by script."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from domain.errors import NotYetRevealable
from domain.market import Command
from domain.task import CommitResult, SubmitResult, TakeTasks
from services.bus.commands import Lease, Refusal, Reply
from services.worker.agent import Agent
from services.worker.executor import Success
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
    """An executor whose every task succeeds at once."""

    size = 1

    def stand_by(self) -> None:
        pass

    async def run(
        self, program: bytes, shared: object, mapped: object, tasks: list[int], *_: object, **__: object
    ) -> Any:
        for task in tasks:
            yield Success(task, b"result", 0.0)


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
        (item,) = items
        match item:
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
