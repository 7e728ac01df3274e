"""The faucet of an embedded chain on the wire: a request for play money, answered once the market has counted it."""

import secrets
from typing import Final

import msgspec
from msgspec import Struct
from nats.aio.client import Client

from domain.ids import PartyKey
from domain.money import PositiveMsat
from services.bus.asking import ask
from services.bus.client import RefusedByMarket
from services.bus.commands import Reply, decode_reply

SUBJECT: Final = "pasar.faucet"


class Draw(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask the faucet to fund an account; the same ``request`` of the same owner is funded once.

    Attributes:
        account: ``escrow`` or ``stake``.
    """

    account: str
    owner: PartyKey
    amount_msat: PositiveMsat
    request: str


async def draw(
    client: Client, account: str, owner: str, amount_msat: int, *, request: str | None = None, timeout_s: float = 30
) -> Reply:
    """Have the faucet fund an account; a faucet that is still starting is waited for.

    Args:
        request: Names the draw, so that it can be repeated without being funded twice.
    Raises:
        RefusedByMarket: It refused, with the reason; ``AlreadyCredited`` if the request was funded before.
        TimeoutError: No faucet answers here.
    """
    asked = msgspec.json.encode(Draw(account, owner, amount_msat, request or secrets.token_hex(16)))
    reply = decode_reply(await ask(client, SUBJECT, asked, timeout_s))
    if reply.refused:
        raise RefusedByMarket(reply.refused[0])
    return reply
