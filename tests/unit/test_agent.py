"""The worker agent against a market that answers by script."""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domain.commands import Command
from domain.errors import NotYetRevealable, Unavailable
from domain.task import CommitResult, SubmitResult, TakeTasks
from services.bus.commands import Lease, Refusal, Reply
from services.worker.agent import Agent
from services.worker.backlog import Backlog, Sealed
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


class Watched(Instant):
    """An executor with large results, which counts those that were taken."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._result = bytes(size_bytes)
        self.taken = 0

    async def run(self, *arguments: Any, **named: Any) -> Any:
        async for outcome in super().run(*arguments, **named):
            self.taken += 1
            yield Success(outcome.task, self._result, 0.0)


class Slow(Memory):
    """A store that takes nothing before ``opened``; ``asked`` once somebody tries."""

    def __init__(self) -> None:
        self.opened, self.asked = asyncio.Event(), asyncio.Event()

    async def put(self, stored: bytes) -> str:
        self.asked.set()
        await self.opened.wait()
        return await super().put(stored)


class Handing:
    """A market that hands out its job once, and is content with all that it is told."""

    def __init__(self, terms: Any, tasks: int) -> None:
        self.party = SimpleNamespace(key=ANNA, name="anna")
        self._leases = [Lease(terms, list(range(tasks)), NOW + timedelta(days=36500))]
        self._left = set(range(tasks))
        self.over = asyncio.Event()

    async def send(self, items: Sequence[Command], *, timeout_s: float = 10, strict: bool = True) -> Reply:
        self._left -= {item.task for item in items if isinstance(item, SubmitResult | CommitResult)}
        if not self._left:
            self.over.set()
        if not isinstance(items[-1], TakeTasks):
            return Reply()
        if self._leases:
            return Reply(leases=[self._leases.pop()])
        await asyncio.Event().wait()
        raise AssertionError


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


async def test_result_that_was_shown_too_early_is_kept_and_shown_again(tmp_path: Path) -> None:
    world = a_market().with_job(replicas=2)
    market = Scripted(world.world.jobs[world.job].terms)
    agent = Agent(market, Instant(), Memory(), Memory(), Sealed(tmp_path), slots=1, lanes=1)  # type: ignore[arg-type]
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
    runner = Runner(executor, Fixed(), Backlog(), gather_s=1)  # type: ignore[arg-type]
    terms = world.world.jobs[world.job].terms
    running = asyncio.create_task(runner.run())
    for task, hours in enumerate((1, 2)):
        groups = runner.outcomes(terms, Inputs(b"", None, None), [task], NOW + timedelta(hours=hours))
        assert [[one.task for one in group] async for group in groups] == [[task]]
    running.cancel()
    assert {task: round(left_s) for task, left_s in executor.left_s.items()} == {0: 3600, 1: 7200}
    assert executor.spares > 0


async def settled(turns: int = 200) -> None:
    """Let everything run that can."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.mark.parametrize("size_bytes", [60, 1_000], ids=["some fit", "none fits"])
async def test_worker_stops_computing_while_its_results_are_not_delivered(tmp_path: Path, size_bytes: int) -> None:
    world = a_market().with_job(replicas=1)
    terms, store, executor = world.world.jobs[world.job].terms, Slow(), Watched(size_bytes)
    market, backlog = Handing(terms, 20), Backlog(100)
    agent = Agent(market, executor, store, store, Sealed(tmp_path), backlog, slots=20)  # type: ignore[arg-type]
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(5):
        await store.asked.wait()
        await settled()
        assert executor.taken == -(-100 // size_bytes)
        assert backlog.bytes == executor.taken * size_bytes
        store.opened.set()
        await market.over.wait()
    await settled()
    assert (executor.taken, backlog.bytes) == (20, 0)
    agent.stop()
    await running
    assert agent.done == 20


async def test_results_that_wait_for_their_competitors_do_not_stop_the_worker(tmp_path: Path) -> None:
    world = a_market().with_job(replicas=2)
    terms, executor, sealed = world.world.jobs[world.job].terms, Watched(60), Sealed(tmp_path, bytes_in_memory=100)
    market, backlog = Handing(terms, 20), Backlog(100)
    agent = Agent(market, executor, Memory(), Memory(), sealed, backlog, slots=20)  # type: ignore[arg-type]
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(5):
        await market.over.wait()
    assert len(sealed) == 20
    assert sealed.bytes_in_memory <= 100
    agent.stop()
    await running
    assert (backlog.bytes, len(sealed), os.listdir(tmp_path)) == (0, 0, [])


async def test_backlog_is_free_again_after_a_delivery_that_was_lost(tmp_path: Path) -> None:
    class Broken(Memory):
        left, over = 20 * 60, asyncio.Event()

        async def put(self, stored: bytes) -> str:
            self.left -= len(stored)
            if self.left <= 0:
                self.over.set()
            raise Unavailable(reason="the blob store does not answer")

    world = a_market().with_job(replicas=1)
    executor, backlog = Watched(60), Backlog(100)
    market, store = Handing(world.world.jobs[world.job].terms, 20), Broken()
    agent = Agent(market, executor, store, Memory(), Sealed(tmp_path), backlog, slots=20)  # type: ignore[arg-type]
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(10):
        await store.over.wait()
        await settled()
    assert (executor.taken, backlog.bytes) == (20, 0)
    agent.stop()
    await running
