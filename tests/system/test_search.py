"""The database finds what the rows in memory hold, and gives up in time."""

import random
from collections import Counter
from pathlib import Path

import pytest

from services.ledger.reader import LogReader
from services.ports import Stored
from services.projections import queries
from services.projections.queries import Hit, Reader
from services.projections.runner import Projector
from services.viewing import archive
from services.viewing.past import Folds, Past
from tests.history import write_log
from tests.payouts import Payday
from tests.simulate import Simulation
from tests.system.test_projections import running

DEMO = Path(__file__).parents[1] / "golden" / "logs" / "demo.jsonl.gz"


def records(log: str) -> list[Stored]:
    return list(archive.read(DEMO.read_bytes()).page(0, 10_000)) if log == "demo" else Simulation(7).run(400).records


async def written(database_url: str, events: list[Stored]) -> Past:
    """A market in the database, and the same in memory."""
    await write_log(database_url, events)
    reader = await LogReader.open(database_url)
    async with running(Projector(reader, database_url)) as projector:
        await projector.caught_up(len(events))
    await reader.close()
    kept = archive.Archive(events)
    return Past(Folds(kept).at(len(events)), kept)


def names(past: Past) -> list[str]:
    jobs = past.jobs(10_000)
    runs = [run for job in jobs for run in past.tasks(job.job)]
    found = [*(job.job for job in jobs), *(job.work_key for job in jobs), *(job.program for job in jobs)]
    found += [*(one.escrow for one in past.escrows()), *(one.client for one in past.escrows())]
    found += [one.worker for one in past.workers()]
    for name in ("commitment", "result_address", "result_commitment", "equality"):
        found += [value for run in runs if (value := getattr(run, name))]
    return found


@pytest.mark.parametrize("log", ["demo", "simulated"])
async def test_hits_in_the_database_are_those_in_memory(database_url: str, log: str) -> None:
    past = await written(database_url, records(log))
    chance = random.Random(log)
    async with await Reader.open(database_url) as reader:
        known = names(past)
        asked = [chance.choice(known)[: chance.choice((3, 5, 12, 80))] for _ in range(60)]
        asked += [*("ABC", "deadbeef"), *(hit.id for hit in past.hits("000")[0])]
        found_any = 0
        for text in asked:
            hits, whole = await reader.hits(text)
            assert whole
            memory, _ = past.hits(text)
            assert {hit.kind for hit in hits} == {hit.kind for hit in memory}, text
            if max(Counter(hit.kind for hit in memory).values(), default=0) < queries.HITS_MAX:
                assert {(h.kind, h.id, h.job, h.task, h.position) for h in hits} == {
                    (h.kind, h.id, h.job, h.task, h.position) for h in memory
                }, text
            found_any += bool(hits)
        assert found_any > 50


async def test_deposit_is_found_by_its_reference(database_url: str) -> None:
    past = await written(database_url, records("demo"))
    funded = past.events("EscrowFunded", limit=1)[0]
    reference = funded.data.partition(b'"reference":"')[2].partition(b'"')[0].decode()
    async with await Reader.open(database_url) as reader:
        hits, _ = await reader.hits(reference)
        assert Hit(kind="deposit", id=reference, position=funded.position) in hits
        assert Hit(kind="deposit", id=reference, position=funded.position) in past.hits(reference)[0]
        for text in ("'", "x' OR '1'='1", "%", "\\", '"'):
            assert await reader.hits(text) == ([], True)


async def test_search_that_takes_too_long_gives_what_has_an_index(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = await written(database_url, records("demo"))
    job = past.jobs(1)[0].job
    slow = "SELECT 'work' AS kind, $1::text || $2 AS id, pg_sleep(60)::text AS job LIMIT $3"
    monkeypatch.setattr(queries, "_SQL", {**queries._SQL, "hits_digests": slow})
    monkeypatch.setattr(queries, "SEARCH_S", 0.05)
    async with await Reader.open(database_url) as reader:
        hits, whole = await reader.hits(job)
        assert not whole
        assert [hit.id for hit in hits] == [job]
        assert await reader.job(job)  # the connection is as good as before


async def test_names_on_the_chain_in_the_database_are_those_in_memory(database_url: str) -> None:
    events = Payday(3).run(250).records
    past = await written(database_url, events)
    chance = random.Random(3)
    payouts, terms = past.settled.payouts(1_000), past.settled.terms()
    digests = [name for one in payouts for name in (one.txid, one.anchor, one.block, one.root) if name]
    digests += [coin.outpoint for one in past.settled.accounts() for coin in past.settled.coins(one.key)]
    scripts = [script for one in terms for script in (one.script, one.paid_to)]
    async with await Reader.open(database_url) as reader:
        for _ in range(60):
            digest = chance.choice([*digests, "-"])[: chance.choice((1, 3, 64, 66, 72))]
            wanted = [chance.choice(scripts)[: chance.choice((6, 9, 68))] for _ in range(chance.randrange(3))]
            assert await reader.settled.named(digest, wanted) == list(past.settled.named(digest, wanted))
        assert await reader.settled.named(digests[0], [scripts[0]])
