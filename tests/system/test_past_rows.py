"""A view of the past shows the very rows that the read models had then."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from services.ports import Stored
from services.projections.queries import Reader
from services.projections.runner import Projector
from services.viewing import archive
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from services.viewing.present import Answers, Present
from services.viewing.view import View
from tests.history import MemoryLog, write_log
from tests.payouts import Payday, told
from tests.simulate import Simulation
from tests.system.test_projections import running

DEMO = Path(__file__).parents[1] / "golden" / "logs" / "demo.jsonl.gz"
POSITIONS = 20


def records(log: str) -> list[Stored]:
    if log == "demo":
        return list(archive.read(DEMO.read_bytes()).page(0, 10_000))
    if log.startswith("payday"):
        return told().records if log == "payday" else Payday(int(log.removeprefix("payday "))).run(250).records
    return Simulation(int(log.removeprefix("simulated "))).run(400).play_out().records


def settled(view: View) -> dict[str, Any]:
    """All that a view has of the chain."""
    found = view.settled
    accounts, payouts = list(found.accounts()), list(found.payouts(1_000))
    return {
        "chain": found.chain(),
        "sums": found.on_chain(),
        "accounts": accounts,
        "alone": [found.account(one.key) for one in accounts],
        "coins": [list(found.coins(one.key)) for one in accounts],
        "terms": [list(found.terms(one.key)) for one in accounts],
        "drawn": [list(found.draws_of(one.key)) for one in accounts],
        "paid": [list(found.payments_of(one.owner)) for one in accounts],
        "payouts": payouts,
        "each": [found.payout(one.epoch) for one in payouts],
        "payments": [list(found.payments(one.epoch)) for one in payouts],
        "draws": [list(found.draws(one.epoch)) for one in payouts],
    }


@pytest.mark.parametrize("log", ["demo", "simulated 7", "simulated 12", "payday", "payday 3", "payday 6"])
async def test_rows_as_of_an_event_are_those_of_the_read_models(database_url: str, log: str) -> None:
    events = records(log)
    await write_log(database_url, events)
    positions = [*sorted(random.Random(log).sample(range(1, len(events)), POSITIONS)), len(events)]
    folds = Folds(Archive(events))
    projector = Projector(MemoryLog([]), database_url, batch_max=100)
    loop = asyncio.get_running_loop()
    async with running(projector), await Reader.open(database_url) as reader:
        for before, position in zip([0, *positions], positions, strict=False):
            projector.offer(events[before:position])
            await projector.caught_up(position)
            past = Past(folds.at(position), Archive(events))

            def compare(past: Past, position: int) -> None:
                now = Present(
                    reader,
                    lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(20),
                    Answers(),
                    position,
                    None,
                )
                assert list(now.jobs(10**6)) == list(past.jobs(10**6))
                assert list(now.workers()) == list(past.workers())
                assert list(now.escrows()) == list(past.escrows())
                assert now.totals() == past.totals()
                assert now.fee_ppm() == past.fee_ppm()
                assert settled(now) == settled(past)
                for job in past.jobs(10**6):
                    assert list(now.settled.job_payouts(job.job)) == list(past.settled.job_payouts(job.job))
                    assert list(now.tasks(job.job)) == list(past.tasks(job.job))
                    assert now.program(job.program) == past.program(job.program)

            await asyncio.to_thread(compare, past, position)
