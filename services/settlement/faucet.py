"""Faucet: play money for the embedded market, behind the command that Bitcoin deposits will use.

Anyone may ask on ``pasar.faucet``; settlement confirms the deposit with its own key and a reference of its own.
"""

import asyncio
import hashlib
import secrets

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.errors import Refused
from domain.money import PositiveMsat
from domain.settlement import ConfirmDeposit
from services.bus.client import Commander, RefusedByMarket
from services.bus.commands import Refusal, Reply, decode_reply, encode_reply
from services.bus.wire import BusError

SUBJECT = "pasar.faucet"
#: The most that one request may draw: one bitcoin.
DRAW_MAX_MSAT = 100_000_000_000
_RETRY_S = 0.2

log = structlog.get_logger()


class Draw(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask the faucet to fund an account; the same ``request`` of the same owner is funded once."""

    account: str
    owner: str
    amount_msat: PositiveMsat
    request: str


class TooMuch(Refused):
    template = "the faucet gives at most {most_msat} msat at a time; ask for less"


class Faucet:
    """Answers draws with the reply of the deposit that they became."""

    def __init__(self, client: Client, commander: Commander) -> None:
        self._client, self._commander = client, commander
        self.draws = 0

    def status(self) -> dict[str, object]:
        return {"draws": self.draws}

    async def serve(self) -> None:
        """Answer from now on."""
        await self._client.subscribe(SUBJECT, queue="faucet", cb=self._on_draw)

    async def _on_draw(self, message: Msg) -> None:
        await message.respond(encode_reply(await self._draw(message.data)))

    async def _draw(self, data: bytes) -> Reply:
        try:
            draw = msgspec.json.decode(data, type=Draw)
            if draw.amount_msat > DRAW_MAX_MSAT:
                raise TooMuch(most_msat=DRAW_MAX_MSAT)
            deposit = msgspec.convert(
                {
                    "type": "ConfirmDeposit",
                    "account": draw.account,
                    "owner": draw.owner,
                    "amount_msat": draw.amount_msat,
                    "reference": _reference(draw),
                },
                ConfirmDeposit,
            )
            reply = await self._commander.send([deposit])
        except msgspec.MsgspecError as error:
            return Reply(refused=[Refusal(-1, "Malformed", f"the draw cannot be read: {error}")])
        except Refused as refusal:
            return Reply(refused=[Refusal(-1, refusal.name, str(refusal))])
        except (BusError, TimeoutError) as error:
            return Reply(refused=[Refusal(-1, "Unavailable", f"the market does not answer: {type(error).__name__}")])
        self.draws += 1
        return reply


def _reference(draw: Draw) -> str:
    return hashlib.sha256(f"pasar/faucet/1 {draw.account} {draw.owner} {draw.request}".encode()).hexdigest()[:32]


async def draw(
    client: Client, account: str, owner: str, amount_msat: int, *, request: str | None = None, timeout_s: float = 15
) -> Reply:
    """Have the faucet fund an account; a faucet that is still starting is waited for.

    Args:
        request: Names the draw, so that it can be repeated without being funded twice.
    Raises:
        RefusedByMarket: It refused, with the reason; ``AlreadyCredited`` if the request was funded before.
        TimeoutError: No faucet answers here.
    """
    asked = msgspec.json.encode(Draw(account, owner, amount_msat, request or secrets.token_hex(16)))
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                answer = await client.request(SUBJECT, asked, timeout=timeout_s)
                break
            except nats.errors.NoRespondersError:
                await asyncio.sleep(_RETRY_S)
    reply = decode_reply(answer.data)
    if reply.refused:
        raise RefusedByMarket(reply.refused[0])
    return reply
