"""Programs are admitted before they are posted; work that was verified is handed out again."""

import msgspec
import pytest

from domain import errors
from domain.blobs import blob_ref
from domain.commands import SetFee
from domain.events import (
    EscrowFreed,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
    FeeSet,
    JobCompleted,
    JobPosted,
    JobReused,
    ProgramAdmitted,
    ResultSubmitted,
    ResultVerified,
)
from domain.ids import escrow_id
from tests.spec import (
    ANNA,
    BEN,
    CARL,
    CLIENT,
    MALLORY,
    OPERATOR,
    PROGRAM,
    REFEREE,
    SALT,
    Market,
    a_job,
    a_market,
    admission,
)

STRANGE = blob_ref(b"a program that nobody read", SALT)


def test_program_that_was_not_inspected_is_refused() -> None:
    a_market().when(CLIENT, a_job(program=STRANGE)).refused(errors.NotAdmitted)


@pytest.mark.parametrize("part", [{"offset": 1, "size": 8}, {"size": 8, "commitment": "0" * 64}, {"salt": None}])
def test_part_of_an_admitted_program_is_refused(part: dict[str, object]) -> None:
    """A blob may hold one program in front, which is admitted, and another behind it, which would be run."""
    hidden = msgspec.structs.replace(PROGRAM, **part)
    a_market().when(CLIENT, a_job(program=hidden)).refused(errors.BadTerms)


def test_only_the_inspector_admits_programs() -> None:
    a_market().when(CLIENT, admission(STRANGE.address)).refused(errors.Unauthorised)


def test_program_is_admitted_once() -> None:
    market = a_market()
    market.when(OPERATOR, admission(STRANGE.address)).then(ProgramAdmitted)
    market.when(OPERATOR, admission(STRANGE.address)).then()
    market.when(CLIENT, a_job(program=STRANGE)).then(JobPosted, EscrowReserved)


@pytest.mark.parametrize("terms", [{"platforms": ("tpu",)}, {"platforms": ("cpu", "tpu")}])
def test_job_is_refused_for_platforms_that_its_program_is_not_made_for(terms: dict[str, object]) -> None:
    a_market().when(CLIENT, a_job(**terms)).refused(errors.BadTerms)


def test_job_over_its_budget_is_refused_and_one_that_meets_it_is_not() -> None:
    market = a_market()
    market.when(CLIENT, a_job(tasks=10, price_msat=100, budget_msat=999)).refused(errors.OverBudget)
    market.when(CLIENT, a_job(tasks=10, price_msat=100, budget_msat=1_000)).then(JobPosted, EscrowReserved)


def test_fee_is_charged_on_paid_runs_when_the_job_ends() -> None:
    market = a_market()
    market.when(OPERATOR, SetFee(20_000)).then(FeeSet)
    market.with_job(price_msat=100).assigned(ANNA).committed(ANNA)
    events = market.when(ANNA, market.submit()).then(
        ResultSubmitted, ResultVerified, EscrowReleased, JobCompleted, FeeCharged
    )
    assert [e.amount_msat for e in events if isinstance(e, EscrowReleased | FeeCharged)] == [100, 2]


def test_fee_on_runs_that_were_not_needed_goes_back() -> None:
    market = a_market()
    market.send(OPERATOR, SetFee(20_000))
    market.with_job(price_msat=100, tasks=2).assigned(ANNA).committed(ANNA).submitted(ANNA)
    market.later(10_000)
    ended = market.send(OPERATOR, market.deadline())
    assert [(type(e), e.amount_msat) for e in ended if isinstance(e, FeeCharged | EscrowFreed)] == [
        (FeeCharged, 2),
        (EscrowFreed, 102),
    ]


def test_fee_holds_for_jobs_that_are_posted_after_it() -> None:
    market = a_market().with_job(price_msat=100)
    market.send(OPERATOR, SetFee(500_000))
    assert market.world.jobs[market.job].terms.fee_msat == 0


def test_only_the_operator_sets_the_fee() -> None:
    a_market().when(CLIENT, SetFee(1)).refused(errors.Unauthorised)


# ---------------------------------------------------------------------------------------------------------------- reuse
def settled(market: Market, **terms: object) -> Market:
    return market.with_job(**terms).assigned(ANNA).committed(ANNA).submitted(ANNA)


def test_same_work_of_the_same_client_is_answered_from_the_log_for_a_tenth() -> None:
    market = settled(a_market(), price_msat=100)
    original = market.job
    events = market.when(CLIENT, a_job(price_msat=100, reuse=True)).then(
        JobPosted, JobReused, EscrowReserved, JobCompleted, FeeCharged
    )
    assert events[1].original == original  # type: ignore[union-attr]
    assert [e.amount_msat for e in events if isinstance(e, EscrowReserved | FeeCharged)] == [10, 10]


def test_earlier_results_cost_a_tenth_of_what_they_cost_then_whatever_is_offered_now() -> None:
    market = settled(a_market(), price_msat=100)
    events = market.send(CLIENT, a_job(price_msat=5_000, reuse=True))
    assert [e.amount_msat for e in events if isinstance(e, EscrowReserved)] == [10]


def test_work_runs_again_when_that_costs_less_than_its_earlier_results() -> None:
    settled(a_market(), price_msat=1_000).when(CLIENT, a_job(price_msat=100, reuse=True)).then(
        JobPosted, EscrowReserved
    )


def test_budget_is_held_against_what_the_results_cost() -> None:
    market = settled(a_market(), price_msat=100)
    market.when(CLIENT, a_job(price_msat=100, reuse=True, budget_msat=9)).refused(errors.OverBudget)
    market.when(CLIENT, a_job(price_msat=100, reuse=True, budget_msat=10)).then(
        JobPosted, JobReused, EscrowReserved, JobCompleted, FeeCharged
    )


def test_replicas_are_compared_on_one_kind_of_device() -> None:
    a_market().when(CLIENT, a_job(platforms=("cpu", "cuda"), replicas=2)).refused(errors.BadTerms)


def test_program_whose_address_begins_like_another_is_refused() -> None:
    market = a_market()
    market.send(OPERATOR, admission("sha256:" + "a" * 64))
    market.when(OPERATOR, admission("sha256:" + "a" * 24 + "b" * 40)).refused(errors.AlreadySettled)


def test_same_work_runs_again_when_the_client_does_not_want_it_reused() -> None:
    settled(a_market()).when(CLIENT, a_job(reuse=False)).then(JobPosted, EscrowReserved)


@pytest.mark.parametrize("other", [{"tasks": 2}, {"mapped": STRANGE}, {"shared": STRANGE}])
def test_other_work_is_not_reused(other: dict[str, object]) -> None:
    settled(a_market()).when(CLIENT, a_job(reuse=True, **other)).then(JobPosted, EscrowReserved)


def test_work_checked_by_fewer_replicas_than_asked_for_is_not_reused() -> None:
    settled(a_market()).when(CLIENT, a_job(reuse=True, replicas=2)).then(JobPosted, EscrowReserved)


def test_work_checked_by_more_replicas_is_kept_over_a_later_run_by_fewer() -> None:
    market = a_market().with_job(replicas=2).assigned(ANNA).assigned(BEN)
    market.committed(ANNA).committed(BEN).submitted(ANNA).submitted(BEN)
    settled(market).when(CLIENT, a_job(reuse=True, replicas=2)).then(
        JobPosted, JobReused, EscrowReserved, JobCompleted, FeeCharged
    )


def test_work_of_another_client_is_not_reused_when_its_own_workers_may_have_agreed_on_anything() -> None:
    market = a_market().with_client(client=MALLORY).with_job(replicas=2).assigned(ANNA).assigned(BEN)
    market.committed(ANNA).committed(BEN).submitted(ANNA).submitted(BEN)
    market.when(MALLORY, a_job(escrow=escrow_id(MALLORY), reuse=True)).then(JobPosted, EscrowReserved)


def test_work_that_a_referee_ran_is_reused_for_everybody() -> None:
    market = a_market().with_client(client=MALLORY).with_job(replicas=2).assigned(ANNA).assigned(BEN)
    market.committed(ANNA).committed(BEN, b"wrong").submitted(ANNA).submitted(BEN, b"wrong")
    market.send(REFEREE, market.ruling(upheld=[ANNA], rejected=[BEN]))
    market.assigned(CARL).committed(CARL).submitted(CARL)
    posted = market.when(MALLORY, a_job(escrow=escrow_id(MALLORY), reuse=True))
    posted.then(JobPosted, JobReused, EscrowReserved, JobCompleted, FeeCharged)
