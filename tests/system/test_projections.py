"""Read models are what the log says, however the events come."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import asyncpg
import pytest

from domain import job, task
from domain.events import JobCompleted
from services.ports import Stored
from services.projections.compare import check
from services.projections.generations import PROJECTIONS
from services.projections.jobs import Jobs
from services.projections.model import Change, Projection, Seen, statements
from services.projections.rebuild import rebuild, roll_back
from services.projections.runner import Projector
from services.projections.workers import Workers
from tests.history import MemoryLog
from tests.payouts import Payday
from tests.postgres import Server
from tests.simulate import Simulation

TABLES = {projection.name: statements(projection.name, "read")["rows"] for projection in PROJECTIONS}


@pytest.fixture(scope="module")
def game() -> Simulation:
    return Simulation(7).run(600).play_out()


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[Projector]:
    """The projector at work."""
    async with asyncio.TaskGroup() as group:
        work = group.create_task(projector.run())
        try:
            yield projector
        finally:
            work.cancel()


async def rows_of(database_url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(database_url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def all_rows(database_url: str) -> dict[str, list[Any]]:
    return {name: sorted(await rows_of(database_url, query), key=repr) for name, query in TABLES.items()}


def cut(records: Sequence[Stored], seed: int) -> list[Sequence[Stored]]:
    """The records in batches of random size."""
    chance, batches, start = random.Random(seed), [], 0
    while start < len(records):
        end = start + chance.choice((1, 2, 5, 40, 400))
        batches.append(records[start:end])
        start = end
    return batches


async def fold_in(database_url: str, batches: Sequence[Sequence[Stored]], log: MemoryLog, size: int = 400) -> Projector:
    projector = Projector(log, database_url, batch_max=size)
    async with running(projector):
        for batch in batches:
            projector.offer(batch)
            await projector.caught_up(batch[-1].position)
    return projector


@pytest.mark.parametrize("of", ["game", "payday"])
async def test_read_models_are_the_same_for_any_cut_into_batches(postgres: Server, game: Simulation, of: str) -> None:
    records, found = game.records if of == "game" else Payday(5).run(250).records, []
    for seed in (1, 2, 3):
        await rows_of(postgres.url(), f"CREATE DATABASE cut_{of}_{seed}")
        url = postgres.url(f"cut_{of}_{seed}")
        await fold_in(url, cut(records, seed), MemoryLog([]))
        found.append(await all_rows(url))
    whole = f"cut_{of}_whole"
    await rows_of(postgres.url(), f"CREATE DATABASE {whole}")
    await fold_in(postgres.url(whole), [records], MemoryLog([]), size=10**6)
    found.append(await all_rows(postgres.url(whole)))
    assert found[0] == found[1] == found[2] == found[3]
    assert all(rows for name, rows in found[0].items() if of == "payday" or name != "settlement")


async def test_read_models_say_what_the_market_knows(database_url: str, game: Simulation) -> None:
    await fold_in(database_url, [game.records], MemoryLog(game.records))
    world = game.world
    jobs = await rows_of(
        database_url,
        "SELECT job, state, verified, failed, reserved_msat - paid_msat - charged_msat - freed_msat FROM read.jobs",
    )
    assert sorted(jobs) == sorted(
        (key, "completed", found.verified, found.terms.tasks - found.verified, found.left_msat)
        for key, found in world.jobs.items()
    )
    escrows = await rows_of(
        database_url,
        "SELECT escrow, client, funded_msat, free_msat, reserved_msat, released_msat, charged_msat, refunded_msat "
        "FROM read.escrows",
    )
    assert sorted(escrows) == sorted(
        (e.id, e.client, e.funded_msat, e.free_msat, e.reserved_msat, e.released_msat, e.charged_msat, e.refunded_msat)
        for e in world.escrows.values()
    )
    workers = await rows_of(database_url, "SELECT worker, state, asking, open, stake_msat FROM read.workers")
    assert sorted(workers) == sorted(
        (key, found.state, found.ask is not None, len(world.holding(key).tasks), world.stake_of(key).held_msat)
        for key, found in world.workers.items()
    )
    slots = await rows_of(
        database_url,
        "SELECT job, task, replica, worker, result_address, paid_msat FROM read.tasks WHERE state = 'verified'",
    )
    assert sorted(slots) == sorted(
        (key, index, replica, slot.worker, slot.result.address, world.jobs[key].terms.price_msat)
        for key, tasks in world.tasks_of.items()
        for index, found in enumerate(tasks)
        for replica, slot in enumerate(found.slots)
        if slot.phase is task.Phase.VERIFIED and slot.result is not None
    )


async def test_read_models_show_where_an_unfinished_market_stands(database_url: str) -> None:
    game = Simulation(11).run(300)
    await fold_in(database_url, cut(game.records, 5), MemoryLog([]))
    shown = {
        task.Phase.ASSIGNED: "assigned",
        task.Phase.COMMITTED: "committed",
        task.Phase.SUBMITTED: "submitted",
        task.Phase.VERIFIED: "verified",
    }
    states = await rows_of(
        database_url,
        "SELECT job, task, replica, state, worker, closed FROM read.tasks"
        " WHERE state IN ('assigned', 'committed', 'submitted', 'verified')",
    )
    assert sorted(states) == sorted(
        (key, index, replica, shown[slot.phase], slot.worker, found.closed)
        for key, tasks in game.world.tasks_of.items()
        for index, found in enumerate(tasks)
        for replica, slot in enumerate(found.slots)
        if slot.phase in shown
    )
    assert any(found.state is job.State.OPEN for found in game.world.jobs.values())


async def test_projector_folds_an_event_once_when_it_is_offered_twice(database_url: str, game: Simulation) -> None:
    records = game.records
    batches = [records[:300], records[100:300], records[200:500], records[:500], records[450:]]
    projector = Projector(MemoryLog([]), database_url)
    async with running(projector):
        for batch in batches:
            projector.offer(batch)
        await projector.caught_up(len(records))
    compared = await check(MemoryLog(records), database_url, PROJECTIONS)
    assert [found.name for found in compared if found.equal] == [projection.name for projection in PROJECTIONS]


async def test_projector_reads_a_gap_from_the_log(database_url: str, game: Simulation) -> None:
    log = MemoryLog(game.records[:100])
    projector = Projector(log, database_url)
    async with running(projector):
        await projector.caught_up(100)
        log.records = list(game.records)
        log.reads.clear()
        holed = [record for record in game.records[100:] if record.position % 50]
        projector.offer(holed)
        await projector.caught_up(len(game.records))
    assert log.reads[0] == 149
    assert all(found.equal for found in await check(log, database_url, PROJECTIONS))


async def test_projector_reads_from_the_log_what_it_had_no_room_for(database_url: str, game: Simulation) -> None:
    projector = Projector(MemoryLog(game.records), database_url, queue_max=10)
    assert not projector.offer(game.records)
    async with running(projector):
        await projector.caught_up(len(game.records))
    assert projector.status()["projections"]["jobs"]["lag"] == 0


async def test_projector_notices_news_that_nobody_offers(database_url: str, game: Simulation) -> None:
    log = MemoryLog(game.records[:50])
    async with running(Projector(log, database_url, quiet_s=0.01)) as projector:
        await projector.caught_up(50)
        log.records = list(game.records)
        await projector.caught_up(len(game.records))


class Choosy(Jobs):
    """Cannot stand the event at ``stumbles_at``."""

    name: ClassVar[str] = "jobs"

    def __init__(self, stumbles_at: int) -> None:
        self.stumbles_at = stumbles_at

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        for seen in events:
            if seen.position == self.stumbles_at:
                raise KeyError("what is this")
        return super().fold(events)


async def test_projection_stops_alone_at_the_event_it_cannot_fold(database_url: str, game: Simulation) -> None:
    completed = next(r.position for r in game.records if r.name == "JobCompleted.v1")
    projections: list[Projection] = [Choosy(completed), Workers()]
    async with running(Projector(MemoryLog([]), database_url, projections)) as projector:
        projector.offer(game.records)
        await projector.caught_up(len(game.records))
        shown = projector.status()["projections"]
    assert shown["workers"]["position"] == len(game.records)
    assert shown["jobs"]["state"] == "stopped"
    assert shown["jobs"]["position"] == completed - 1
    assert shown["jobs"]["poison"].position == completed
    assert shown["jobs"]["poison"].event == JobCompleted.__name__
    kept = await rows_of(database_url, "SELECT pos, poison_pos FROM read.track WHERE name = 'jobs'")
    assert kept == [(completed - 1, completed)]


async def test_projections_stop_at_an_event_that_does_not_decode(database_url: str, game: Simulation) -> None:
    records = list(game.records)
    records[499] = records[499]._replace(data=b'{"type": "Nonsense.v1"}')
    async with running(Projector(MemoryLog([]), database_url)) as projector:
        projector.offer(records)
        await projector.until(lambda: len(projector.poisoned) == len(PROJECTIONS))
    assert {poison.position for poison in projector.poisoned.values()} == {500}
    assert {found.position for found in projector.live.values()} == {499}


async def test_projector_goes_on_after_the_database_restarted(database_url: str, postgres: Server) -> None:
    records = Simulation(3).run(200).records
    log = MemoryLog(records[:100])
    async with running(Projector(log, database_url)) as projector:
        await projector.caught_up(100)
        postgres.stop("immediate")
        log.records = list(records)
        projector.offer(records[100:])
        postgres.start()
        await projector.caught_up(len(records))
    assert all(found.equal for found in await check(log, database_url, PROJECTIONS))


async def test_two_projectors_of_the_same_read_models_fold_each_event_once(database_url: str, game: Simulation) -> None:
    log = MemoryLog(game.records)
    one, other = (Projector(log, database_url, batch_max=size) for size in (7, 11))
    async with running(one), running(other):
        await one.caught_up(len(game.records))
        await other.caught_up(len(game.records))
    assert all(found.equal for found in await check(log, database_url, PROJECTIONS))


async def test_rebuild_goes_live_while_the_projector_goes_on(database_url: str, game: Simulation) -> None:
    half = len(game.records) // 2
    log = MemoryLog(game.records[:half])
    async with running(Projector(log, database_url, batch_max=50)) as projector:
        await projector.caught_up(half)

        async def append() -> None:
            for batch in cut(game.records[half:], 9):
                log.records += batch
                projector.offer(batch)
                await projector.caught_up(batch[-1].position)

        async with asyncio.TaskGroup() as group:
            group.create_task(append())
            built = [await rebuild(database_url, p.name, log=log) for p in PROJECTIONS]
        await projector.caught_up(len(game.records))
        await projector.until(lambda: {found.number for found in projector.live.values()} == {2})
    assert {(found.generation, found.replaced) for found in built} == {(2, 1)}
    assert all(found.compared is not None and found.compared.equal for found in built)
    assert all(found.equal for found in await check(log, database_url, PROJECTIONS))


async def test_rebuild_mends_a_read_model_and_names_the_rows_that_were_wrong(
    database_url: str, game: Simulation
) -> None:
    log = MemoryLog(game.records)
    async with running(Projector(log, database_url)) as projector:
        await projector.caught_up(len(game.records))
    await rows_of(
        database_url, "UPDATE jobs_g1.jobs SET paid_msat = 123456789 WHERE job = (SELECT min(job) FROM jobs_g1.jobs)"
    )
    (wrong,) = [found for found in await check(log, database_url, PROJECTIONS) if not found.equal]
    assert "123456789" in wrong.extra[0]
    mended = await rebuild(database_url, "jobs", log=log)
    assert mended.compared == wrong
    assert all(found.equal for found in await check(log, database_url, PROJECTIONS))


async def test_rebuild_keeps_one_generation_to_roll_back_to(database_url: str, game: Simulation) -> None:
    log = MemoryLog(game.records)
    async with running(Projector(log, database_url, quiet_s=0.01)) as projector:
        await projector.caught_up(len(game.records))
        for _ in range(3):
            await rebuild(database_url, "escrows", log=log)
        kept = "SELECT generation, live FROM read.track WHERE name = 'escrows' ORDER BY generation"
        assert await rows_of(database_url, kept) == [(3, False), (4, True)]
        assert await roll_back(database_url, "escrows") == 3
        await projector.until(lambda: projector.live["escrows"].number == 3)
    assert await rows_of(database_url, kept) == [(3, True), (4, False)]
