"""What people are told of payouts: every state has a sentence, and who waits hears for what, in the rules' numbers."""

from collections import Counter

import pytest
from msgspec.structs import replace

from domain import planning
from domain.books import State
from domain.payees import minimum_sat
from domain.planning import NothingToPay
from services.client import sentences
from services.projections.queries import Worker
from services.viewing import dues
from services.viewing.archive import Archive
from services.viewing.dues import Outlook
from services.viewing.history import read
from services.viewing.past import Folds, Past
from tests.page.recorded import demo
from tests.payouts import Payday, told
from tests.simulate import OPERATOR


def a_view(day: Payday) -> Past:
    archive = Archive(day.records)
    return Past(Folds(archive).at(archive.head()), archive)


def next_of(day: Payday) -> Outlook:
    found = dues.outlook(a_view(day))
    assert found is not None
    return found


def first_worker(day: Payday) -> Worker:
    return a_view(day).worker(day.workers[0])


def test_every_state_of_a_payout_has_a_sentence_that_says_what_comes_next() -> None:
    one = a_view(told()).settled.payout(1)
    said = {
        state: sentences.of_payout(replace(one, state=state, objection=objection), 120)
        for state, objection in (
            (State.PLANNED, None),
            (State.CONTESTED, "root"),
            (State.SENT, None),
            (State.CONFIRMED, None),
            (State.ABANDONED, None),
        )
    }
    assert "market and arbiter sign it next" in said[State.PLANNED]
    assert "its own log has another root; it is given up next" in said[State.CONTESTED]
    assert said[State.SENT] == "Sent, at rung 2 of 2: it waits for a block."
    assert said[State.CONFIRMED] == "Paid: in block 114, 7 blocks deep."
    assert "an output that it spends is gone" in said[State.ABANDONED]
    assert set(said) == set(State)
    first = sentences.of_payout(replace(one, state=State.SENT, fee_sat=one.fees_sat[0]), 120)
    assert first == "Sent: it waits for a block; a dearer rung replaces it if no block takes it."


@pytest.mark.parametrize(
    ("height", "said"),
    [
        (1_000, "Its term ends at block 2,000, in 1,000 blocks; then its owner can take it back alone."),
        (1_928, "in 72 blocks: nothing new relies on it, what is due is paid"),
        (1_999, "in 1 block: nothing new relies on it"),
        (2_000, "Its term ended at block 2,000: its owner can take it back alone."),
    ],
)
def test_every_part_of_a_term_has_a_sentence(height: int, said: str) -> None:
    assert said in sentences.of_term(2_000, height)


def test_market_without_a_chain_has_no_outlook() -> None:
    assert dues.outlook(demo().view(None)) is None


def test_worker_is_told_what_is_paid_at_least_and_why() -> None:
    day = Payday(1)
    day.job(3, 400_000)
    said = dues.of_worker(first_worker(day), next_of(day))
    assert next_of(day).minimum_sat == minimum_sat(1_000) == 1_550
    assert said.startswith(
        "400 sat are less than the 1,550 sat that are paid at least at 1 sat/vB, where an output costs"
    )
    assert "31 sat and at most 2 % may go to miners; it is carried over" in said
    assert next_of(day).hindrance == "no worker has enough due"


def test_worker_is_told_that_the_fund_or_the_share_holds_it_up() -> None:
    day = Payday(1)
    day.job(3, 1_600_000)
    small = next_of(day)
    assert small.fee_sat > small.fund_sat
    assert f"its fee would be about {small.fee_sat} sat, and the fund for miners holds {small.fund_sat} sat" in (
        dues.of_worker(first_worker(day), small)
    )
    dear = small._replace(fund_sat=10_000, paid_sat=4_800, allowed_sat=96)
    assert "more than 2 % of the 4,800 sat that it would pay" in dues.of_worker(first_worker(day), dear)


def test_worker_is_told_of_the_payout_that_pays_it_and_of_the_rest() -> None:
    day = Payday(1)
    day.job(8, 9_000_500)
    assert dues.of_worker(first_worker(day), next_of(day)) == "The next payout takes it."
    day.plan()
    assert dues.of_worker(first_worker(day), next_of(day)).startswith(
        "Payout 1 pays 18,001 sat of it: it is being signed."
    )
    day.send(1)
    assert "it is sent and waits for its block" in dues.of_worker(first_worker(day), next_of(day))
    day.job(8, 9_000_500)
    assert "now payout 1 has to be settled first" in dues.of_worker(first_worker(day), next_of(day))
    day.confirm(1)
    assert a_view(day).worker(day.workers[0]).paid_msat == 18_001_000


def test_worker_without_an_address_is_told_how_to_get_one() -> None:
    day = Payday(1)
    day.job(8, 9_000_000)
    last = a_view(day).worker(day.workers[-1])
    assert last.due_msat
    assert "no address to be paid at" in dues.of_worker(last, next_of(day))


@pytest.mark.parametrize("seed", range(5))
def test_what_can_be_planned_is_never_held_to_be_hindered(seed: int) -> None:
    day, paid = Payday(seed), 0
    for _ in range(200):
        day.step()
        if day.books.open_payouts or day.books.lapsed:
            continue
        found, epoch = next_of(day), len(day.books.payouts) + 1
        try:
            terms = {"rate_msat": found.rate_msat, "size": 1, "root": "00" * 32}
            planned, allotted = planning.plan(day.books, OPERATOR, epoch=epoch, **terms)
        except NothingToPay:
            continue
        if any(one.due == "reward" for one in allotted):
            paid += 1
            assert not found.hindrance
            if all(one.due == "reward" for one in allotted) and all(one.account == "escrow" for one in planned.drawn):
                assert planned.fees_sat[0] <= 2 * found.fee_sat
    assert paid > 5


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_shares_of_a_job_are_what_its_workers_earned_and_payouts_paid(seed: int | None) -> None:
    day = told() if seed is None else Payday(seed).run(250)
    view = a_view(day)
    found = dues.outlook(view)
    assert found is not None
    due = Counter[str]()
    for job in view.jobs(1_000):
        shares = dues.of_job(view, job.job, read(view, job.job), found)
        assert sum(one.earned_msat for one in shares) == job.paid_msat
        for one in shares:
            assert one.waiting_msat == day.books.earned_msat.get(one.worker, {}).get(job.job, 0)
            assert bool(one.why) == bool(one.waiting_msat)
            due[one.worker] += one.waiting_msat
    assert +due == {worker: sum(by_job.values()) for worker, by_job in day.books.earned_msat.items()}
