"""How busy the market was lately, by what was paid."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from domain.events import EscrowReleased
from services.ledger.codec import decode_stored
from services.ports import Stored

#: Payments that are looked at.
PAYMENTS_MAX: Final = 1_000
SPAN: Final = timedelta(minutes=30)
BARS: Final = 30


class Activity(Struct, frozen=True, kw_only=True):
    """Attributes:
    payments: Looked at. paid_msat: The least, the median and the highest of them; absent if there are none.
    bars: Payments in each part of the last ``SPAN``, oldest first.
    more: Whether there were more payments in that time than are looked at.
    """

    payments: int
    paid_msat: tuple[int, int, int] | None
    bars: tuple[int, ...]
    more: bool

    @property
    def runs(self) -> int:
        return sum(self.bars)


def activity(payments: Sequence[Stored], *, now: datetime) -> Activity:
    """What the last payments tell.

    Args:
        payments: ``EscrowReleased`` events, oldest first; others are passed over.
    """
    counted = [0] * BARS
    amounts: list[int] = []
    begin = now - SPAN
    for stored in payments:
        event = decode_stored(stored)
        if isinstance(event, EscrowReleased):
            amounts.append(event.amount_msat)
            place = int((stored.recorded_at - begin) / SPAN * BARS)
            if 0 <= place <= BARS:
                counted[min(place, BARS - 1)] += 1
    amounts.sort()
    return Activity(
        payments=len(amounts),
        paid_msat=(amounts[0], amounts[len(amounts) // 2], amounts[-1]) if amounts else None,
        bars=tuple(counted),
        more=len(payments) >= PAYMENTS_MAX and payments[0].recorded_at > begin,
    )
