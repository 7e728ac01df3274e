"""A view of the past shows the very rows that the read models had then."""

import asyncio
import random
from pathlib import Path

import pytest

from services.ports import Stored
from services.projections.queries import Reader
from services.projections.runner import Projector
from services.viewing import archive
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from services.viewing.present import Answers, Present
from tests.history import MemoryLog, write_log
from tests.simulate import Simulation
from tests.system.test_projections import running

DEMO = Path(__file__).parents[1] / "golden" / "logs" / "demo.jsonl.gz"
POSITIONS = 20


def records(log: str) -> list[Stored]:
    if log == "demo":
        return list(archive.read(DEMO.read_bytes()).page(0, 10_000))
    return Simulation(int(log.removeprefix("simulated "))).run(400).play_out().records


@pytest.mark.parametrize("log", ["demo", "simulated 7", "simulated 12"])
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
                for job in past.jobs(10**6):
                    assert list(now.tasks(job.job)) == list(past.tasks(job.job))
                    assert now.program(job.program) == past.program(job.program)

            await asyncio.to_thread(compare, past, position)
