"""Whoever follows the log is told when it cannot be followed any more."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.client import session
from services.config import Settings
from services.ports import Stored
from tests.simulate import Simulation

RECORDS = Simulation(1).records
SETTINGS = Settings(home=Path("/nowhere"), nats_url="nats://127.0.0.1:1")


class Failing:
    """A consumer that hears some events and then meets what nobody expected."""

    cancelled = False

    def __init__(self, connect: Any, position: Any, offer: Any, *, subjects: object) -> None:
        self._offer = offer

    async def run(self) -> None:
        await asyncio.sleep(0)
        await self._offer(RECORDS[:3])
        await asyncio.sleep(0)
        await self._offer(RECORDS[1:5])
        raise KeyError("ce-id")


class Silent(Failing):
    async def run(self) -> None:
        await self._offer(RECORDS[:2])
        try:
            await asyncio.Event().wait()
        finally:
            Silent.cancelled = True


@pytest.fixture(autouse=True)
def without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.bootstrap, "wires", lambda *_: None)


async def test_error_that_ends_the_subscription_reaches_the_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Consumer", Failing)
    heard: list[Stored] = []

    async def follow() -> None:
        async for stored in session.follow(SETTINGS):
            heard.append(stored)

    async with asyncio.timeout(5):
        with pytest.raises(KeyError, match="ce-id"):
            await follow()
    assert heard == RECORDS[:5]


async def test_subscription_ends_with_its_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Consumer", Silent)
    following = session.follow(SETTINGS, after=1)
    assert await anext(following) == RECORDS[1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(following)
    await following.aclose()  # type: ignore[attr-defined]
    assert Silent.cancelled
