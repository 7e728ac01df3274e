"""What settlement may say, where it is written down, and the whole life of money on the chain."""

from collections import Counter

import pytest

from domain import deposits
from domain.commands import Command
from domain.errors import BadTerms, Unauthorised
from domain.escrow import RefundEscrow
from domain.events import ChainAdvanced, EscrowRefunded, PayoutAllotted, PayoutPlanned
from domain.ids import Kind, escrow_id, kind_of, short_id, stream_of
from domain.market import Fact
from domain.payout import RATE_MSAT_MAX
from domain.settlement import (
    AbandonPayout,
    AdvanceChain,
    ConfirmDeposit,
    ConfirmPayout,
    PlanPayout,
    RecordBroadcast,
    ReorganiseChain,
    ReportTaken,
    ReturnLapsed,
)
from domain.stake import WithdrawStake
from tests.blocks import digest, p2wpkh
from tests.onchain import ARBITER, EXPIRES, OnChain, join_chain, outputs_of
from tests.spec import ANNA, BEN, CLIENT, MALLORY, OPERATOR, key


class Recorded(OnChain):
    """A market whose facts are kept."""

    def __init__(self, **shares: int) -> None:
        self.facts: list[Fact] = []
        super().__init__(**shares)

    def seen(self, facts):  # type: ignore[no-untyped-def]
        self.facts += facts
        return super().seen(facts)


# ------------------------------------------------------------------------------------------------------- who may say it
@pytest.mark.parametrize(
    "command",
    [
        ConfirmDeposit("escrow", CLIENT, 1_000, digest("x"), 0, 1, p2wpkh("x")),
        join_chain(),
        AdvanceChain(500, digest("x")),
        ReorganiseChain(1, digest("x")),
        ReportTaken(digest("x"), 0, digest("y"), 1),
        ReturnLapsed(),
        PlanPayout(1_000, 0, digest("root")),
        RecordBroadcast(1, digest("x")),
        ConfirmPayout(1, digest("x"), 1, "00" * 80, 0, ()),
        AbandonPayout(1),
    ],
    ids=lambda command: type(command).__name__,
)
@pytest.mark.parametrize("party", [CLIENT, ARBITER], ids=["client", "arbiter"])
def test_only_settlement_speaks_for_the_chain(command: Command, party: str) -> None:
    market = OnChain().with_client_on_chain().with_workers(ANNA).earned(ANNA, 30_000)
    market.planned()
    assert "settlement" in str(market.when(party, command).refused(Unauthorised))


# ------------------------------------------------------------------------------------------------------------- planning
@pytest.mark.parametrize("rate_msat", [0, RATE_MSAT_MAX + 1])
def test_payout_is_not_planned_at_a_rate_out_of_all_proportion(rate_msat: int) -> None:
    OnChain().whenever(PlanPayout(rate_msat, 0, digest("root"))).refused(BadTerms)


def test_payout_binds_as_much_of_the_log_as_those_before_it() -> None:
    market = OnChain().with_client_on_chain(400_000).with_workers(ANNA).earned(ANNA, 30_000)
    market.send(OPERATOR, market.planning(size=200))
    market.contested(1).abandoned(1)
    market.send(OPERATOR, market.planning(size=100))
    market.sent(2).confirmed(2).earned(ANNA, 30_000)
    refused = market.whenever(market.planning(size=99)).refused(BadTerms)
    assert (refused.facts["field"], refused.facts["value"]) == ("size", 99)
    assert market.whenever(market.planning(size=100)).then(PayoutPlanned, PayoutAllotted)


def test_one_command_returns_a_bounded_number_of_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "RETURNED_MAX", 2)
    market = OnChain()
    for letter in "GHI":
        market.with_client_on_chain(5_000, key(letter), expires=500)
    market.advanced(500 - market.height)
    market.whenever(ReturnLapsed()).then(EscrowRefunded, EscrowRefunded)
    market.whenever(ReturnLapsed()).then(EscrowRefunded)


# -------------------------------------------------------------------------------------------------- where it is written
def test_chain_and_payouts_have_streams_of_their_own() -> None:
    market = Recorded()
    market.with_client_on_chain(400_000).with_workers(ANNA).earned(ANNA, 30_000).paid()
    market.earned(ANNA, 30_000).paid()
    market.reorganised(market.height - 1)
    owner = short_id(OPERATOR)
    by_stream: dict[bytes, list[int]] = {}
    for event, stream, version in market.facts:
        if kind_of(stream) is Kind.settlement:
            index = getattr(event, "epoch", 0)
            assert stream == stream_of(Kind.settlement, owner, index)
            by_stream.setdefault(stream, []).append(version)
    assert len(by_stream) == 3
    assert all(versions == list(range(1, len(versions) + 1)) for versions in by_stream.values())
    assert any(isinstance(fact.event, ChainAdvanced) for fact in market.facts)


# ------------------------------------------------------------------------------------------------------- the whole life
def test_everything_that_was_paid_in_is_paid_out_or_goes_to_miners() -> None:
    market = OnChain(fee_ppm=50_000).with_client_on_chain(500_000).with_client_on_chain(90_000, MALLORY)
    market.with_workers(ANNA, BEN, sat=30_000)
    for worker, sat, client in ((ANNA, 70_000, CLIENT), (BEN, 40_000, CLIENT), (ANNA, 20_000, MALLORY)):
        market.earned(worker, sat, client)
    paid, fees = Counter[str](), 0
    rungs = [market.paid(rung=2)]
    market.earned(BEN, 100_000)
    rungs.append(market.paid(rung=1))
    for client in (CLIENT, MALLORY):
        market.send(client, RefundEscrow(market.world.escrows[escrow_id(client)].usable_msat))
    for worker in (ANNA, BEN):
        market.send(worker, WithdrawStake(30_000_000))
    rungs.append(market.paid(rung=0))
    for found, rung in zip(rungs, (2, 1, 0), strict=True):
        kept = {drawn.script for drawn in found.planned.drawn} | {found.planned.reserve_script}
        paid.update({script: sat for sat, script in outputs_of(found, rung) if script not in kept})
        fees += found.planned.fees_sat[rung]
    left_sat = sum(coin.value_sat for coin in market.books.coins.values())
    assert paid.total() + fees + left_sat == 500_000 + 90_000 + 2 * 30_000
    owners = [p2wpkh(f"{worker} 0") for worker in (ANNA, BEN)]
    assert paid[owners[0]] == 90_000 + 30_000 - rungs[2].allotted[0].borne_vb
    assert paid[owners[1]] == 140_000 + 30_000 - rungs[2].allotted[0].borne_vb
    assert paid[p2wpkh("market")] == 230_000 // 20
    assert left_sat == market.books.fund_msat // 1_000 + sum(market.books.leaving_msat.values()) // 1_000
    assert sum(map(market.books.due_msat, market.books.earned_msat)) == 0


def test_term_ends_and_another_begins_without_a_pause() -> None:
    market = OnChain().with_client_on_chain(300_000, expires=600).with_workers(ANNA)
    market.earned(ANNA, 30_000).opened(CLIENT, term=1, expires=EXPIRES).paid()
    assert market.books.at_risk_msat(escrow_id(CLIENT)) == 0
    market.advanced(600 - market.height).earned(ANNA, 40_000)
    assert market.books.lapsed == set()
    assert market.advanced(6).paid().allotted[0].amount_sat == 40_000
