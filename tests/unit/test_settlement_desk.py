"""What anybody may send to settlement's desk and to the faucet: it is answered, and nobody else waits for it."""

import asyncio
from pathlib import Path
from typing import cast

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from domain.errors import AlreadyCredited
from services.bus import chain, faucet
from services.bus.chain import Answer, AskTip, MineBlocks, No, Tip
from services.bus.commands import Reply, decode_reply
from services.settlement import desk
from services.settlement.desk import Desk
from services.settlement.errors import BlockRefused
from services.settlement.faucet import Faucet
from services.settlement.treasury import Treasury
from tests.settling import settling
from tests.spec import CLIENT

#: Not UTF-8; nested deeper than is read; cut short; nothing.
UNREADABLE = (
    b'{"type":"%s","account":"\xff\xff","owner":"\xff","amount_msat":1,"request":"\xff"}',
    b'{"account":' + b"[" * 100_000 + b'],"type":"%s"}',
    b'{"type":"%s"',
    b"",
)


class Wire:
    """Takes subscriptions, and hands messages to them."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def subscribe(self, subject: str, *, queue: str, cb: object) -> None:
        self.heard = cb
        await asyncio.sleep(0)  # the real one hears from the server first

    async def send(self, data: bytes) -> None:
        message = type("Message", (), {"data": data, "reply": "inbox", "respond": self.answers.put})()
        await self.heard(cast("Msg", message))  # type: ignore[operator]

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        async with asyncio.timeout(10):
            return await self.answers.get()


def _told(answer: bytes) -> Answer:
    return msgspec.json.decode(answer, type=Answer)  # type: ignore[no-any-return]


async def test_unreadable_request_is_answered(tmp_path: Path) -> None:
    async with settling(tmp_path) as market:
        wire = Wire()
        await Desk(cast("Client", wire), market.chain, market.follower).serve()
        for data in UNREADABLE:
            answer = _told(await wire.ask(data.replace(b"%s", b"AskCoins")))
            assert isinstance(answer, No)
            assert answer.name == "Malformed"


async def test_unreadable_draw_is_answered_and_the_faucet_goes_on(tmp_path: Path) -> None:
    async with settling(tmp_path) as market, asyncio.TaskGroup() as group:
        wire = Wire()
        giver = Faucet(cast("Client", wire), market.treasury, market.follower, tmp_path / "faucet")
        running = group.create_task(giver.run())
        await giver.serve()
        for data in UNREADABLE:
            (refused,) = decode_reply(await wire.ask(data.replace(b"%s", b"Draw"))).refused
            assert refused.name == "Malformed"
        running.cancel()


async def test_tip_is_told_while_blocks_are_mined_and_only_so_many_requests_to_mine_wait(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def mine(blocks: int) -> None:
        await go_on.wait()

    async with settling(tmp_path) as market, asyncio.TaskGroup() as group:
        wire = Wire()
        clerk = Desk(cast("Client", wire), market.chain, market.follower, mine=mine)
        await clerk.serve()
        running = group.create_task(clerk.run())
        asked = msgspec.json.encode(MineBlocks(chain.MINE_MAX))
        await wire.send(asked)
        assert isinstance(_told(await wire.ask(msgspec.json.encode(AskTip()))), Tip)
        for _ in range(desk.WAITING_MAX):
            await wire.send(asked)
        refused = _told(await wire.ask(asked))
        assert isinstance(refused, No)
        assert refused.name == "TooManyWait"
        go_on.set()
        for _ in range(desk.WAITING_MAX + 1):
            assert isinstance(_told(await wire.answers.get()), Tip)
        running.cancel()


async def test_draw_that_is_asked_many_times_at_once_is_paid_once(tmp_path: Path) -> None:
    async with settling(tmp_path) as market, asyncio.TaskGroup() as group:
        wire = Wire()
        await market.opened("escrow", CLIENT)
        giver = Faucet(cast("Client", wire), market.treasury, market.follower, tmp_path / "faucet")
        running = group.create_task(giver.run())
        await giver.serve()
        asked = msgspec.json.encode(faucet.Draw("escrow", CLIENT, 5_000_000, "once"))
        for _ in range(5):
            await wire.send(asked)
        answers: list[Reply] = []
        while len(answers) < 5:
            await market.settle()
            while not wire.answers.empty():
                answers.append(decode_reply(wire.answers.get_nowait()))
        assert {one.name for answer in answers for one in answer.refused} <= {AlreadyCredited.__name__}
        (escrow,) = market.world.escrows.values()
        assert escrow.free_msat == 5_000_000
        running.cancel()


async def test_more_draws_at_once_than_the_faucet_has_outputs_are_all_paid(tmp_path: Path) -> None:
    async with settling(tmp_path) as market, asyncio.TaskGroup() as group:
        wire = Wire()
        await market.opened("escrow", CLIENT)
        giver = Faucet(cast("Client", wire), market.treasury, market.follower, tmp_path / "faucet")
        running = group.create_task(giver.run())
        await giver.serve()
        for number in range(20):  # each takes one of the treasury's few outputs until a block is mined
            await wire.send(msgspec.json.encode(faucet.Draw("escrow", CLIENT, 5_000_000, f"draw {number}")))
        answers: list[Reply] = []
        while len(answers) < 20:
            await market.settle()
            while not wire.answers.empty():
                answers.append(decode_reply(wire.answers.get_nowait()))
        assert [answer.refused for answer in answers] == [[]] * 20
        (escrow,) = market.world.escrows.values()
        assert escrow.free_msat == 20 * 5_000_000
        running.cancel()


async def test_mining_goes_on_after_a_block_that_is_refused(tmp_path: Path) -> None:
    mined = asyncio.Event()
    async with settling(tmp_path) as market, asyncio.TaskGroup() as group:
        treasury = Treasury(market.chain, market.arbiter_signer, mined.set)
        before, then = await market.chain.tip(), market.clock.time
        market.clock.time = then.replace(year=2100)  # later than Bitcoin Core's code takes from the machine's clock
        with pytest.raises(BlockRefused, match="time-too-new"):
            await treasury.mine(1)
        running = group.create_task(treasury.run())
        with capture_logs() as logs:
            treasury.mine_soon()
            async with asyncio.timeout(10):
                while not logs:
                    await market.chain.tip()  # the chain's one thread is asked behind the mining
        market.clock.time = then
        treasury.mine_soon()
        async with asyncio.timeout(10):
            await mined.wait()
        assert (await market.chain.tip()).height == before.height + 1
        running.cancel()


async def test_draw_waits_for_a_term_that_is_not_about_to_end(tmp_path: Path) -> None:
    async with settling(tmp_path) as market, asyncio.TaskGroup() as group:
        wire = Wire()
        await market.opened("escrow", CLIENT)
        await market.treasury.mine(350)
        await market.settle()
        giver = Faucet(cast("Client", wire), market.treasury, market.follower, tmp_path / "faucet")
        running = group.create_task(giver.run())
        await giver.serve()
        await wire.send(msgspec.json.encode(faucet.Draw("escrow", CLIENT, 5_000_000, "late")))
        await market.settle()
        await market.opened("escrow", CLIENT)
        async with asyncio.timeout(15):
            while wire.answers.empty():
                await market.settle()
        assert not decode_reply(wire.answers.get_nowait()).refused
        (escrow,) = market.world.escrows.values()
        assert escrow.free_msat == 5_000_000
        running.cancel()
