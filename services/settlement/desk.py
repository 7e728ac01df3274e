"""Settlement's desk: answers what parties ask of the chain on ``pasar.chain``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
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


class NotEmbedded(Refused):
    template = "others mine the market's chain; wait for its next block"


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

    async def serve(self) -> None:
        """Answer from now on."""
        await self._client.subscribe(SUBJECT, queue="settlement", cb=self._on_request)

    async def _on_request(self, message: Msg) -> None:
        answer: Answer
        try:
            answer = await self._answer(msgspec.json.decode(message.data, type=Request))
        except msgspec.MsgspecError as error:
            answer = No("Malformed", f"the request cannot be read: {error}")
        except TimeoutError:
            answer = No("NoChain", str(NoChain()))
        except Refused as refused:
            answer = No(type(refused).__name__, str(refused))
        await message.respond(msgspec.json.encode(answer))

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
