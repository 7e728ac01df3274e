"""Settlement on a real chain with real signatures: what is earned is paid once, whatever happens to the chain."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from nats.aio.client import Client

from domain import payout
from domain.bitcoin import RBF, Tx, TxIn, TxOut, op_return, p2wsh, parse, txid
from domain.books import DEEP_BLOCKS, SAFETY_BLOCKS, State
from domain.escrow import RefundEscrow
from domain.ids import escrow_id
from domain.settlement import ContestPayout, PayoutSettled
from services.ports import Block, BlockId, Chain, Checked
from services.settlement import signing, start
from services.settlement.agent import RUNG_BLOCKS, URGENT
from services.settlement.cosigning import Declined, Signatures, Signed, SignPayout
from services.settlement.signing import BadSignature, MissingSignature, Spend
from services.settlement.wallet import Role, wallet
from tests.settling import ARBITER, Settling, settling
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
    market.arbiter = market.new_arbiter("U" + "Z" * 55)  # it plans another anchor
    await market.settle(1)
    assert market.objections[:1] == ["plan"]
    assert market.world.books.payouts[1].state is State.ABANDONED
    market.arbiter = market.new_arbiter()
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


@pytest.mark.parametrize("ends", [True, False])
async def test_payout_that_saves_what_an_owner_can_soon_take_does_not_wait_its_time(
    market: Settling, ends: bool
) -> None:
    market.quiet = None
    market.earned([ANNA], 4, 5_000_000)
    market.agent = market.new_agent()
    if ends:
        term = market.world.books.term_of(escrow_id(CLIENT))
        assert term is not None
        await market.treasury.mine(term.expires_height - SAFETY_BLOCKS - (await market.chain.tip()).height)
    await market.agent.turn()
    assert not market.world.books.payouts
    market.clock.time += URGENT
    await market.agent.turn()
    assert len(market.world.books.payouts) == ends


class Contesting:
    """A node at which the arbiter's objection comes in between."""

    def __init__(self, market: Settling, during: str) -> None:
        self._market, self._during = market, during
        self.refused, self.sent = list[str](), list[str]()

    def __getattr__(self, name: str) -> object:
        return getattr(self._market.chain, name)

    def _object(self, at: str) -> None:
        if at == self._during and len(self._market.world.books.payouts) == 1:
            try:
                self._market.send(ARBITER, ContestPayout(1, "plan"))
            except PayoutSettled as refused:
                self.refused.append(str(refused))

    async def check(self, raw: bytes) -> Checked:
        self._object("check")
        return await self._market.chain.check(raw)

    async def send(self, raw: bytes) -> str:
        self._object("send")
        self.sent.append(await self._market.chain.send(raw))
        return self.sent[-1]


@pytest.mark.parametrize(("during", "epochs"), [("check", 2), ("send", 1)])
async def test_payout_is_either_contested_or_sent(market: Settling, during: str, epochs: int) -> None:
    market.earned([ANNA], 4, 5_000_000)
    node = Contesting(market, during)
    market.agent = market.new_agent(cast("Chain", node))
    await market.settle(3)
    assert len(node.refused) == (during == "send")
    assert set(node.sent) == {market.world.books.payouts[epochs].sent}
    assert list(market.world.books.payouts) == [*range(1, epochs + 1)]
    assert await market.unspent_sat(ANNA) == [20_000]


@pytest.mark.parametrize("spent_elsewhere", [True, False])
async def test_payout_out_of_a_deposit_that_left_the_chain_waits_only_while_that_can_return(
    tmp_path: Path, spent_elsewhere: bool
) -> None:
    async with settling(tmp_path) as market:
        await market.funded("stake", ANNA, 10_000)
        before = await market.chain.tip()
        await market.funded("escrow", CLIENT, 200_000)
        market.earned([ANNA], 4, 5_000_000)
        market.arbiter_is_up = False
        await market.settle(0)
        rivals = [await elsewhere(market, before.height + 1)] if spent_elsewhere else []
        behind = (await market.chain.tip()).height - before.height + 1
        await market.chain.fork(before.height, behind, p2wsh(b"another miner's"), rivals)
        market.agent = market.new_agent()
        for _ in range(DEEP_BLOCKS + 1):
            await market.agent.turn()
            await market.chain.fork((await market.chain.tip()).height, 1, p2wsh(b"another miner's"))
        assert market.world.books.payouts[1].state is (State.ABANDONED if spent_elsewhere else State.PLANNED)
        assert market.world.books.due_msat(ANNA) == (20_000_000 if spent_elsewhere else 0)


async def elsewhere(market: Settling, height: int) -> bytes:
    """Another transaction of what the deposit in the block at this height spends."""
    (block,) = await market.chain.blocks(height, 1)
    spent = parse(block.transactions[1]).inputs[0].outpoint
    raws = (raw for one in await market.chain.blocks(0, height) for raw in one.transactions)
    held = next(parse(raw).outputs[spent.vout] for raw in raws if txid(parse(raw)) == spent.txid)
    rewards = wallet(market.settings, "treasury", network="regtest").signer(Role.payout, 0)
    tx = Tx((TxIn(spent, RBF),), (TxOut(held.value_sat - 1_000, p2wsh(b"elsewhere")),))
    return signing.sign_p2wpkh(tx, [Spend(held.value_sat, held.script)], rewards)


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
        while "holds none of the last" not in str(agent.status()["next"]):
            await market.chain.tip()
        cast("Elsewhere", chain).blocks = market.chain.blocks  # type: ignore[method-assign]
        while "nobody has enough due" not in str(agent.status()["next"]):
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
