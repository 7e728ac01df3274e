"""What a job would cost now, when it would be done and who could run it; or why nobody can.

The price is the one at which as many workers as the job needs, and one to spare, would run it: a worker that leaves
does not stop it then. With none to spare, or none for at most twice as much, it is what the dearest of those needed
asks: otherwise one high ask would set the price of all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from domain import job, orders
from domain.events import JobPosted, Platform
from domain.job import fee_msat
from domain.meter import Meter
from domain.money import MSAT_MAX

#: What a worker spends on a task besides computing it, in seconds.
OVERHEAD_S: Final = 0.001
#: How many times the price of those needed a spare worker may cost.
SPARE_MOST: Final = 2

Hindrance = Literal["asks_nothing", "platform", "memory", "stake", "price"]


class Offer(Struct, frozen=True):
    """A worker as the market knows it; it satisfies ``orders.Rates``.

    Attributes:
        asking: It is active and its ask stands.
        price_msat, tflop_msat, gb_msat, memory_mb: Of its ask.
        flops_per_s, bytes_per_s: As measured; 0 if never.
    """

    worker: str
    asking: bool
    platform: Platform
    memory_mb: int
    price_msat: int
    tflop_msat: int = 0
    gb_msat: int = 0
    stake_msat: int = 0
    flops_per_s: int = 0
    bytes_per_s: int = 0


class Needs(Struct, frozen=True):
    """What the job asks of a worker.

    Attributes:
        price_msat: What the client pays for a run; absent: what the asks say.
    """

    tasks: int
    replicas: int
    platforms: tuple[Platform, ...]
    memory_mb: int
    stake_msat: int = 0
    price_msat: int | None = None


class Reason(Struct, frozen=True):
    """Why so many workers cannot run the job, and what would let one of them.

    Attributes:
        nearest: In the unit of the hindrance (msat, MB, platform's name): the least change that brings a worker in.
    """

    hindrance: Hindrance
    workers: int
    nearest: int | str

    def __str__(self) -> str:
        several = self.workers != 1
        who = f"{self.workers} worker{'s' if several else ''}"
        match self.hindrance:
            case "asks_nothing":
                return f"{who} take{'' if several else 's'} no work now"
            case "platform":
                return f"{who} compute{'' if several else 's'} on {self.nearest}"
            case "memory":
                return f"{who} lack{'' if several else 's'} memory; the largest offers {self.nearest:,} MB"
            case "stake":
                return f"{who} {'have' if several else 'has'} too little at stake; the most is {self.nearest:,} msat"
            case "price":
                return f"{who} ask{'' if several else 's'} more; the cheapest {self.nearest:,} msat a task"


class Quote(Struct, frozen=True):
    """Attributes:
    price_msat, fee_msat, chain_msat: For one run of one task. All prices are 0 when nobody can run the job.
    compute_msat: One run of each task. checking_msat: The other runs, which confirm it.
    fees_msat: What the market takes. miners_msat: What is kept for those who mine the payouts. total_msat: All of it.
    task_s, slowest_s: Seconds that one run takes the fastest and the slowest eligible worker; 0 if none was ever
        measured.
    eta_s: Seconds until all runs are done, were all eligible workers free; without compiling.
    eligible: Workers that would run it at this price, of all there are.
    reasons: Why the others would not, most frequent first.
    original: The job whose results would be handed out instead, for ``reuse_msat``; empty if the work is new.
    """

    meter: Meter
    tasks: int
    replicas: int
    price_msat: int
    fee_msat: int
    chain_msat: int
    compute_msat: int
    checking_msat: int
    fees_msat: int
    miners_msat: int
    total_msat: int
    task_s: float
    slowest_s: float
    eta_s: float
    eligible: int
    workers: int
    reasons: tuple[Reason, ...]
    original: str = ""
    reuse_msat: int = 0

    @property
    def possible(self) -> bool:
        """Whether enough workers could run it, or nobody has to."""
        return bool(self.original) or self.eligible >= self.replicas

    @property
    def due_msat(self) -> int:
        """What would be reserved."""
        return self.reuse_msat if self.original else self.total_msat


def quote(meter: Meter, offers: Sequence[Offer], needs: Needs, *, fee_ppm: int, chain_ppm: int = 0) -> Quote:
    """Price a job on the asks that stand; it reserves nothing.

    Args:
        fee_ppm, chain_ppm: Shares of a price for the market and for miners, in parts per million.
    """
    hindered = [(_hindrance(one, meter, needs), one) for one in offers]
    able = sorted((orders.price_msat(one, meter), one.worker, one) for hindrance, one in hindered if hindrance is None)
    possible = len(able) >= needs.replicas
    price_msat = 0
    if possible:
        price_msat = needs.price_msat or _price_msat([asked_msat for asked_msat, _, _ in able], needs.replicas)
    takers = [one for asked_msat, _, one in able if asked_msat <= price_msat]
    fee, chain = fee_msat(price_msat, fee_ppm), fee_msat(price_msat, chain_ppm)
    runs = needs.tasks * needs.replicas
    seconds = [task_s(one, meter) for one in takers if one.flops_per_s and one.bytes_per_s]
    return Quote(
        meter=meter,
        tasks=needs.tasks,
        replicas=needs.replicas,
        price_msat=price_msat,
        fee_msat=fee,
        chain_msat=chain,
        compute_msat=price_msat * needs.tasks,
        checking_msat=price_msat * (runs - needs.tasks),
        fees_msat=fee * runs,
        miners_msat=chain * runs,
        total_msat=(price_msat + fee + chain) * runs,
        task_s=min(seconds, default=0.0),
        slowest_s=max(seconds, default=0.0),
        eta_s=max(runs / sum(1 / (each + OVERHEAD_S) for each in seconds), *seconds) if seconds else 0.0,
        eligible=len(takers) if possible else len(able),
        workers=len(offers),
        reasons=_reasons(hindered, meter),
    )


def from_earlier(found: Quote, original: JobPosted) -> Quote:
    """The quote for work that an earlier job's results answer, where that costs less than running it."""
    reuse_msat = job.reuse_msat(original)
    if found.possible and reuse_msat >= found.total_msat:
        return found
    price_msat = found.price_msat or original.price_msat
    return replace(found, price_msat=price_msat, original=original.job, reuse_msat=reuse_msat)


def _price_msat(asked_msat: Sequence[int], replicas: int) -> int:
    needed_msat, spare_msat = asked_msat[replicas - 1], asked_msat[: replicas + 1][-1]
    return spare_msat if spare_msat <= SPARE_MOST * needed_msat else needed_msat


def task_s(offer: Offer, meter: Meter) -> float:
    """Seconds that one run takes a worker, by what was measured of it: the slower of computing and moving bytes.

    Source: S. Williams, A. Waterman, D. Patterson, Roofline, CACM 52(4), 2009.
    """
    return max(orders.operations(meter) / offer.flops_per_s, meter.bytes_moved / offer.bytes_per_s)


def _hindrance(offer: Offer, meter: Meter, needs: Needs) -> Hindrance | None:
    if not offer.asking:
        return "asks_nothing"
    if offer.platform not in needs.platforms:
        return "platform"
    if offer.memory_mb < needs.memory_mb:
        return "memory"
    if offer.stake_msat < needs.stake_msat:
        return "stake"
    payable_msat = MSAT_MAX // (2 * needs.tasks * needs.replicas)
    most_msat = payable_msat if needs.price_msat is None else min(needs.price_msat, payable_msat)
    if orders.price_msat(offer, meter) > most_msat:
        return "price"
    return None


def _reasons(hindered: Iterable[tuple[Hindrance | None, Offer]], meter: Meter) -> tuple[Reason, ...]:
    by: defaultdict[Hindrance, list[Offer]] = defaultdict(list)
    for hindrance, offer in hindered:
        if hindrance is not None:
            by[hindrance].append(offer)
    frequent = sorted(by.items(), key=lambda found: -len(found[1]))
    return tuple(Reason(hindrance, len(offers), _nearest(hindrance, offers, meter)) for hindrance, offers in frequent)


def _nearest(hindrance: Hindrance, offers: Sequence[Offer], meter: Meter) -> int | str:
    match hindrance:
        case "asks_nothing":
            return 0
        case "platform":
            return Counter(one.platform for one in offers).most_common(1)[0][0]
        case "memory":
            return max(one.memory_mb for one in offers)
        case "stake":
            return max(one.stake_msat for one in offers)
        case "price":
            return min(orders.price_msat(one, meter) for one in offers)
