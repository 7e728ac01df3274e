"""The read side: rows as typed values, events by what they speak of, and no way to change anything."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.errors import Unavailable, UnknownEscrow, UnknownJob, UnknownWorker
from domain.events import JobPosted
from services.ledger.codec import decode_stored
from services.ledger.reader import LogReader
from services.projections.event_index import keys
from services.projections.queries import Ambiguous, NoReadModels, NotShownYet, Reader, ReadModelStopped
from services.projections.runner import Projector
from tests.history import write_log
from tests.simulate import Simulation
from tests.system.test_projections import rows_of, running


@pytest.fixture
async def game(database_url: str) -> Simulation:
    """A log and its read models."""
    game = Simulation(11).run(400).play_out()
    await write_log(database_url, game.records)
    log = await LogReader.open(database_url)
    async with running(Projector(log, database_url)) as projector:
        await projector.caught_up(len(game.records))
    await log.close()
    return game


@pytest.fixture
async def reader(database_url: str, game: Simulation) -> AsyncIterator[Reader]:
    async with await Reader.open(database_url) as reader:
        yield reader


async def test_rows_tell_of_every_job_worker_and_escrow(game: Simulation, reader: Reader) -> None:
    world = game.world
    jobs = {job.job: job for job in await reader.jobs(limit=10_000)}
    assert jobs.keys() == world.jobs.keys()
    assert {id_: job.verified for id_, job in jobs.items()} == {id_: job.verified for id_, job in world.jobs.items()}
    assert {worker.worker for worker in await reader.workers()} == world.workers.keys()
    balances = {one.escrow: (one.free_msat, one.reserved_msat) for one in await reader.escrows()}
    assert balances == {id_: (one.free_msat, one.reserved_msat) for id_, one in world.escrows.items()}
    verified = {job.job for job in await reader.jobs(limit=10_000, state="completed")}
    assert verified == {id_ for id_, job in jobs.items() if job.state == "completed"}
    some = next(job for job in jobs.values() if job.accepted)
    tasks = await reader.tasks(some.job)
    assert sum(task.state == "verified" for task in tasks) == some.accepted
    assert await reader.tasks(some.job, limit=1) == tasks[:1]


async def test_things_are_found_by_the_beginning_of_their_id(game: Simulation, reader: Reader) -> None:
    job, worker, escrow = (next(iter(found)) for found in (game.world.jobs, game.world.workers, game.world.escrows))
    assert (await reader.job(job)).job == (await reader.job(job[:20])).job == job
    assert (await reader.worker(worker)).worker == worker
    assert (await reader.escrow(escrow[:20])).escrow == escrow
    for unknown, ask in ((UnknownJob, reader.job), (UnknownWorker, reader.worker), (UnknownEscrow, reader.escrow)):
        for text in ("", "%", "_", "zz"):
            with pytest.raises(unknown):
                await ask(text)
    digit = next(one for one in "0123456789abcdef" if sum(id_[0] == one for id_ in game.world.jobs) > 1)
    with pytest.raises(Ambiguous, match=f"several jobs begin with {digit}; type more of the id"):
        await reader.job(digit)


async def test_events_are_found_by_whom_they_speak_of(game: Simulation, reader: Reader) -> None:
    spoken = [(stored, keys(decode_stored(stored))) for stored in game.records]
    worker = next(iter(game.world.workers))
    for key in (next(iter(game.world.jobs)), worker, next(iter(game.world.escrows)), "JobPosted"):
        expected = [stored.position for stored, found in spoken if key in found]
        assert [stored.position for stored in await reader.events(key)] == expected
        middle = expected[len(expected) // 2]
        behind = await reader.events(key, after=middle, limit=3)
        assert [stored.position for stored in behind] == [one for one in expected if one > middle][:3]
        assert [stored.position for stored in await reader.latest(key, 4)] == expected[-4:]
    (first, *_) = await reader.events("JobPosted", limit=1)
    assert isinstance(decode_stored(first), JobPosted)
    assert await reader.events("Nothing") == []
    assert [stored.position for stored in await reader.events(after=5, limit=2)] == [6, 7]
    assert [stored.position for stored in await reader.latest(limit=2)][-1] == len(game.records)


async def test_reader_waits_for_a_position(game: Simulation, reader: Reader, database_url: str) -> None:
    end = len(game.records)
    await reader.wait_for(end)
    with pytest.raises(NotShownYet, match=f"are at position {end} and do not show {end + 1} yet"):
        await reader.wait_for(end + 1, timeout_s=0.1)
    await rows_of(database_url, "UPDATE read.track SET poison_pos = 7, poison = 'no' WHERE name = 'jobs'")
    with pytest.raises(ReadModelStopped, match="jobs stopped at position 7"):
        await reader.wait_for(end + 1)


async def test_completed_job_is_watched_once(game: Simulation, reader: Reader) -> None:
    job = next(one for one in await reader.jobs(limit=10_000) if one.state == "completed")
    assert [one async for one in reader.watch(job.job)] == [job]


async def test_reader_cannot_write(reader: Reader) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.log._pool.execute("DELETE FROM read.track")


async def test_reader_says_when_there_is_nothing_to_read(database_url: str) -> None:
    await write_log(database_url, [])
    async with await Reader.open(database_url) as reader:
        with pytest.raises(NoReadModels):
            await reader.jobs()
    with pytest.raises(Unavailable):
        await Reader.open("postgresql://127.0.0.1:1/none")
