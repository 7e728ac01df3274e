"""A real nats-server with the roles' permissions: what a third party may do, and how it hears what it may not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import nats.micro
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from domain.errors import Refused
from domain.worker import PauseWorker
from services import bootstrap
from services.bus.connect import PermissionDenied, connect
from services.bus.consumers import consumers
from services.config import Settings
from services.keys import party
from services.stack.status import ask_services
from services.stack.supervisor import Stack
from tests.system.embedded import eventually

ELSEWHERE = "postgresql://elsewhere/pasar"


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """A running server whose relay has published one event."""
    async with Stack(Settings(home=tmp_path, database_url=ELSEWHERE)) as stack:
        relay = await connect(stack.settings, "relay", name="test relay")
        stream = relay.jetstream()
        await stream.add_stream(StreamConfig(name="EVENTS", subjects=["pasar.events.>"]))
        await stream.publish("pasar.events.job.x.JobPosted", b"{}")
        await relay.close()
        yield stack.settings


async def test_public_reads_events_through_a_consumer_of_its_own(settings: Settings) -> None:
    public = await connect(settings, "public", name="test")
    stream = public.jetstream()
    subscription = await stream.pull_subscribe("pasar.events.job.>", durable="third-party", stream="EVENTS")
    (message,) = await subscription.fetch(1, timeout=2)
    assert message.subject == "pasar.events.job.x.JobPosted"
    await message.ack_sync()
    assert (await stream.stream_info("EVENTS")).state.messages == 1
    await public.close()


async def test_reader_lists_who_reads_the_stream_and_how_far(settings: Settings) -> None:
    assert await consumers(settings) == []
    public = await connect(settings, "public", name="test")
    durable = await public.jetstream().pull_subscribe("pasar.events.job.>", durable="third-party", stream="EVENTS")
    (one,) = await consumers(settings)
    assert (one.name, one.durable, one.subjects) == ("third-party", True, ("pasar.events.job.>",))
    assert (one.delivered, one.pending, one.unacknowledged) == (0, 1, 0)
    (message,) = await durable.fetch(1, timeout=2)
    (one,) = await consumers(settings)
    assert (one.delivered, one.pending, one.unacknowledged) == (1, 0, 1)
    await message.nak()
    await durable.fetch(1, timeout=2)
    assert (await consumers(settings))[0].redelivered == 1
    with pytest.raises(PermissionDenied, match=r"CONSUMER\.LIST\.EVENTS"):
        await public.jetstream().consumers_info("EVENTS")
    await public.close()


async def test_client_without_a_key_is_public(settings: Settings) -> None:
    async def heard(error: Exception) -> None:
        errors.append(str(error))

    errors: list[str] = []
    assert settings.nats_url is not None
    stranger = await nats.connect(settings.nats_url, error_cb=heard)
    options = ConsumerConfig(ack_policy=AckPolicy.NONE)
    subscription = await stranger.jetstream().pull_subscribe("pasar.events.>", stream="EVENTS", config=options)
    assert len(await subscription.fetch(1, timeout=2)) == 1
    await stranger.publish("pasar.events.job.x.Forged", b"{}")
    await eventually(lambda: errors)
    assert "pasar.events.job.x.forged" in errors[0]
    await stranger.close()


async def test_public_is_told_what_it_may_not_do_instead_of_waiting(settings: Settings) -> None:
    public = await connect(settings, "public", name="test")
    stream = public.jetstream()
    with pytest.raises(PermissionDenied, match=r"public may not publish to pasar\.events\.job\.x\.Forged"):
        await stream.publish("pasar.events.job.x.Forged", b"{}", timeout=60)
    with pytest.raises(PermissionDenied, match=r"STREAM\.DELETE\.EVENTS"):
        await stream.delete_stream("EVENTS")
    with pytest.raises(PermissionDenied, match=r"STREAM\.PURGE\.EVENTS"):
        await stream.purge_stream("EVENTS")
    with pytest.raises(PermissionDenied, match=r"CONSUMER\.DELETE\.EVENTS\.somebody"):
        await stream.delete_consumer("EVENTS", "somebody")
    with pytest.raises(PermissionDenied, match=r"subscribe to _INBOX_party\.>"):
        await public.subscribe("_INBOX_party.>")
    with pytest.raises(PermissionDenied, match=r"subscribe to pasar\.command"):
        await public.subscribe("pasar.command")
    assert (await stream.stream_info("EVENTS")).state.messages == 1
    await public.close()


async def test_command_of_a_public_client_is_answered_by_the_market(settings: Settings) -> None:
    market = await connect(settings, "market", name="test market")
    party, public = await connect(settings, "party", name="test"), await connect(settings, "public", name="test")

    async def answer(message: nats.aio.msg.Msg) -> None:
        await message.respond(b"done: " + message.data)

    await market.subscribe("pasar.command", queue="q", cb=answer)
    for client in (party, public):
        assert (await client.request("pasar.command", b"one")).data == b"done: one"
    for connection in (market, party, public):
        await connection.close()


async def test_party_keeps_blobs_and_serves_statistics_but_publishes_no_event(settings: Settings) -> None:
    relay, party = await connect(settings, "relay", name="test"), await connect(settings, "party", name="worker")
    await relay.jetstream().create_object_store("blobs")
    store = await party.jetstream().object_store("blobs")
    await store.put("sha256:00", b"z" * 300_000)
    assert (await store.get("sha256:00")).data == b"z" * 300_000
    service = await nats.micro.add_service(
        party, name="worker", version="1.0.0", stats_handler=lambda _: {"position": 7}
    )
    await service.add_endpoint(name="health", subject="pasar.blobs.want.health", handler=lambda _: None)
    (heard,) = await ask_services(settings)
    assert (heard.name, heard.data) == ("worker", {"position": 7})
    with pytest.raises(PermissionDenied):
        await party.jetstream().publish("pasar.events.job.x.Forged", b"{}")
    for connection in (relay, party):
        await connection.close()


async def test_hot_connection_is_told_what_it_may_not_do_while_it_waits(settings: Settings) -> None:
    public = await bootstrap.wires(settings, "public", "test")()
    denied = [public.request(subject, b"", timeout_s=60) for subject in ("pasar.events.job.x.Forged", "pasar.faucet")]
    allowed = public.request("$JS.API.STREAM.INFO.EVENTS", b"", timeout_s=60)
    first, second, info = await asyncio.gather(*denied, allowed, return_exceptions=True)
    for error, subject in ((first, "pasar.events.job.x.Forged"), (second, "pasar.faucet")):
        assert isinstance(error, PermissionDenied)
        assert isinstance(error, Refused)
        assert str(error) == f"public may not publish to {subject}; connect with a role that may"
    assert isinstance(info, bytes)
    assert b"EVENTS" in info
    public.close()


async def test_commander_of_a_role_that_may_not_command_is_told_so(settings: Settings) -> None:
    party(settings, "market")  # a market was started here once
    async with bootstrap.commander(settings, party(settings, "anna"), role="reader") as commander:
        with pytest.raises(PermissionDenied, match=r"reader may not publish to pasar\.command"):
            await commander.send([PauseWorker()], timeout_s=60)
