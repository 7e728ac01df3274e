"""A quote from the asks that stand in the read models."""

from datetime import timedelta

from msgspec import structs

from domain.events import Platform
from domain.job import fee_msat
from domain.meter import Meter
from domain.quote import Needs, Offer, Quote, quote
from services.projections.queries import Reader, Worker

#: What a run may take at least, and how many times the metered work of the slowest that may run it.
TIMEOUT = timedelta(seconds=60)
PATIENCE = 20
#: Memory that a program gets beside its arrays, in MB, and how often its arrays: compiled code keeps copies.
SPARE_MB = 128
COPIES = 2


async def quote_now(reader: Reader, meter: Meter, needs: Needs) -> Quote:
    """What the job would cost if it were posted now; it reserves nothing."""
    offers = [offer_of(one) for one in await reader.workers()]
    return quote(meter, offers, needs, fee_ppm=await reader.fee_ppm())


def at_price(found: Quote, price_msat: int, *, fee_ppm: int) -> Quote:
    """The quote, if the client pays this for a run instead."""
    fee = fee_msat(price_msat, fee_ppm)
    runs = found.tasks * found.replicas
    return structs.replace(
        found,
        price_msat=price_msat,
        fee_msat=fee,
        compute_msat=price_msat * found.tasks,
        checking_msat=price_msat * (runs - found.tasks),
        fees_msat=fee * runs,
        total_msat=(price_msat + fee) * runs,
    )


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


def timeout_s(task_s: float) -> int:
    """Time to give a run that takes ``task_s`` by its meter, in seconds."""
    return max(int(TIMEOUT.total_seconds()), int(PATIENCE * task_s) + 1)
