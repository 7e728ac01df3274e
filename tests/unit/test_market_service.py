"""The market's process: whom it answers, and what it remembers when it starts again."""

from typing import Any

import pytest

from domain.job import State
from services.bus.wire import Message
from services.market.service import answerable, rebuild
from services.ports import SystemClock
from tests.history import MemoryLog
from tests.simulate import OPERATOR, Simulation


def heard(reply: bytes) -> list[Message]:
    return [Message(b"pasar.command", reply, b"", b"a frame")]


@pytest.mark.parametrize("reply", [b"_INBOX.a.1", b"_INBOX_party.b.2", b""])
def test_sender_is_answered_on_its_inbox_if_at_all(reply: bytes) -> None:
    assert answerable(heard(reply)) == heard(reply)


@pytest.mark.parametrize("reply", [b"$O.blobs.M.c2hhMjU2", b"pasar.head", b"_INBOX.\xff", b"\xff\xfe"])
def test_market_publishes_nowhere_else_on_behalf_of_a_sender(reply: bytes) -> None:
    assert answerable(heard(reply)) == []


async def test_market_that_starts_again_keeps_no_task_of_a_completed_job() -> None:
    game = Simulation(3).run(300).play_out()
    log: Any = MemoryLog(game.records)
    world, _ = await rebuild(log, OPERATOR, SystemClock())
    over = {key for key, found in world.jobs.items() if found.state is State.COMPLETED}
    assert over
    assert world.tasks_of == {key: tasks for key, tasks in game.world.tasks_of.items() if key not in over}
    assert not over & {key for key, _ in world.disputes}
    assert (world.escrows, world.stakes) == (game.world.escrows, game.world.stakes)
