"""Settlement's desk: answers what parties ask of the chain on ``pasar.chain``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain.errors import Refused
from domain.settlement import NoChain
from services.bus.chain import (
    SUBJECT,
    Answer,
    AskCoins,
    AskTip,
    CoinAt,
    Coins,
    MineBlocks,
    No,
    Request,
    SendRaw,
    Sent,
    Tip,
)
from services.ports import Chain
from services.settlement.follower import Follower

#: How long a settlement that starts may take to join the chain.
JOIN_S: Final = 20
#: Requests to mine that wait.
WAITING_MAX: Final = 16

log = structlog.get_logger()


class NotEmbedded(Refused):
    template = "others mine the market's chain; wait for its next block"


class TooManyWait(Refused):
    template = "too many requests to mine wait; ask again in a moment"


class Desk:
    """Asks the chain for whoever asks."""

    def __init__(
        self,
        client: Client,
        chain: Chain,
        follower: Follower,
        *,
        mine: Callable[[int], Awaitable[None]] | None = None,
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        mine: Mines so many blocks, where the chain is embedded.
        sent: Called when a transaction was taken.
        """
        self._client, self._chain, self._follower = client, chain, follower
        self._mine, self._sent = mine, sent
        self._wanted: asyncio.Queue[tuple[Msg, MineBlocks]] = asyncio.Queue(maxsize=WAITING_MAX)

    async def serve(self) -> None:
        """Answer from now on."""
        await self._client.subscribe(SUBJECT, queue="settlement", cb=self._on_request)

    async def run(self) -> None:
        """Mine for whoever asks, one after another, for ever; whoever asks something else does not wait for it."""
        while True:
            message, request = await self._wanted.get()
            try:
                await message.respond(msgspec.json.encode(await self._answered(request)))
            except (nats.errors.Error, OSError) as error:
                log.warning("a request cannot be answered", error=type(error).__name__)

    async def _on_request(self, message: Msg) -> None:
        answer: Answer
        try:
            request = msgspec.json.decode(message.data, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            answer = No("Malformed", f"the request cannot be read: {error}")
        else:
            if isinstance(request, MineBlocks) and not self._wanted.full():
                self._wanted.put_nowait((message, request))
                return
            wanted = isinstance(request, MineBlocks)
            answer = No(TooManyWait.__name__, str(TooManyWait())) if wanted else await self._answered(request)
        await message.respond(msgspec.json.encode(answer))

    async def _answered(self, request: Request) -> Answer:
        try:
            return await self._answer(request)
        except TimeoutError:
            return No("NoChain", str(NoChain()))
        except Refused as refused:
            return No(type(refused).__name__, str(refused))

    async def _answer(self, request: Request) -> Answer:
        match request:
            case AskTip():
                return await self._tip()
            case AskCoins():
                held = (coin for coin in self._follower.books.coins.values() if coin.key == request.account)
                return Coins(tuple(CoinAt(one.outpoint, one.value_sat, one.term.script.hex()) for one in held))
            case SendRaw():
                name = await self._chain.send(request.raw)
                self._sent()
                return Sent(name)
            case MineBlocks():
                if self._mine is None:
                    raise NotEmbedded
                await self._mine(request.blocks)
                return await self._tip()

    async def _tip(self) -> Tip:
        """Where the chain ends, once the market has joined it."""
        async with asyncio.timeout(JOIN_S):
            await self._follower.until(lambda books: books.chain is not None)
        joined = self._follower.books.chain
        assert joined is not None
        height, name = await self._chain.tip()
        keys = joined.market_key, joined.arbiter_key
        return Tip(joined.network, height, name, joined.confirmations, self._mine is not None, *keys)
