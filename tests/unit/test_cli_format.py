"""Amounts, times and states as people write and read them."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import FailureReason, Method
from domain.money import MSAT_MAX
from services.client import sentences
from services.projections.queries import Job, Task, Worker
from ui import limits
from ui.format import BadAmount, BadDuration, ago, count, in_sat, parse_duration, parse_msat, sat, until

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "amount_msat"),
    [("12", 12_000), ("12sat", 12_000), ("12 SAT", 12_000), ("1500msat", 1_500), ("0.5", 500), ("0", 0)],
)
def test_amount_is_read(text: str, amount_msat: int) -> None:
    assert parse_msat(text) == amount_msat


@pytest.mark.parametrize(
    "text", ["", "sat", "-1", "1e3", "1,000", "12btc", "0.0001", "0.5msat", "9" * 19, "\u0661\u0662"]
)
def test_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadAmount, match="write 12 or 12sat"):
        parse_msat(text)


@given(st.integers(0, MSAT_MAX))
def test_amount_is_shown_to_the_last_msat(amount_msat: int) -> None:
    assert parse_msat(sat(amount_msat).replace(",", "")) == amount_msat


def test_amount_is_shown_in_satoshi() -> None:
    assert [sat(amount) for amount in (0, 1, 1_500, 1_234_567_000, -2_000)] == [
        "0 sat", "0.001 sat", "1.5 sat", "1,234,567 sat", "-2 sat",
    ]  # fmt: skip


def test_sentence_of_the_market_is_shown_in_satoshi() -> None:
    assert in_sat("has 840000 msat free, 1 msat are needed") == "has 840 sat free, 0.001 sat are needed"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5min", 300), ("2h", 7_200), ("1 d", 86_400)])
def test_time_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5h", "5m", "999999999d"])
def test_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadDuration, match="5min, 2h, 1d"):
        parse_duration(text)


def test_moments_are_shown_from_now() -> None:
    assert ago(NOW - timedelta(minutes=3), now=NOW) == "3 min"
    assert ago(NOW + timedelta(minutes=3), now=NOW) == "0 s"
    assert until(NOW + timedelta(hours=5), now=NOW) == "2026-01-01 17:00 UTC, in 5 h"


def test_nouns_follow_their_number() -> None:
    assert [count(1, "task"), count(2_000, "task")] == ["1 task", "2,000 tasks"]


# ------------------------------------------------------------------------------------------------------------ sentences
def a_row(kind: Any, **fields: Any) -> Any:
    """A row with nothing in it but what the test is about."""
    usual: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        optional = type(None) in get_args(field.type)
        empty = {int: 0, str: "", bool: False, datetime: NOW}
        usual[field.name] = None if optional else empty[field.type]
    return kind(**{**usual, **fields})


def a_job(**fields: Any) -> Job:
    usual = {"state": "open", "tasks": 4, "replicas": 1, "expires_at": NOW + timedelta(hours=1)}
    job: Job = a_row(Job, **{**usual, **fields})
    return job


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Offered: no worker has taken a task yet; it is offered until 2026-01-01 13:00 UTC, in 60 min."),
        (
            {"assigned": 3, "verified": 1, "disputes": 1},
            "Running: 1 of 4 tasks verified, 1 dispute so far; "
            "tasks are given out until 2026-01-01 13:00 UTC, in 60 min.",
        ),
        ({"expires_at": NOW}, "Its time is over: 0 of 4 tasks verified; the market is about to close it."),
        (
            {"state": "cancelled", "verified": 1},
            "Cancelled: 1 of 4 tasks verified; no task is given out any more, what workers hold is taken and paid.",
        ),
        (
            {"state": "expired", "given_up": 1},
            "Expired: 0 of 4 tasks verified, 1 given up; "
            "no task is given out any more, what workers hold is taken and paid.",
        ),
        (
            {"state": "completed", "verified": 4, "failed": 0, "paid_msat": 8_000},
            "Completed: 4 of 4 tasks verified, 8 sat earned by workers.",
        ),
        (
            {"state": "completed", "verified": 3, "failed": 1, "paid_msat": 6_000, "freed_msat": 2_000},
            "Ended: 3 of 4 tasks verified, 1 not; 6 sat earned by workers and 2 sat free again in the escrow.",
        ),
    ],
)
def test_job_in_every_state_has_a_sentence(fields: dict[str, Any], said: str) -> None:
    assert sentences.of_job(a_job(**fields), now=NOW) == said


def test_replica_in_every_state_has_a_sentence() -> None:
    for state in sentences.REPLICA:
        assert sentences.of_run(a_row(Task, state=state))
    for reason in get_args(FailureReason):
        assert "could not run it: " in sentences.of_run(a_row(Task, state="failed", reason=reason))
    for method in get_args(Method):
        assert sentences.of_run(a_row(Task, state="verified", method=method)).startswith("verified: ")


def test_runs_without_result_say_why() -> None:
    waiting = [a_row(Task, state="failed", reason="memory") for _ in range(2)] + [a_row(Task, state="expired")]
    settled = [a_row(Task, state="verified"), a_row(Task, state="failed", reason="crash", closed=True)]
    assert sentences.of_trouble([*waiting, *settled]) == (
        "3 runs without result, waiting for another worker: "
        "it needed too much memory (2), its worker ran out of time (1)."
    )
    assert sentences.of_trouble(settled) == ""


@pytest.mark.parametrize("state", ["active", "paused", "retired"])
def test_worker_in_every_state_has_a_sentence(state: str) -> None:
    for asking in (True, False):
        assert sentences.of_worker(a_row(Worker, state=state, asking=asking)).endswith(".")


def test_limits_of_a_sandbox_are_told_one_a_line() -> None:
    told = limits.lines({"network": True, "system_calls": False})
    assert told[0] == "  granted  network            a program reaches no network"
    assert told[1].startswith("  MISSING  system calls       a program starts no other")
    assert told[2].endswith("run only programs of clients that you trust.")
    assert len(limits.lines({"network": True})) == 1
