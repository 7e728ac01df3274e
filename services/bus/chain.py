"""The chain of the market on the wire: what everybody may ask settlement of it.

It is what parties need who have no node of their own: where the chain ends, a transaction to be sent, and on an
embedded chain blocks to be mined.
"""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct
from nats.aio.client import Client

from domain.bitcoin import Network
from domain.errors import Refused
from domain.ids import Height, OutPoint, PublicKey, Script, Txid
from domain.money import Sat
from services.bus.asking import ask

SUBJECT: Final = "pasar.chain"
#: What these functions ask over.
Connection: TypeAlias = Client
#: The most blocks that one request mines.
MINE_MAX: Final = 5_000
#: No node relays a transaction of more bytes.
RAW_BYTES_MAX: Final = 400_000


class AskTip(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask where the chain ends."""


class SendRaw(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Have a signed transaction mined."""

    raw: Annotated[bytes, Meta(max_length=RAW_BYTES_MAX)]


class AskCoins(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask which outputs an account holds: an escrow by its id, a stake by its worker's key."""

    account: Annotated[str, Meta(min_length=24, max_length=56)]


class MineBlocks(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Mine on the embedded chain."""

    blocks: Annotated[int, Meta(ge=1, le=MINE_MAX)]


class Tip(Struct, frozen=True, tag=True):
    """Attributes:
    confirmations: Blocks, its own included, after which a transaction counts.
    embedded: Whether the chain is the market's own, with play money from a faucet.
    market_key, arbiter_key: What accounts that are opened now have of them.
    """

    network: Network
    height: Height
    block: Txid
    confirmations: Height
    embedded: bool
    market_key: PublicKey
    arbiter_key: PublicKey


class CoinAt(Struct, frozen=True):
    """An unspent output of an account, and the output script that it has."""

    outpoint: OutPoint
    value_sat: Sat
    script: Script


class Coins(Struct, frozen=True, tag=True):
    coins: tuple[CoinAt, ...]


class Sent(Struct, frozen=True, tag=True):
    txid: Txid


class No(Struct, frozen=True, tag=True):
    """The request was refused, with the reason."""

    name: str
    reason: str


Request = AskTip | AskCoins | SendRaw | MineBlocks
Answer = Tip | Coins | Sent | No


class ChainRefused(Refused):
    """Settlement said no; the reason is a sentence of its own."""

    template = "{reason}"

    @property
    def name(self) -> str:
        return str(self.facts["name"])


async def ask_tip(client: Client, *, timeout_s: float = 30) -> Tip:
    """Where the chain ends; a settlement that is still starting is waited for.

    Raises:
        ChainRefused, TimeoutError: It does not tell.
    """
    answer = await _ask(client, AskTip(), timeout_s)
    assert isinstance(answer, Tip)
    return answer


async def ask_coins(client: Client, account: str, *, timeout_s: float = 30) -> tuple[CoinAt, ...]:
    """What an account's scripts hold.

    Raises:
        ChainRefused, TimeoutError: Settlement does not tell.
    """
    answer = await _ask(client, AskCoins(account), timeout_s)
    assert isinstance(answer, Coins)
    return answer.coins


async def send_raw(client: Client, raw: bytes, *, timeout_s: float = 30) -> str:
    """Have a transaction mined; its id.

    Raises:
        ChainRefused: It is not valid now, and why.
        TimeoutError: Settlement does not answer.
    """
    answer = await _ask(client, SendRaw(raw), timeout_s)
    assert isinstance(answer, Sent)
    return answer.txid


async def mine(client: Client, blocks: int, *, timeout_s: float = 60) -> Tip:
    """Mine on the embedded chain; its new end.

    Raises:
        ChainRefused: The chain is not the market's own.
        TimeoutError: Settlement does not answer.
    """
    answer = await _ask(client, MineBlocks(blocks), timeout_s)
    assert isinstance(answer, Tip)
    return answer


async def _ask(client: Client, request: Request, timeout_s: float) -> Tip | Coins | Sent:
    heard = await ask(client, SUBJECT, msgspec.json.encode(request), timeout_s)
    answer: Answer = msgspec.json.decode(heard, type=Answer)
    if isinstance(answer, No):
        raise ChainRefused(name=answer.name, reason=answer.reason)
    return answer
