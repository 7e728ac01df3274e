"""Why a job waits: the reasons and the one fix, on the workers and jobs of a market played by its rules."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from domain.meter import Meter
from services.client import waiting
from services.client.waiting import Waiting
from services.projections.queries import Job, Worker
from services.viewing.history import Run
from services.viewing.rows import Rows
from tests.simulate import START, Simulation

METER = Meter(1_000, 0, 1_000, 1 << 20, 8, 8)
LATER = START + timedelta(minutes=5)


def offered(**terms: Any) -> Job:
    """An open job of 4 tasks at 2 sat, as nobody has taken it."""
    game = Simulation(3)
    while not game.world.jobs:
        game.post(tasks=4, replicas=1, stake_msat=0)
    rows = Rows()
    rows.extend(game.records)
    return replace(rows.jobs[0], price_msat=2_000, expires_at=START + timedelta(hours=1), **terms)


def workers(*asks: dict[str, Any]) -> list[Worker]:
    rows = Rows()
    rows.extend(Simulation(3, workers=len(asks)).records)
    cheap = {"ask_msat": 1_000, "tflop_msat": 0, "gb_msat": 0, "slots": 4, "open": 0}
    return [replace(one, **{**cheap, **ask}) for one, ask in zip(rows.workers, asks, strict=True)]


def why(job: Job, *asks: dict[str, Any]) -> Waiting:
    return waiting.why(job, METER, workers(*asks), fee_ppm=0, since=START)


def test_a_job_waits_when_nothing_happened_for_ten_seconds() -> None:
    job = offered()
    assert not waiting.waits(job, [], since=START, now=START + timedelta(seconds=9))
    assert waiting.waits(job, [], since=START, now=START + timedelta(seconds=10))


def test_a_job_does_not_wait_while_workers_hold_all_of_it() -> None:
    held = [Run(task, 0, "w", []) for task in range(4)]
    assert not waiting.waits(offered(), held, since=START, now=LATER)
    handed_back = [*held[:3], Run(3, 0, "w", [], state="returned")]
    assert waiting.waits(offered(), handed_back, since=START, now=LATER)
    given_up = [*held[:3], Run(3, 0, "w", [], state="failed", closed=True)]
    assert not waiting.waits(offered(), given_up, since=START, now=LATER)


def test_a_job_that_is_over_or_out_of_time_does_not_wait() -> None:
    assert not waiting.waits(offered(state="completed"), [], since=START, now=LATER)
    assert not waiting.waits(offered(), [], since=START, now=START + timedelta(hours=2))


def test_reasons_are_ranked_and_counted_and_the_first_that_can_be_mended_is() -> None:
    lacks, dear = {"ask_memory_mb": 256}, {"ask_msat": 3_500}
    found = why(offered(memory_mb=1024), lacks, lacks, lacks, dear, {"asking": False})
    assert found.reasons == (
        "3 workers lack memory; the largest offers 256 MB",
        "1 worker asks more; the cheapest 3.5 sat a task",
        "1 worker takes no work now",
    )
    assert found.fix.endswith("post it again with at most 256 MB a run.")
    said = found.sentence(LATER)
    assert said.startswith(
        "Nothing has happened for 5 min: 0 of 5 workers would take its tasks; 3 workers lack memory;"
    )


def test_a_price_below_all_asks_is_mended_by_the_cheapest() -> None:
    found = why(offered(), {"ask_msat": 1_400_000}, {"ask_msat": 2_000_000})
    assert found.reasons == ("2 workers ask more; the cheapest 1,400 sat a task",)
    assert found.fix.endswith("post it again for 1,400 sat a run.")


def test_too_much_at_stake_is_mended_by_less() -> None:
    found = why(offered(stake_msat=500_000), {"stake_msat": 100_000})
    assert found.fix.endswith("post it again with at most 100 sat at stake.")


def test_workers_that_are_full_will_take_it_later() -> None:
    found = why(offered(), {"open": 4}, {"open": 5})
    assert (found.able, found.busy, found.reasons) == (2, 2, ())
    assert "2 of 2 workers would take its tasks, 2 with no free place" in found.sentence(LATER)
    assert found.fix.startswith("Wait: ")


def test_workers_that_could_take_it_and_do_not_are_looked_at() -> None:
    assert "pasar worker status" in why(offered(), {}).fix


def test_a_market_without_workers_needs_one() -> None:
    found = why(offered())
    assert "no worker is there" in found.sentence(LATER)
    assert found.fix == "Start a worker that fits with `pasar worker run`."


def test_replicas_need_as_many_different_workers() -> None:
    found = why(offered(replicas=3), {}, {"state": "paused"})
    assert found.able == 1
    assert found.fix == "Each task needs 3 workers: start 2 further workers with `pasar worker run`."
