"""Escrow and stake: what may be reserved, paid, taken back, and what is lost."""

import pytest

from domain import errors
from domain.escrow import RefundEscrow
from domain.events import EscrowFunded, EscrowRefunded, EscrowReserved, JobPosted, StakeDeposited, StakeWithdrawn
from domain.ids import escrow_id
from domain.money import MSAT_MAX
from domain.settlement import ConfirmDeposit
from domain.stake import WithdrawStake
from tests.spec import ANNA, BEN, CLIENT, MALLORY, NOW, OPERATOR, Market, a_job, a_market


def test_job_reserves_its_whole_cost() -> None:
    market = a_market()
    _, reserved = market.when(CLIENT, a_job(tasks=10, replicas=2, price_msat=50)).then(JobPosted, EscrowReserved)
    assert isinstance(reserved, EscrowReserved)
    assert reserved.amount_msat == 1_000


def test_job_is_refused_when_the_escrow_is_too_small() -> None:
    market = Market().with_client(999)
    refusal = market.when(CLIENT, a_job(tasks=10, price_msat=100)).refused(errors.EscrowTooSmall)
    assert (refusal.facts["free_msat"], refusal.facts["needed_msat"]) == (999, 1_000)


def test_job_is_refused_on_the_escrow_of_another() -> None:
    market = a_market()
    market.when(MALLORY, a_job()).refused(errors.UnknownEscrow)


def test_job_is_refused_on_an_escrow_that_does_not_exist() -> None:
    market = a_market()
    market.when(MALLORY, a_job(escrow=escrow_id(MALLORY))).refused(errors.UnknownEscrow)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tasks", 0),
        ("tasks", -1),
        ("tasks", 1 << 40),
        ("replicas", 0),
        ("replicas", 9),
        ("price_msat", 0),
        ("price_msat", -5),
        ("price_msat", MSAT_MAX + 1),
        ("stake_msat", -1),
        ("timeout_s", 0),
        ("timeout_s", 10**9),
        ("memory_mb", 1),
        ("expires_at", NOW),
        ("expires_at", NOW.replace(year=2036)),
    ],
)
def test_job_is_refused_when_a_term_is_absurd(field: str, value: object) -> None:
    market = a_market()
    refusal = market.when(CLIENT, a_job(**{field: value})).refused(errors.BadTerms)
    assert field in str(refusal)


def test_refund_takes_free_money_only() -> None:
    market = Market().with_client(1_000).with_job(tasks=6, price_msat=100)
    market.when(CLIENT, RefundEscrow(401)).refused(errors.EscrowTooSmall)
    market.when(CLIENT, RefundEscrow(400)).then(EscrowRefunded)


def test_deposit_is_credited_once() -> None:
    market = a_market()
    deposit = ConfirmDeposit("escrow", CLIENT, 5, "ab" * 16)
    market.when(OPERATOR, deposit).then(EscrowFunded)
    market.when(OPERATOR, deposit).refused(errors.AlreadyCredited)


def test_deposit_is_refused_from_anyone_but_settlement() -> None:
    market = a_market()
    market.when(MALLORY, ConfirmDeposit("escrow", MALLORY, 5, "ab" * 16)).refused(errors.Unauthorised)


def test_stake_deposit_needs_a_registered_worker() -> None:
    market = a_market()
    market.when(OPERATOR, ConfirmDeposit("stake", MALLORY, 5, "ab" * 16)).refused(errors.UnknownWorker)
    market.when(OPERATOR, ConfirmDeposit("stake", ANNA, 5, "ab" * 16)).then(StakeDeposited)


def test_stake_of_open_assignments_cannot_be_withdrawn() -> None:
    market = a_market().with_job(stake_msat=400).assigned(ANNA)
    market.when(ANNA, WithdrawStake(9_601)).refused(errors.StakeTooSmall)
    market.when(ANNA, WithdrawStake(9_600)).then(StakeWithdrawn)


def test_worker_without_enough_stake_is_not_eligible() -> None:
    market = Market().with_client().with_worker(ANNA, stake_msat=400).with_worker(BEN, stake_msat=399)
    market.with_job(tasks=2, stake_msat=400)
    terms = market.world.jobs[market.job].terms
    assert market.world.may_work(ANNA, terms)
    assert not market.world.may_work(BEN, terms)
    market.assigned(ANNA)
    assert not market.world.may_work(ANNA, terms)
