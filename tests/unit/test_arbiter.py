"""The arbiter's memory: one transaction of a payout is signed, and one log, whoever asks and however often."""

import copy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from domain.books import State
from domain.settlement import PlanPayout
from services.ledger import codec, merkle
from services.settlement.cosigning import Declined, Signed, SignPayout
from services.settlement.verdicts import Verdict, Verdicts
from tests.settling import Settling, settling
from tests.spec import ANNA, CLIENT

SIGNED = Verdict(5, 100, "aa" * 32, ("11" * 32, "22" * 32))


@pytest_asyncio.fixture
async def market(tmp_path: Path) -> AsyncIterator[Settling]:
    """Something is earned, and nothing is planned."""
    async with settling(tmp_path) as found:
        await found.funded("escrow", CLIENT, 200_000)
        await found.funded("stake", ANNA, 10_000)
        found.earned([ANNA], 4, 5_000_000)
        yield found


def plan(market: Settling, rate_msat: int = 1_000) -> SignPayout:
    """Plan the next payout, and how the arbiter is asked for it."""
    market.send(market.operator, PlanPayout(rate_msat, market.tree.size, market.tree.root.hex()))
    planned = next(reversed(market.world.books.payouts.values())).planned
    return SignPayout(planned.epoch, planned.size, planned.root)


async def test_payout_is_signed_alike_after_a_restart(market: Settling) -> None:
    asked = plan(market)
    first = await market.arbiter.answer(asked)
    market.arbiter = market.new_arbiter()
    assert isinstance(first, Signed)
    assert await market.arbiter.answer(asked) == first


@pytest.mark.parametrize("rate_msat", [1_000, 1_200])
async def test_second_transaction_of_a_payout_is_not_signed_on_a_log_that_was_cut(
    market: Settling, rate_msat: int
) -> None:
    before = copy.deepcopy(market.world), list(market.records), copy.deepcopy(market.tree)
    assert isinstance(await market.arbiter.answer(plan(market)), Signed)
    market.world, market.records, market.tree = before
    asked = plan(market, rate_msat)
    market.arbiter = market.new_arbiter()
    answer = await market.arbiter.answer(asked)
    assert isinstance(answer, Signed) if rate_msat == 1_000 else answer == Declined("plan")


async def test_contested_payout_is_not_signed_after_a_restart(market: Settling) -> None:
    asked = plan(market)
    assert await market.arbiter.answer(SignPayout(1, asked.size, "ab" * 32)) == Declined("root")
    market.arbiter = market.new_arbiter()
    assert await market.arbiter.answer(asked) == Declined("root")
    assert market.world.books.payouts[1].state is State.CONTESTED


@pytest.mark.parametrize("tampered", [False, True])
async def test_log_whose_signed_beginning_was_changed_is_not_signed(market: Settling, tampered: bool) -> None:
    await market.settle(2)
    if tampered:  # who sent an early command, which moves no money
        first = next(stored for stored in market.records if stored.name == "ProgramAdmitted.v1")
        forged = codec.encode_meta(codec.Meta(ANNA, "0" * 32, "0" * 16))
        market.records[first.position - 1] = first._replace(meta=forged)
        market.tree = merkle.CompactRange()
        market.tree.extend([merkle.leaf(stored) for stored in market.records])
    market.earned([ANNA], 4, 5_000_000)
    asked = plan(market)
    market.arbiter = market.new_arbiter()
    answer = await market.arbiter.answer(asked)
    assert answer == Declined("root") if tampered else isinstance(answer, Signed)


def test_verdict_stands_when_another_is_given_of_the_same_payout(tmp_path: Path) -> None:
    path = tmp_path / "arbiter" / "verdicts.json"
    assert Verdicts(path).say(SIGNED) is None
    assert Verdicts(path).say(SIGNED) is None
    for other in (
        Verdict(5, 101, SIGNED.root, SIGNED.txids),
        Verdict(5, 100, "bb" * 32, SIGNED.txids),
        Verdict(5, 100, SIGNED.root, ("11" * 32, "33" * 32)),
    ):
        assert Verdicts(path).say(other) == "plan"
    assert Verdicts(path).say(Verdict(6, 110, "cc" * 32, objection="root")) == "root"
    assert Verdicts(path).say(Verdict(6, 110, "cc" * 32, ("44" * 32,))) == "root"
    assert Verdicts(path).roots() == {100: "aa" * 32}


def test_payout_before_one_that_has_a_verdict_is_not_signed_for_the_first_time(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "verdicts.json")
    assert verdicts.say(SIGNED) is None
    earlier = Verdict(SIGNED.epoch - 1, 90, SIGNED.root, ("33" * 32,))
    assert verdicts.say(earlier) == "plan"
    assert verdicts.say(SIGNED) is None
