"""Who is heard by the arbiter on a real nats-server: settlement, and nobody who has a message delivered there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import msgspec
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from services.bus.client import Commander
from services.bus.connect import connect
from services.config import Settings
from services.ports import Stored
from services.settlement.arbiter import Arbiter
from services.settlement.cosigning import SUBJECT, Declined, SignPayout
from services.settlement.verdicts import Verdicts
from services.settlement.wallet import Wallet
from services.stack.supervisor import Stack
from tests.spec import OPERATOR
from tests.system.embedded import eventually

STORED = "$O.blobs.C.forged.1"


async def _delivered(party: Client, raw: bytes) -> None:
    """Have the broker deliver a stored message where the party may not publish."""
    stream = party.jetstream()
    await stream.publish(STORED, raw)
    options = ConsumerConfig(name="forged", deliver_subject=SUBJECT, deliver_group="arbiter", filter_subject=STORED)
    options = options.evolve(ack_policy=AckPolicy.NONE)
    await stream.add_consumer("OBJ_blobs", config=options)
    heard = 0
    while not heard:
        delivered = (await stream.consumer_info("OBJ_blobs", "forged")).delivered
        heard = delivered.consumer_seq if delivered is not None else 0


async def test_request_that_a_party_has_delivered_to_the_arbiter_is_not_answered(tmp_path: Path) -> None:
    reads: list[int] = []

    async def read(position: Callable[[], int], offer: Callable[[list[Stored]], Awaitable[None]]) -> None:
        reads.append(position())
        raise TimeoutError

    async with Stack(Settings(home=tmp_path, database_url="postgresql://elsewhere/pasar")) as stack:
        market = await connect(stack.settings, "market", name="test")
        await market.jetstream().add_stream(StreamConfig(name="OBJ_blobs", subjects=["$O.blobs.C.>", "$O.blobs.M.>"]))
        own, verdicts = await connect(stack.settings, "arbiter", name="test"), Verdicts(tmp_path / "verdicts.json")
        arbiter = Arbiter(own, OPERATOR, cast("Commander", None), cast("Wallet", None), read, verdicts)
        await arbiter.serve()
        running = asyncio.ensure_future(arbiter.run())
        settlement = await connect(stack.settings, "settlement", name="test")
        party = await connect(stack.settings, "party", name="test")
        asked = msgspec.json.encode(SignPayout(1, 1, "00" * 32))

        await _delivered(party, asked)
        answer = await settlement.request(SUBJECT, asked, timeout=5)
        assert msgspec.json.decode(answer.data, type=Declined) == Declined()
        await eventually(lambda: reads)
        assert len(reads) == 1

        running.cancel()
        for client in (market, own, settlement, party):
            await client.close()
