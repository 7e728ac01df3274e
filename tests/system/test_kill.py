"""Whatever is killed while a market works, every task is settled and paid once, and log, stream, chain and read
models agree.

``PASAR_TEST_SEED`` repeats a run.
"""

import asyncio
import os
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from domain.events import JobCompleted
from domain.money import MSAT_PER_SAT
from domain.payees import minimum_sat
from services.client.session import session
from services.config import Settings
from services.ledger import codec
from services.settlement.policy import FLOOR_MSAT
from services.stack import nats_server, roles
from services.stack.process import Service
from services.stack.supervisor import Stack
from tests.system.market import (
    SLOW,
    a_worker,
    assert_consistent,
    assert_paid_once,
    assert_settled_once,
    completed,
    facts,
    history,
    kill,
    paid_out,
    processes_of,
    results,
    squares,
    until,
)

WORKERS = ("anna", "ben", "carla", "dora")
#: Who is killed how often, in an order that the seed decides.
VICTIMS = {
    "market": 4,
    "relay": 2,
    "relay-2": 2,
    "projector": 3,
    "settlement": 3,
    "arbiter": 2,
    "nats": 2,
    "postgres": 2,
    "wipe": 1,
}
KILLS_MIN = 15
SINGLE, DOUBLE = 400, 100
#: Enough for several payouts on the way.
PRICE_MSAT, FUNDS_MSAT = 100_000, 100_000_000


@pytest.fixture
def seed() -> int:
    number = int(os.environ.get("PASAR_TEST_SEED", "") or random.SystemRandom().randrange(1_000_000))
    print(f"PASAR_TEST_SEED={number}")
    return number


@pytest.fixture
def wiped(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Folders that nats-server finds gone at its next start."""
    folders: list[Path] = []
    plain = nats_server.service

    async def wipe() -> None:
        while folders:
            shutil.rmtree(folders.pop())

    def forgetful(settings: Settings) -> Service:
        return structs.replace(plain(settings), prepare=wipe)

    monkeypatch.setattr(nats_server, "service", forgetful)
    yield folders
    assert not folders, "nats-server was to start again"


async def shoot(stack: Stack, order: random.Random, wiped: list[Path]) -> list[tuple[datetime, str]]:
    """Kill everybody as often as planned; when whom."""
    victims = [name for name, times in VICTIMS.items() for _ in range(times)] + list(WORKERS)
    order.shuffle(victims)
    shots: list[tuple[datetime, str]] = []
    for name in victims:
        await asyncio.sleep(order.uniform(0.1, 1.0))  # the moment of death is what the seed varies
        if name == "wipe":
            wiped.append(stack.settings.home / "nats" / "jetstream")
        await kill(stack, "nats" if name == "wipe" else name)
        shots.append((datetime.now(UTC), name))
    return shots


async def test_every_task_is_settled_once_whatever_is_killed(tmp_path: Path, seed: int, wiped: list[Path]) -> None:
    workers = {name: a_worker() for name in WORKERS}
    services = (*roles.market_services(workers), roles.role("relay", "relay-2"))
    async with Stack(Settings(home=tmp_path), services) as stack:
        async with session(stack.settings) as client:
            await client.fund(FUNDS_MSAT)
            jobs = [
                await client.post(squares(SINGLE, turns=SLOW, price_msat=PRICE_MSAT)),
                await client.post(squares(DOUBLE, turns=SLOW, replicas=2, price_msat=PRICE_MSAT)),
            ]
            shots = await shoot(stack, random.Random(seed), wiped)
            await until(lambda: completed(stack.settings, *jobs), timeout_s=60, what="both jobs completed")
            await until(lambda: paid_out(stack.settings), timeout_s=60, what="every worker paid")
            await assert_consistent(stack.settings)
            events = await facts(stack.settings)
            assert_settled_once(events, jobs[0], SINGLE, 1, PRICE_MSAT)
            assert_settled_once(events, jobs[1], DOUBLE, 2, PRICE_MSAT)
            for job, tasks in zip(jobs, (SINGLE, DOUBLE), strict=True):
                assert await results(client, events, job) == {task: task * task + 1 for task in range(tasks)}
        ended_at = max(
            stored.recorded_at for stored in await history(stack.settings) if stored.name == codec.NAMES[JobCompleted]
        )
        during = [name for at, name in shots if at < ended_at]
        assert len(during) >= KILLS_MIN, f"the jobs were over after {len(during)} kills"
    assert processes_of(stack.settings) == []
    paid_sat = await assert_paid_once(stack.settings, events)
    assert paid_sat > (SINGLE + 2 * DOUBLE) * PRICE_MSAT // MSAT_PER_SAT - len(WORKERS) * minimum_sat(FLOOR_MSAT)
