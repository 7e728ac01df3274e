"""The command endpoint: who is answered, with what, and who is not kept waiting."""

import asyncio
from typing import Any

import nkeys

from domain.commands import Command
from domain.task import ReturnTasks, TakeTasks
from services.bus.commands import Nonces, Reply, decode_reply, sign
from services.bus.wire import Message
from services.keys import Party
from services.market.gateway import Gateway
from services.ports import Record
from tests.spec import OPERATOR, Market

ANNA = Party("anna", nkeys.encode_seed(b"a" * 32, nkeys.PREFIX_BYTE_USER).decode())


class Commits:
    """A log that records at once."""

    def __init__(self) -> None:
        self.position = 0

    def append(self, records: list[Record]) -> "asyncio.Future[int]":
        self.position += len(records)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(self.position)
        return done


class Endpoint:
    """A gateway, and what it answered by reply subject."""

    def __init__(self, market: Market) -> None:
        self.answers: dict[str, Reply] = {}
        self._market = market
        commits: Any = Commits()
        self.gateway = Gateway(market.world, Nonces(), commits, self._answered, self)

    def now(self) -> Any:
        return self._market.now

    def _answered(self, subject: str, data: bytes) -> None:
        self.answers[subject] = decode_reply(data)

    def send(self, reply: str, *items: Command) -> None:
        frame = sign(ANNA, OPERATOR, items, now=self.now())
        self.gateway.on_messages([Message(b"pasar.command", reply.encode(), b"", frame)])


async def test_worker_that_hands_back_everything_waits_for_nothing() -> None:
    endpoint = Endpoint(Market().with_worker(ANNA.key))
    endpoint.send("first lane", TakeTasks(4))
    endpoint.send("second lane", TakeTasks(4))
    assert endpoint.answers == {}
    endpoint.send("goodbye", ReturnTasks())
    assert endpoint.answers == dict.fromkeys(("first lane", "second lane", "goodbye"), Reply())
