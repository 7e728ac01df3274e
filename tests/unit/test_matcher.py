"""Who gets which task, and what happens to deadlines: the shell's books beside the world."""

from datetime import timedelta

import pytest

from domain.commands import ExpireAssignment, ExpireJob
from domain.errors import Corrupt
from domain.market import Fact
from domain.orders import Waiting, lease_size, merit
from domain.task import FailTask, ReturnTasks
from services.market.matcher import GRACE, Matcher, Parked
from services.market.timers import Timers
from tests.spec import ANNA, BEN, CARL, MALLORY, NOW, Market, a_market


def assigned(matcher: Matcher, market: Market, worker: str, slots: int = 64) -> list[int]:
    """The tasks of the lease that the worker gets now."""
    leases, _ = matcher.lease(worker, slots, market.now)
    return [index for lease in leases for index in lease.tasks]


def follow(matcher: Matcher, market: Market, worker: str, command: object) -> None:
    before = len(market.world.jobs)
    for event in market.send(worker, command):  # type: ignore[arg-type]
        matcher.see(Fact(event, b"", 0))
    assert len(market.world.jobs) == before


def test_lease_holds_open_tasks_in_order() -> None:
    market = a_market().with_job(tasks=20)
    assert assigned(Matcher(market.world), market, ANNA, slots=3) == [0, 1, 2]


def test_lease_is_no_larger_than_the_worker_offers() -> None:
    market = Market().with_client().with_worker(ANNA, slots=5).with_job(tasks=100)
    matcher = Matcher(market.world)
    assert len(assigned(matcher, market, ANNA)) == 5
    assert assigned(matcher, market, ANNA) == []


def test_lease_is_no_larger_than_the_stake_covers() -> None:
    market = Market().with_client().with_worker(ANNA, stake_msat=1_300).with_job(tasks=100, stake_msat=400)
    assert len(assigned(Matcher(market.world), market, ANNA)) == 3


def test_lease_expires_after_the_time_of_all_its_tasks() -> None:
    market = a_market().with_job(tasks=20, timeout_s=30)
    (lease,), _ = Matcher(market.world).lease(ANNA, 4, market.now)
    assert lease.expires_at == NOW + GRACE + timedelta(seconds=4 * 30)


def test_few_tasks_are_shared_by_those_who_wait() -> None:
    market = a_market().with_job(tasks=8)
    matcher = Matcher(market.world)
    matcher.park(Parked(BEN, 64, "ben", market.now + timedelta(seconds=20)))
    assert len(assigned(matcher, market, ANNA)) == 2


def test_replicas_of_a_task_go_to_different_workers_before_other_tasks_begin() -> None:
    market = a_market().with_job(tasks=3, replicas=2)
    matcher = Matcher(market.world)
    assert assigned(matcher, market, ANNA, slots=1) == [0]
    assert assigned(matcher, market, BEN, slots=1) == [0]
    assert assigned(matcher, market, CARL, slots=1) == [1]


def test_worker_never_gets_both_replicas_of_a_task() -> None:
    market = a_market().with_job(tasks=1, replicas=2)
    matcher = Matcher(market.world)
    assert assigned(matcher, market, ANNA) == [0]
    assert assigned(matcher, market, ANNA) == []


def test_returned_task_is_open_again_even_for_who_returned_it() -> None:
    market = a_market().with_job()
    matcher = Matcher(market.world)
    assert assigned(matcher, market, ANNA) == [0]
    follow(matcher, market, ANNA, ReturnTasks())
    assert assigned(matcher, market, ANNA) == [0]


def test_failed_task_is_not_given_to_who_failed_on_it() -> None:
    market = a_market().with_job()
    matcher = Matcher(market.world)
    assigned(matcher, market, ANNA)
    follow(matcher, market, ANNA, FailTask(market.job, 0, "crash"))
    assert assigned(matcher, market, ANNA) == []
    assert assigned(matcher, market, BEN) == [0]


def test_jobs_take_turns_so_that_a_small_one_does_not_wait() -> None:
    market = a_market().with_job(tasks=50)
    large = market.job
    market.with_job(tasks=2)
    small = market.job
    matcher = Matcher(market.world)
    got = [matcher.lease(ANNA, 2, market.now)[0][0].terms.job for _ in range(2)]
    assert got == [large, small]


def test_matcher_made_anew_offers_what_is_still_open() -> None:
    market = a_market().with_job(tasks=4)
    assigned(Matcher(market.world), market, ANNA, slots=2)
    taken = {index for _, index in market.world.holdings[ANNA].tasks}
    found = assigned(Matcher(market.world), market, BEN, slots=1)
    assert found == [min({0, 1, 2, 3} - taken)]


def test_parked_worker_with_the_lower_ask_is_served_first() -> None:
    market = Market().with_client().with_worker(ANNA, price_msat=90).with_worker(BEN, price_msat=80).with_job()
    matcher = Matcher(market.world)
    for worker in (ANNA, BEN):
        matcher.park(Parked(worker, 1, worker, market.now))
    assert [parked.worker for parked, _, _ in matcher.serve(market.now)] == [BEN]


def test_equal_workers_get_a_task_each_before_one_gets_a_second() -> None:
    market = a_market().with_job(tasks=2)
    matcher = Matcher(market.world)
    for worker in (ANNA, BEN):
        for lane in "12":
            matcher.park(Parked(worker, 64, f"{worker} {lane}", market.now))
    served = [(parked.worker, leases[0].tasks) for parked, leases, _ in matcher.serve(market.now)]
    assert sorted(tasks for _, tasks in served) == [[0], [1]]
    assert {worker for worker, _ in served} == {ANNA, BEN}


def test_request_that_waited_long_enough_is_let_go() -> None:
    market = a_market()
    matcher = Matcher(market.world)
    matcher.park(Parked(ANNA, 1, "reply", market.now + timedelta(seconds=5)))
    assert matcher.expired(market.now) == []
    assert [parked.reply for parked in matcher.expired(market.now + timedelta(seconds=5))] == ["reply"]
    assert matcher.expired(market.now + timedelta(seconds=9)) == []


def test_equal_asks_are_served_by_least_load() -> None:
    waiting = [Waiting(ANNA, 100, 0.5, 1), Waiting(BEN, 100, 0.1, 1), Waiting(CARL, 90, 0.9, 1)]
    assert [one.worker for one in sorted(waiting, key=merit)] == [CARL, BEN, ANNA]


def test_lease_size_shrinks_as_tasks_run_out() -> None:
    assert [lease_size(64, left, 2) for left in (1_000, 100, 10, 1)] == [64, 25, 3, 1]


def test_assignment_is_due_when_its_time_is_over_and_not_before() -> None:
    market = a_market().with_job().assigned(ANNA, seconds=60)
    timers = Timers(market.world)
    assert timers.due(NOW + timedelta(seconds=59)) == []
    assert timers.due(NOW + timedelta(seconds=60)) == [ExpireAssignment(market.job, 0, ANNA)]


def test_answered_assignment_is_never_due() -> None:
    market = a_market().with_job().assigned(ANNA, seconds=60)
    timers = Timers(market.world)
    market.committed(ANNA).submitted(ANNA)
    assert timers.due(NOW + timedelta(hours=2)) == []


def test_job_is_due_at_its_deadline() -> None:
    market = a_market().with_job()
    timers = Timers(market.world)
    assert timers.due(NOW + timedelta(hours=1)) == [ExpireJob(market.job)]


def test_task_that_was_given_up_is_offered_to_nobody() -> None:
    market = Market().with_client().with_worker(ANNA, BEN, CARL, MALLORY).with_job(tasks=2, replicas=2)
    matcher = Matcher(market.world)
    for worker in (ANNA, BEN, CARL):
        assert 0 in assigned(matcher, market, worker, slots=2) + assigned(matcher, market, worker, slots=2)
        follow(matcher, market, worker, FailTask(market.job, 0, "crash"))
        follow(matcher, market, worker, ReturnTasks())
    assert market.world.tasks_of[market.job][0].closed
    assert assigned(matcher, market, MALLORY) + assigned(matcher, market, MALLORY) == [1]
    assert market.world.holdings[MALLORY].tasks == {(market.job, 1)}


def test_opening_that_the_rules_do_not_know_is_a_bug_and_no_refusal() -> None:
    market = a_market().with_job()
    matcher = Matcher(market.world)
    market.assigned(ANNA)
    with pytest.raises(Corrupt):
        matcher.lease(BEN, 1, market.now)
