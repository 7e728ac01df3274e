"""The market tells that it has begun anew: whoever waits for an answer of the one before will not get it.

``pasar.wake.market`` carries the time, signed by the market: another may repeat a wake, but only once to each listener.
"""

from datetime import datetime, timedelta

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from services.keys import Party, verify_key

SUBJECT = "pasar.wake.market"
DOMAIN = b"pasar/wake/1\n"
#: An older wake says nothing; clocks may differ by as much.
AGE_MAX = timedelta(seconds=60)
_SIGNATURE = 64


def wake(market: Party, now: datetime) -> bytes:
    """What the market publishes when it has opened."""
    said = now.isoformat().encode()
    return market.sign(DOMAIN + said) + said


class Wakes:
    """Tells a market's own wakes from others."""

    def __init__(self, market: str) -> None:
        self._key = VerifyKey(verify_key(market))
        self._last: datetime | None = None

    def is_new(self, message: bytes, now: datetime) -> bool:
        """Whether the market said this, of late and not before."""
        said = message[_SIGNATURE:]
        try:
            self._key.verify(DOMAIN + said, message[:_SIGNATURE])
            at = datetime.fromisoformat(said.decode())
        except (BadSignatureError, ValueError):
            return False
        if abs(now - at) > AGE_MAX or (self._last is not None and at <= self._last):
            return False
        self._last = at
        return True
