"""What a job would cost, and why nobody could run it."""

from typing import Any

import pytest

from domain.meter import Meter
from domain.money import MSAT_MAX
from domain.orders import price_msat
from domain.quote import Needs, Offer, from_earlier, quote
from tests.spec import a_market

#: 2 x 10^12 operations (a tenth of them as transcendentals), 5 GB moved, 300 MB at a time.
WORK = Meter(1_000_000_000_000, 100_000_000_000, 5_000_000_000, 300 << 20, 1 << 20, 1 << 20)
SPEED = {"flops_per_s": 10**12, "bytes_per_s": 10**11}


def offer(name: str, **changes: Any) -> Offer:
    usual: dict[str, Any] = {"asking": True, "platform": "cpu", "memory_mb": 2048, "price_msat": 100, **SPEED}
    return Offer(name, **{**usual, **changes})


def needs(**changes: Any) -> Needs:
    usual: dict[str, Any] = {"tasks": 4, "replicas": 2, "platforms": ("cpu",), "memory_mb": 1024}
    return Needs(**{**usual, **changes})


def test_price_is_the_metered_work_at_the_rates_of_the_ask() -> None:
    assert price_msat(offer("a", tflop_msat=1_000, gb_msat=30), WORK) == 2_000 + 150


def test_price_is_never_below_the_least_that_the_worker_names() -> None:
    assert price_msat(offer("a", price_msat=5_000, tflop_msat=1_000), WORK) == 5_000


def test_price_is_rounded_up_to_a_whole_millisatoshi() -> None:
    assert price_msat(offer("a", price_msat=1, tflop_msat=7), Meter(1_000_000_000_001, 0, 0, 0, 0, 0)) == 8


def test_quote_adds_up_and_lets_one_worker_to_spare_take_the_job() -> None:
    found = quote(
        WORK,
        [offer(n, price_msat=p) for n, p in zip("abcd", (100, 200, 300, 400), strict=True)],
        needs(),
        fee_ppm=10_000,
    )
    assert (found.price_msat, found.eligible, found.workers) == (300, 3, 4)
    assert (found.compute_msat, found.checking_msat, found.fees_msat) == (1_200, 1_200, 24)
    assert found.total_msat == found.compute_msat + found.checking_msat + found.fees_msat == 2_424


def test_one_high_ask_does_not_set_the_price_of_all() -> None:
    offers = [offer("a"), offer("b", price_msat=150), offer("greedy", price_msat=10**15)]
    found = quote(WORK, offers, needs(), fee_ppm=0)
    assert (found.price_msat, found.eligible) == (150, 2)


def test_ask_that_nobody_can_pay_is_no_offer() -> None:
    found = quote(WORK, [offer("a", price_msat=MSAT_MAX, tflop_msat=MSAT_MAX)], needs(replicas=1), fee_ppm=0)
    assert (found.possible, found.total_msat) == (False, 0)
    assert [r.hindrance for r in found.reasons] == ["price"]


def test_quote_with_nobody_to_spare_asks_the_price_of_the_last_one_needed() -> None:
    found = quote(WORK, [offer("a"), offer("b", price_msat=250)], needs(), fee_ppm=0)
    assert (found.price_msat, found.eligible, found.possible) == (250, 2, True)


def test_quote_tells_the_time_of_all_eligible_workers_together() -> None:
    found = quote(WORK, [offer(n) for n in "abc"], needs(replicas=1, tasks=300), fee_ppm=0)
    assert found.task_s == pytest.approx(2.0)
    assert found.eta_s == pytest.approx(300 * 2.001 / 3)


def test_quote_is_as_slow_as_moving_the_bytes_where_that_takes_longer() -> None:
    found = quote(WORK, [offer("a", bytes_per_s=10**9)], needs(replicas=1, tasks=1), fee_ppm=0)
    assert found.task_s == pytest.approx(5.0)


def test_job_that_nobody_can_run_says_why_with_counts_and_the_nearest_that_would_do() -> None:
    offers = [
        offer("a", memory_mb=512),
        offer("b", memory_mb=768),
        offer("c", platform="tpu"),
        offer("d", asking=False),
        offer("e", price_msat=900),
        offer("f", stake_msat=0),
    ]
    found = quote(WORK, offers, needs(stake_msat=10, price_msat=500), fee_ppm=0)
    assert not found.possible
    assert found.total_msat == found.price_msat == 0
    assert {(r.hindrance, r.workers) for r in found.reasons} == {
        ("memory", 2),
        ("platform", 1),
        ("asks_nothing", 1),
        ("stake", 2),
    }
    assert str(found.reasons[0]) == "2 workers lack memory; the largest offers 768 MB"
    rich = [offer(o.worker, price_msat=900, stake_msat=10) for o in offers]
    dear = quote(WORK, rich, needs(stake_msat=10, price_msat=500), fee_ppm=0)
    assert [str(r) for r in dear.reasons] == ["6 workers ask more; the cheapest 900 msat a task"]


def test_quote_for_work_that_was_verified_before_names_the_job_and_a_tenth_of_its_cost() -> None:
    market = a_market().with_job(price_msat=1_000, tasks=4)
    original = market.world.jobs[market.job].terms
    found = from_earlier(quote(WORK, [offer("a", price_msat=900)], needs(replicas=1), fee_ppm=0), original)
    assert (found.original, found.due_msat, found.total_msat) == (market.job, 400, 3_600)


def test_quote_for_work_that_was_verified_before_needs_no_worker() -> None:
    market = a_market().with_job(price_msat=1_000, tasks=4)
    found = from_earlier(quote(WORK, [], needs(), fee_ppm=0), market.world.jobs[market.job].terms)
    assert (found.possible, found.price_msat, found.due_msat) == (True, 1_000, 400)


def test_quote_prefers_a_new_run_where_that_costs_less() -> None:
    market = a_market().with_job(price_msat=1_000, tasks=4)
    found = from_earlier(
        quote(WORK, [offer("a", price_msat=50)], needs(replicas=1), fee_ppm=0), market.world.jobs[market.job].terms
    )
    assert (found.original, found.due_msat) == ("", 200)


def test_price_of_the_client_s_own_is_what_is_quoted() -> None:
    found = quote(WORK, [offer("a"), offer("b", price_msat=300)], needs(replicas=1, price_msat=250), fee_ppm=0)
    assert (found.price_msat, found.eligible, found.total_msat) == (250, 1, 1_000)


def test_market_without_workers_gives_no_price_and_no_reason() -> None:
    found = quote(WORK, [], needs(), fee_ppm=0)
    assert (found.possible, found.workers, found.reasons) == (False, 0, ())
