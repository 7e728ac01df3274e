"""A quote from the asks that stand in the read models."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from domain.blobs import blob_ref
from domain.events import JobPosted, Platform
from domain.ids import Kind, stream_of
from domain.job import work_key
from domain.meter import Meter
from domain.quote import Needs, Offer, Quote, from_earlier, quote
from services.ledger.codec import decode_stored
from services.projections.queries import Reader, Worker

#: What a run may take at least, and how many times the metered work of the slowest that may run it.
TIMEOUT = timedelta(seconds=60)
PATIENCE = 20
#: Memory that a program gets beside its arrays, in MB, and how often its arrays: compiled code keeps copies.
SPARE_MB = 128
COPIES = 2


class Wanted(NamedTuple):
    """Work that its client may have had done before: see ``domain.job.work_key``."""

    client: str
    work_key: str


def wanted(
    client: str, identity: str, inputs: Sequence[bytes | None], tasks: int, platforms: Sequence[Platform]
) -> Wanted:
    """The work of a program on these inputs, the shared and the mapped ones."""
    refs = [None if content is None else blob_ref(content, "") for content in inputs]
    return Wanted(client, work_key(identity, refs, tasks, platforms))


async def quote_now(reader: Reader, meter: Meter, needs: Needs, wanted: Wanted | None = None) -> Quote:
    """What the job would cost if it were posted now; it reserves nothing.

    Args:
        wanted: To be answered by earlier results, if there are any.
    """
    offers = [offer_of(one) for one in await reader.workers()]
    fees = await reader.fees()
    found = quote(meter, offers, needs, fee_ppm=fees.fee_ppm, chain_ppm=fees.chain_ppm)
    if wanted is None:
        return found
    earlier = await reader.verified(*wanted, needs.replicas)
    if earlier is None:
        return found
    posted = decode_stored((await reader.log.stream(stream_of(Kind.job, earlier.job), limit=1))[0])
    assert isinstance(posted, JobPosted), "a job's history opens with its terms"
    return from_earlier(found, posted)


def offer_of(worker: Worker) -> Offer:
    """A worker's row as an offer."""
    platform: Platform = worker.platform  # type: ignore[assignment]  # the log holds no other
    return Offer(
        worker=worker.worker,
        asking=worker.asking and worker.state == "active",
        platform=platform,
        memory_mb=worker.ask_memory_mb or 0,
        price_msat=worker.ask_msat or 0,
        tflop_msat=worker.tflop_msat or 0,
        gb_msat=worker.gb_msat or 0,
        stake_msat=worker.stake_msat,
        flops_per_s=worker.flops_per_s or 0,
        bytes_per_s=worker.bytes_per_s or 0,
    )


def memory_mb(meter: Meter) -> int:
    """Memory to give a program, in MB."""
    return SPARE_MB + COPIES * -(-meter.memory_bytes >> 20)


def timeout_s(slowest_s: float) -> int:
    """Time to give a run that takes the slowest worker ``slowest_s`` by its meter, in seconds."""
    return max(int(TIMEOUT.total_seconds()), int(PATIENCE * slowest_s) + 1)
