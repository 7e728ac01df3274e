"""Settlement on a real chain with real signatures: what is earned is paid once, whatever happens to the chain."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from nats.aio.client import Client

from domain import payout
from domain.bitcoin import op_return, parse, txid
from domain.books import State
from domain.escrow import RefundEscrow
from services.ports import Block, BlockId, Chain
from services.settlement import start
from services.settlement.agent import RUNG_BLOCKS
from services.settlement.cosigning import Declined, Signatures, Signed, SignPayout
from services.settlement.signing import BadSignature, MissingSignature
from tests.settling import Settling, settling
from tests.spec import ANNA, BEN, CLIENT


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Settling]:
    """A client with 200,000 sat in escrow, and two workers."""
    async with settling(tmp_path) as found:
        await found.funded("escrow", CLIENT, 200_000)
        for worker in (ANNA, BEN):
            await found.funded("stake", worker, 10_000)
        yield found


async def test_earned_rewards_are_paid_by_one_transaction_that_binds_the_log(market: Settling) -> None:
    market.earned([ANNA, BEN], 10, 5_000_000)
    size_before = market.tree.size
    await market.settle()
    (found,) = market.world.books.payouts.values()
    assert found.state is State.CONFIRMED
    assert await market.unspent_sat(ANNA) == await market.unspent_sat(BEN) == [25_000]
    assert market.world.books.due_msat(ANNA) == 0
    blocks = await market.chain.blocks(found.confirmed.height, 1)  # type: ignore[union-attr]
    (tx,) = [parse(raw) for raw in blocks[0].transactions if txid(parse(raw)) == found.sent]
    assert op_return(bytes.fromhex(found.planned.anchor)) in [output.script for output in tx.outputs]
    assert found.planned.size == size_before


async def test_second_turn_pays_nothing_again(market: Settling) -> None:
    market.earned([ANNA], 4, 5_000_000)
    await market.settle(3)
    await market.settle(3)
    assert len(market.world.books.payouts) == 1
    assert await market.unspent_sat(ANNA) == [20_000]


async def test_client_gets_free_money_back_and_bears_the_fee(market: Settling) -> None:
    market.send(CLIENT, RefundEscrow(150_000_000))
    await market.settle()
    (paid_sat,) = await market.unspent_sat(CLIENT)
    fee_sat = market.world.books.payouts[1].confirmed.fee_sat  # type: ignore[union-attr]
    assert paid_sat == 150_000 - fee_sat
    (coin,) = market.world.books.coins_of(next(iter(market.world.escrows)))
    assert coin.value_sat == 50_000


async def test_payout_comes_again_after_a_reorganisation_and_pays_once(market: Settling) -> None:
    market.earned([ANNA, BEN], 10, 5_000_000)
    await market.settle()
    height = (await market.chain.tip()).height
    sent = market.world.books.payouts[1].sent
    await market.chain.fork(height - 2, 4, market.treasury.script)
    await market.agent.turn()
    assert market.world.books.payouts[1].state is State.SENT
    assert market.world.books.due_msat(ANNA) == 0
    await market.settle()
    assert (market.world.books.payouts[1].state, market.world.books.payouts[1].sent) == (State.CONFIRMED, sent)
    assert len(market.world.books.payouts) == 1
    assert await market.unspent_sat(ANNA) == [25_000]


async def test_deposit_that_leaves_the_chain_cannot_be_spent_until_it_is_back(market: Settling) -> None:
    await market.pay("escrow", CLIENT, 70_000)
    await market.settle()
    (escrow,) = market.world.escrows.values()
    assert escrow.usable_msat == 270_000_000
    height = (await market.chain.tip()).height
    await market.chain.fork(height - 2, 4, market.treasury.script)
    await market.agent.turn()
    (escrow,) = market.world.escrows.values()
    assert (escrow.free_msat, escrow.usable_msat) == (270_000_000, 200_000_000)
    await market.settle()
    (escrow,) = market.world.escrows.values()
    assert escrow.usable_msat == 270_000_000


async def test_settlement_that_dies_at_any_step_pays_once(market: Settling) -> None:
    for _ in range(4):
        market.earned([ANNA, BEN], 10, 1_000_000)
        for _ in range(6):
            market.agent = market.new_agent()
            await market.agent.turn()
        await market.treasury.mine(1)
        market.agent = market.new_agent()
        await market.agent.turn()
    await market.settle(2)
    assert sum(await market.unspent_sat(ANNA)) == sum(await market.unspent_sat(BEN)) == 20_000
    assert market.world.books.due_msat(ANNA) == 0


async def test_nothing_is_sent_without_the_arbiter(market: Settling) -> None:
    market.arbiter_is_up = False
    market.earned([ANNA], 4, 5_000_000)
    await market.settle(2)
    assert market.world.books.payouts[1].state is State.PLANNED
    assert await market.unspent_sat(ANNA) == []
    market.arbiter_is_up = True
    await market.settle(2)
    assert await market.unspent_sat(ANNA) == [20_000]


async def test_payout_that_the_arbiter_contests_is_given_up_and_planned_anew(market: Settling) -> None:
    market.earned([ANNA], 4, 5_000_000)
    honest = market.ledger
    market.ledger = type(honest)("U" + "Z" * 55)  # an arbiter of another market plans another anchor
    await market.settle(1)
    assert market.objections[:1] == ["plan"]
    assert market.world.books.payouts[1].state is State.ABANDONED
    market.ledger = honest
    await market.settle(3)
    assert await market.unspent_sat(ANNA) == [20_000]


async def test_payout_that_binds_another_log_is_not_signed(market: Settling) -> None:
    market.earned([ANNA], 4, 5_000_000)
    market.false_root = "ab" * 32
    await market.settle(1)
    assert market.objections[0] == "root"
    assert await market.unspent_sat(ANNA) == []
    market.false_root = ""
    await market.settle(3)
    assert await market.unspent_sat(ANNA) == [20_000]


async def test_dearer_rung_is_sent_where_the_cheap_one_is_not_mined(market: Settling) -> None:
    market.earned([ANNA, BEN], 10, 5_000_000)
    taken: list[str] = []

    class Deaf:
        """A node whose pool forgets what it is sent."""

        def __getattr__(self, name: str) -> object:
            return getattr(market.chain, name)

        async def send(self, raw: bytes) -> str:
            taken.append(txid(parse(raw)))
            return taken[-1]

    market.agent = market.new_agent(cast("Chain", Deaf()))
    await market.settle(RUNG_BLOCKS + 1)
    found = market.world.books.payouts[1]
    ids = [txid(payout.transaction(found.planned, found.allotted, rung)) for rung in range(2)]
    assert list(dict.fromkeys(taken)) == ids
    assert (found.sent, found.state) == (ids[1], State.SENT)
    market.agent = market.new_agent()
    await market.settle(2)
    confirmed = market.world.books.payouts[1].confirmed
    assert confirmed is not None
    assert (confirmed.txid, confirmed.fee_sat) == (ids[1], found.planned.fees_sat[1])


@pytest.mark.parametrize("rungs", [(), ((),), (((b"\0" * 73,) * 9),) * 9])
async def test_arbiter_that_signs_too_little_or_nonsense_is_refused_and_nothing_is_kept(
    market: Settling, monkeypatch: pytest.MonkeyPatch, rungs: tuple[Signatures, ...]
) -> None:
    async def careless(asked: SignPayout) -> Signed:
        return Signed(rungs)

    market.earned([ANNA], 10, 5_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(market.agent, "_ask_arbiter", careless)
        await market.agent.turn()
        with pytest.raises((BadSignature, MissingSignature)):
            await market.agent.turn()
    await market.settle(2)
    assert market.world.books.payouts[1].state is State.CONFIRMED


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"type":"Signed","rungs":[["\xff"]]}', b"[" * 100_000])
async def test_answer_of_the_arbiter_that_cannot_be_read_is_none(answer: bytes) -> None:
    class Wire:
        async def request(self, subject: str, data: bytes, timeout: float) -> object:
            return type("Message", (), {"data": answer})()

    assert await start._ask_arbiter(cast("Client", Wire()), SignPayout(1, 1, "00" * 32)) == Declined()


async def test_settlement_says_what_is_wrong_and_that_it_is_well_again(market: Settling) -> None:
    chain = cast("Chain", Elsewhere(market.chain))
    agent = market.new_agent(chain)
    running = asyncio.ensure_future(agent.run())
    async with asyncio.timeout(20):
        while "holds none of the last" not in str(agent.status()["waits_for"]):
            await market.chain.tip()
        cast("Elsewhere", chain).blocks = market.chain.blocks  # type: ignore[method-assign]
        while "nobody has enough due" not in str(agent.status()["waits_for"]):
            await market.chain.tip()
    running.cancel()


class Elsewhere:
    """A chain that holds other blocks than the market knows."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain, name)

    async def tip(self) -> BlockId:
        height, name = await self._chain.tip()
        return BlockId(height, name) if self.blocks == self._chain.blocks else BlockId(height, "00" * 32)

    async def blocks(self, start: int, limit: int) -> Sequence[Block]:
        return []
