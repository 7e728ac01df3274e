"""A party's way to the market: it signs, sends, and turns refusals into exceptions."""

from collections.abc import Awaitable, Callable, Sequence

from domain import errors
from domain.commands import Command
from services.bus.commands import SUBJECT, Refusal, Reply, decode_reply, sign
from services.keys import Party
from services.ports import Clock

Request = Callable[[str, bytes, float], Awaitable[bytes]]


class RefusedByMarket(errors.Refused):
    """The market said no; ``refusal`` names which item and why."""

    def __init__(self, refusal: Refusal) -> None:
        Exception.__init__(self, refusal.message)
        self.facts = {"item": refusal.item}
        self.refusal = refusal

    @property
    def name(self) -> str:
        return self.refusal.name


class Commander:
    """Sends one party's commands."""

    def __init__(self, party: Party, market: str, request: Request, clock: Clock) -> None:
        self.party, self.market = party, market
        self._request, self._clock = request, clock

    async def send(
        self, items: Sequence[Command], *, timeout_s: float = 10, nonce: str | None = None, strict: bool = True
    ) -> Reply:
        """Send one batch and wait until it is recorded.

        Args:
            strict: Raise on the first refused item instead of returning it in the reply.
        Raises:
            RefusedByMarket: The batch, or with ``strict`` one of its items, was refused.
            BusError, TimeoutError: The market could not be reached; whether it recorded the batch is unknown.
        """
        frame = sign(self.party, self.market, items, now=self._clock.now(), nonce=nonce)
        reply = decode_reply(await self._request(SUBJECT, frame, timeout_s))
        for refusal in reply.refused:
            if strict or refusal.item < 0:
                raise RefusedByMarket(refusal)
        return reply
