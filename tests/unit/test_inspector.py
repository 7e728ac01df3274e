"""The inspector against a bus, a market and a sandbox that answer by script."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from domain.blobs import address_of
from domain.commands import AdmitProgram, Command
from domain.errors import BlobMissing
from services.bus.client import RefusedByMarket
from services.bus.commands import Refusal, Reply
from services.bus.inspection import Answer, Inspect
from services.inspector import agent
from services.inspector.agent import Inspector
from services.programs.verdict import DEFAULT, Inadmissible, Inspection
from tests.spec import SMALL

HONEST, HOSTILE, HEAVY = b"an honest program", b"a hostile program", b"a program that exhausts this machine"


class Message:
    def __init__(self, data: bytes) -> None:
        self.data, self.reply = data, "_INBOX.1"
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def respond(self, data: bytes) -> None:
        self.answered.set_result(msgspec.json.decode(data, type=Answer))


class Bus:
    async def subscribe(self, subject: str, *, queue: str, cb: Any) -> None:
        self.hand_over = cb

    async def ask(self, data: bytes) -> Answer:
        message = Message(data)
        await self.hand_over(message)
        async with asyncio.timeout(5):
            return await message.answered


class Blobs(dict[str, bytes]):
    async def put(self, stored: bytes) -> str:
        self[address_of(stored)] = stored
        return address_of(stored)

    async def get(self, address: str) -> bytes:
        if address not in self:
            raise BlobMissing(address=address)
        return self[address]


class World:
    """A sandbox and a market; ``started`` counts the sandboxes, ``seen`` is what was inspected."""

    def __init__(self) -> None:
        self.bus, self.blobs = Bus(), Blobs()
        self.started = 0
        self.let_go = asyncio.Event()
        self.seen: list[bytes] = []
        self.sent: list[Command] = []

    async def send(self, items: Sequence[Command]) -> Reply:
        self.sent += items
        return Reply(position=7)

    @asynccontextmanager
    async def sandbox(self) -> AsyncIterator["World"]:
        self.started += 1
        yield self
        self.let_go.set()

    async def inspect(self, program: bytes) -> Inspection:
        self.seen.append(program)
        if program == HOSTILE:
            raise Inadmissible("callback", "it calls Python back")
        if program == HEAVY:
            raise Inadmissible("timeout", "reading it takes too long")
        return Inspection("1d" * 32, SMALL, ("cpu",), "0.10.2")

    async def ask(self, program: bytes, *, admit: bool = False) -> Answer:
        address = await self.blobs.put(program)
        return await self.bus.ask(msgspec.json.encode(Inspect(address, admit)))


@asynccontextmanager
async def an_inspector(*, idle_s: float = 60.0) -> AsyncIterator[World]:
    world = World()
    inspector = Inspector(world.bus, world, world.blobs, world.sandbox, idle_s=idle_s)  # type: ignore[arg-type]
    await inspector.serve()
    running = asyncio.create_task(inspector.run())
    try:
        yield world
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_program_that_is_only_looked_at_is_not_recorded() -> None:
    async with an_inspector() as world:
        answer = await world.ask(HONEST)
        assert answer.finding is not None
        assert (answer.finding.meter, answer.finding.position) == (SMALL, 0)
        assert world.sent == []


async def test_program_that_is_admitted_is_recorded_with_what_it_takes() -> None:
    async with an_inspector() as world:
        answer = await world.ask(HONEST, admit=True)
        assert answer.finding is not None
        assert answer.finding.position == 7
        assert world.sent == [AdmitProgram(address_of(HONEST), "1d" * 32, SMALL, ("cpu",), "0.10.2")]


async def test_refusal_by_the_market_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(world: World, items: Sequence[Command]) -> Reply:
        raise RefusedByMarket(Refusal(0, "Unauthorised", "only the inspector may do this"))

    monkeypatch.setattr(World, "send", refuse)
    async with an_inspector() as world:
        answer = await world.ask(HONEST, admit=True)
        assert answer.refusal == Refusal(0, "Unauthorised", "only the inspector may do this")


async def test_program_is_read_once_however_often_it_is_asked_for() -> None:
    async with an_inspector() as world:
        for _ in range(3):
            await world.ask(HONEST)
            await world.ask(HOSTILE)
        assert sorted(world.seen) == sorted([HONEST, HOSTILE])


async def test_hostile_program_is_refused_with_the_reason_and_never_recorded() -> None:
    async with an_inspector() as world:
        answer = await world.ask(HOSTILE, admit=True)
        assert answer.refusal is not None
        assert answer.refusal.name == "Inadmissible"
        assert "callback" in answer.refusal.message
        assert world.sent == []


async def test_what_this_machine_ran_out_of_is_tried_again() -> None:
    async with an_inspector() as world:
        for _ in range(2):
            assert (await world.ask(HEAVY)).refusal is not None
        assert world.seen == [HEAVY, HEAVY]


async def test_program_larger_than_allowed_is_refused_unread() -> None:
    async with an_inspector() as world:
        answer = await world.ask(bytes(DEFAULT.program_bytes + 1))
        assert answer.refusal is not None
        assert "too_large" in answer.refusal.message
        assert world.seen == []


async def test_program_that_nobody_holds_is_refused() -> None:
    async with an_inspector() as world:
        answer = await world.bus.ask(msgspec.json.encode(Inspect(address_of(b"nobody has it"))))
        assert answer.refusal is not None
        assert answer.refusal.name == "BlobMissing"


@pytest.mark.parametrize("data", [b"", b"{", b'{"type":"Inspect","program":"../x"}', b'{"type":"Inspect"}', b"\xff"])
async def test_request_that_cannot_be_read_is_refused(data: bytes) -> None:
    async with an_inspector() as world:
        answer = await world.bus.ask(data)
        assert answer.refusal is not None
        assert answer.refusal.name == "Malformed"


async def test_limited_process_starts_on_demand_and_is_let_go_when_nobody_asks() -> None:
    async with an_inspector(idle_s=0.01) as world:
        assert world.started == 0
        await world.ask(HONEST)
        async with asyncio.timeout(5):
            await world.let_go.wait()
        await world.ask(b"another program")
        assert world.started == 2


async def test_more_requests_than_may_wait_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "WAITING_MAX", 1)
    world = World()
    inspector = Inspector(world.bus, world, world.blobs, world.sandbox)  # type: ignore[arg-type]
    await inspector.serve()
    await world.bus.hand_over(Message(b""))
    refused = await world.bus.ask(b"")
    assert refused.refusal is not None
    assert refused.refusal.name == "Unavailable"


@pytest.mark.parametrize("text", ["Z" * 64, "../" * 21 + "a", "a" * 62 + " >", "a" * 63 + "\n", "\u0661" * 64])
async def test_address_that_no_blob_can_have_is_refused_before_it_is_fetched(text: str) -> None:
    """The store makes a path, a subject and bytes of it; and whatever is asked for, the next one is answered."""
    async with an_inspector() as world:
        answer = await world.bus.ask(msgspec.json.encode(Inspect(f"sha256:{text}")))
        assert answer.refusal is not None
        assert answer.refusal.name == "Malformed"
        assert (await world.ask(HONEST)).finding is not None


async def test_program_that_is_withheld_keeps_nobody_else_waiting() -> None:
    class Withholding(Blobs):
        async def get(self, address: str) -> bytes:
            if address == address_of(HEAVY):
                await asyncio.Event().wait()
            return await super().get(address)

    world = World()
    world.blobs = Withholding()
    inspector = Inspector(world.bus, world, world.blobs, world.sandbox)  # type: ignore[arg-type]
    await inspector.serve()
    running = asyncio.create_task(inspector.run())
    await world.bus.hand_over(Message(msgspec.json.encode(Inspect(address_of(HEAVY)))))
    assert (await world.ask(HONEST)).finding is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
