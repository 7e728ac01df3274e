"""A worker that goes gives its tasks back, so that nobody waits for them to expire."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.events import (
    AnyEvent,
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    ResultCommitted,
    ResultVerified,
    TaskAssigned,
)
from services.client.session import Session, session
from services.config import Settings
from services.keys import party
from services.stack.supervisor import Stack
from tests.system.market import (
    SLOW,
    a_market,
    assert_consistent,
    assert_settled_once,
    back,
    completed,
    facts,
    kill,
    squares,
    until,
)

TASKS = 40
#: Longer than any of these tests may take: an expiry would come too late.
NEVER_S = 3600


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[tuple[Stack, Session]]:
    async with a_market(Settings(home=tmp_path), "anna", "ben") as stack:
        async with session(stack.settings) as client:
            await client.fund(100_000_000)
            yield stack, client
        await assert_consistent(stack.settings)


async def busy(stack: Stack, name: str, job: str) -> list[AnyEvent]:
    """What has happened when this worker has begun to deliver results of the job and holds more of it."""
    key = party(stack.settings, name).key

    async def delivering() -> list[AnyEvent]:
        events = [event for event in await facts(stack.settings) if getattr(event, "job", "") == job]
        mine = Counter(type(event) for event in events if getattr(event, "worker", "") == key)
        return events if mine[TaskAssigned] > mine[ResultCommitted] > 0 else []

    return await until(delivering, every_s=0.01)


def counted(events: list[AnyEvent], kind: type, key: str) -> int:
    return sum(isinstance(event, kind) and getattr(event, "worker", "") == key for event in events)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
async def test_worker_that_ends_leaves_no_task_to_expire(
    market: tuple[Stack, Session], number: signal.Signals, replicas: int
) -> None:
    stack, client = market
    job = await client.post(squares(TASKS, turns=SLOW, timeout_s=NEVER_S, replicas=replicas))
    await busy(stack, "anna", job)
    pid = await kill(stack, "anna", number)
    await back(stack, "anna", pid)
    await until(lambda: completed(stack.settings, job), timeout_s=40, what="the job completed")
    events = await facts(stack.settings)
    assert_settled_once(events, job, TASKS, replicas)
    assert not [event for event in events if isinstance(event, AssignmentExpired | AssignmentFailed)]
    assert counted(events, AssignmentReturned, party(stack.settings, "anna").key) > 0


async def test_worker_that_is_told_to_stop_gives_its_tasks_to_others_at_once(
    market: tuple[Stack, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, client = market
    monkeypatch.setattr("services.stack.restarts.FIRST_S", 3600.0)  # it stays away
    monkeypatch.setattr("services.stack.restarts.LONGEST_S", 3600.0)
    anna, ben = (party(stack.settings, name).key for name in ("anna", "ben"))
    job = await client.post(squares(TASKS, turns=SLOW, timeout_s=NEVER_S))
    await busy(stack, "anna", job)
    await kill(stack, "anna", signal.SIGTERM)
    async with asyncio.timeout(10):
        await until(lambda: completed(stack.settings, job))
    events = await facts(stack.settings)
    assert_settled_once(events, job, TASKS, 1)
    assert not [event for event in events if isinstance(event, AssignmentExpired | AssignmentFailed)]
    returned = {e.task for e in events if isinstance(e, AssignmentReturned) and e.worker == anna}
    assert {e.task for e in events if isinstance(e, ResultVerified) and e.worker == ben} >= returned


async def test_lease_is_not_given_to_a_worker_that_was_cut_off(market: tuple[Stack, Session]) -> None:
    """Both workers wait for work when the broker dies: what they waited on is worth nothing afterwards."""
    stack, client = market
    await back(stack, "nats", await kill(stack, "nats"))

    async def reachable() -> str:
        return await client.post(squares(TASKS, timeout_s=NEVER_S))

    job = await until(reachable)
    await until(lambda: completed(stack.settings, job), timeout_s=15, what="the job completed")
    assert not [event for event in await facts(stack.settings) if isinstance(event, AssignmentExpired)]
