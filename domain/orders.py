"""Who gets which task: the simple first rule, in the place where clearing rounds will stand.

Workers that wait for work are served cheapest ask first, equal asks by least load per offered slot; each gets tasks of
the open jobs in turn, so that a small job does not wait behind a large one. A lease holds fewer tasks when few are
left, so that the last ones spread over the workers that wait.
"""

from typing import Final, NamedTuple, Protocol

from domain.meter import Meter
from domain.money import MSAT_MAX
from domain.worker import LEASE_MAX

#: A transcendental function of one element counts as so many operations; a vectorised one takes about that on CPUs.
TRANSCENDENTAL_FLOPS: Final = 10
_TERA, _GIGA = 10**12, 10**9


class Rates(Protocol):
    """What an ask says about prices, in msat."""

    @property
    def price_msat(self) -> int: ...
    @property
    def tflop_msat(self) -> int: ...
    @property
    def gb_msat(self) -> int: ...


def operations(meter: Meter) -> int:
    """The operations that are charged and timed."""
    return meter.flops + TRANSCENDENTAL_FLOPS * meter.transcendentals


def price_msat(ask: Rates, meter: Meter) -> int:
    """What one task costs under an ask: its operations and bytes at the ask's rates, or the least that it names.

    At most all bitcoin: an ask that nobody can pay.
    """
    metered = -(-operations(meter) * ask.tflop_msat // _TERA) + -(-meter.bytes_moved * ask.gb_msat // _GIGA)
    return min(max(ask.price_msat, metered), MSAT_MAX)


class Waiting(NamedTuple):
    """A worker that asks for work.

    Attributes:
        price_msat: Its ask.
        load: Tasks that it holds, over the slots that it offers.
        slots: The most tasks that it takes now.
    """

    worker: str
    price_msat: int
    load: float
    slots: int


def merit(one: Waiting) -> tuple[int, float, str]:
    """Its place among the workers that wait: the least is served first."""
    return one.price_msat, one.load, one.worker


def lease_size(asked: int, open_replicas: int, workers: int) -> int:
    """How many tasks one lease hands over.

    Args:
        asked: What the worker wants.
        open_replicas: How many could be assigned now.
        workers: How many workers share them.
    """
    fair = -(-open_replicas // max(1, 2 * workers))
    return max(1, min(asked, LEASE_MAX, fair))
