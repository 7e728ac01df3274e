"""A long plain history: single-replica jobs whose tasks leave five events each, worked in leases of 64."""

from datetime import timedelta

from domain import blobs, job, task, worker
from domain.ids import escrow_id
from services.ports import Stored
from tests.simulate import BLOB, Simulation


def plain_history(tasks: int, *, lease: int = 64, job_tasks: int = 10_000) -> list[Stored]:
    """The log of ``tasks`` settled tasks."""
    game = Simulation(1, clients=1, workers=4)
    client = game.clients[0]
    game.deposit("escrow", client, 10**12)
    for party in game.workers:
        game.deposit("stake", party, 10**9)
        game.do(worker.PlaceAsk(1, 512, 4096), party)
    result = blobs.blob_ref(b"result", "1" * 32)
    for start in range(0, tasks, job_tasks):
        size = min(job_tasks, tasks - start)
        posted = job.PostJob(escrow_id(client), BLOB, size, 5, game.now + timedelta(days=1), stake_msat=10)
        job_id = game.do(posted, client)[0].event.job  # type: ignore[union-attr]
        leases = [range(first, min(first + lease, size)) for first in range(0, size, lease)]
        for number in range(0, len(leases), 4):
            turn = list(zip(game.workers, leases[number : number + 4], strict=False))
            for party, indexes in turn:
                until = game.now + timedelta(hours=1)
                game.write([game.world.assign(job_id, index, party, until) for index in indexes], party)
            opened = {}
            for party, indexes in turn:
                for index in indexes:
                    tag = blobs.equality_tag(blobs.digest_of(b"result"), job_id, index)
                    opened[index] = task.SubmitResult(job_id, index, "2" * 32, result, tag)
                    bound = blobs.result_commitment(party, job_id, index, "2" * 32, result, tag)
                    game.do(task.CommitResult(job_id, index, bound), party)
            for party, indexes in turn:
                for index in indexes:
                    game.do(opened[index], party)
    return game.records
