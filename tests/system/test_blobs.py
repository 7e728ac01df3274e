"""Blobs on a real object store: found by their content, whole or not at all, and put back by whoever holds them."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import ObjectStoreConfig

from domain.blobs import BLOB_BYTES_MAX, address_of, blob_ref
from domain.errors import BlobMissing, Corrupt, Malformed, Unavailable
from services.bus import blobs
from services.bus.blobs import BucketBlobs, PlainOpener, Shelf, ensure_bucket
from services.bus.connect import connect
from services.client.session import session
from services.config import Settings
from services.keys import party
from services.stack.supervisor import Stack
from tests.system.market import back, kill, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ELSEWHERE = "postgresql://elsewhere/pasar"
STREAM = "OBJ_blobs"


class Store:
    """A broker with a bucket, and as many connections to it as a test wants."""

    def __init__(self, stack: Stack, relay: Client, held: AsyncExitStack) -> None:
        self.stack, self.relay, self._held = stack, relay, held

    async def client(self) -> Client:
        client = await connect(self.stack.settings, "party", name="test")
        self._held.push_async_callback(client.close)
        return client

    async def party(self, folder: Path | None = None) -> BucketBlobs:
        """Somebody who holds what he puts and fetches, if he has a folder, and gives it to others."""
        found = BucketBlobs(await self.client(), Shelf(folder) if folder else None)
        await found.serve_wants()
        return found

    async def messages(self) -> int:
        return int((await self.relay.jetstream().stream_info(STREAM)).state.messages)

    async def wipe(self) -> None:
        await self.relay.jetstream().delete_stream(STREAM)
        await ensure_bucket(self.relay)

    async def write_entry(self, address: str, entry: bytes) -> None:
        """As any party may, without asking whether it is true."""
        name = base64.urlsafe_b64encode(address.replace(":", "-").encode()).decode()
        stream = (await self.client()).jetstream()
        await stream.publish(f"$O.blobs.M.{name}", entry, headers={"Nats-Rollup": "sub"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    settings = Settings(home=tmp_path_factory.mktemp("blobs"), database_url=ELSEWHERE)
    async with Stack(settings) as stack, AsyncExitStack() as held:
        relay = await connect(stack.settings, "relay", name="test relay")
        held.push_async_callback(relay.close)
        await ensure_bucket(relay)
        yield Store(stack, relay, held)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "HEAL_S", 3.0)
    monkeypatch.setattr(blobs, "CHUNK_S", 0.5)


@pytest.mark.parametrize("size", [0, 1, 300, blobs.CHUNK_BYTES, 3 * blobs.CHUNK_BYTES + 7], ids=str)
async def test_blob_comes_back_whole(store: Store, size: int) -> None:
    stored = os.urandom(size)
    address = await (await store.party()).put(stored)
    assert address == address_of(stored)
    assert await (await store.party()).get(address) == stored


async def test_blob_that_is_put_twice_is_kept_once(store: Store) -> None:
    stored = os.urandom(1_000)
    await (await store.party()).put(stored)
    before = await store.messages()
    one = await store.party()
    assert await one.put(stored) == await one.put(stored) == address_of(stored)
    assert await store.messages() == before


@pytest.mark.parametrize("size", [300, 2 * blobs.CHUNK_BYTES + 7], ids=str)
async def test_blob_that_many_ask_for_at_once_is_fetched_once(
    store: Store, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = os.urandom(size)
    address = await (await store.party()).put(stored)
    reader = await store.party()
    fetched, fetch = [], reader._fetch

    async def counted(address: str) -> bytes:
        fetched.append(address)
        return await fetch(address)

    monkeypatch.setattr(reader, "_fetch", counted)
    assert await asyncio.gather(*(reader.get(address) for _ in range(100))) == [stored] * 100
    assert fetched == [address]


async def test_waiting_for_a_blob_may_be_given_up_while_others_wait_on(store: Store) -> None:
    stored = os.urandom(2 * blobs.CHUNK_BYTES)
    address = await (await store.party()).put(stored)
    reader = await store.party()
    given_up, waiting = (asyncio.create_task(reader.get(address)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await waiting == stored
    assert given_up.cancelled()


async def test_chunk_that_another_wrote_in_a_small_blobs_place_is_noticed_and_healed(
    store: Store, tmp_path: Path
) -> None:
    stored = os.urandom(100)
    address = await (await store.party(tmp_path)).put(stored)
    mallory = (await store.client()).jetstream()
    subject = f"$O.blobs.C.{address.removeprefix('sha256:')[:22]}"
    await mallory.publish(subject, os.urandom(100), headers={"Nats-Rollup": "sub"})
    assert await (await store.party()).get(address) == stored


async def test_blob_that_nobody_holds_is_missing(store: Store) -> None:
    with pytest.raises(BlobMissing, match=address_of(b"nowhere")):
        await (await store.party()).get(address_of(b"nowhere"))


async def test_blob_above_the_limit_is_refused(store: Store) -> None:
    with pytest.raises(Malformed, match=str(BLOB_BYTES_MAX)):
        await (await store.party()).put(bytes(BLOB_BYTES_MAX + 1))


async def test_wiped_bucket_is_healed_by_a_holder(store: Store, tmp_path: Path) -> None:
    holder = await store.party(tmp_path)
    contents = [os.urandom(size) for size in (10, 2 * blobs.CHUNK_BYTES)]
    addresses = [await holder.put(stored) for stored in contents]
    await store.wipe()
    reader = await store.party()
    assert [await reader.get(address) for address in addresses] == contents
    assert await store.messages() >= 4


async def test_bucket_of_an_earlier_version_gets_the_limits_of_today_and_keeps_its_blobs(store: Store) -> None:
    stream, stored = store.relay.jetstream(), os.urandom(10)
    await stream.delete_stream(STREAM)
    await stream.create_object_store(blobs.BUCKET, config=ObjectStoreConfig(max_bytes=1 << 30))
    address = await (await store.party()).put(stored)
    for _ in range(2):
        await ensure_bucket(store.relay)
    config = (await stream.stream_info(STREAM)).config
    assert (config.max_age, config.max_bytes) == (blobs.STORE_AGE_MAX_S, blobs.STORE_BYTES_MAX)
    assert await (await store.party()).get(address) == stored


async def test_full_bucket_takes_blobs_again_when_old_ones_expire_and_holders_still_have_those(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = os.urandom(40_000), os.urandom(40_000)
    with monkeypatch.context() as patch:
        patch.setattr(blobs, "STORE_BYTES_MAX", 60_000)
        patch.setattr(blobs, "STORE_AGE_MAX_S", 2.0)
        await store.wipe()
        holder, other = await store.party(tmp_path), await store.party()
        address = await holder.put(first)
        with pytest.raises(Unavailable):
            await other.put(second)

        async def accepted() -> str:
            return await other.put(second)

        await until(accepted)
    await ensure_bucket(store.relay)
    assert await (await store.party()).get(address) == first


async def test_blob_that_expired_is_uploaded_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "KNOWN_S", 0.0)
    writer, stored = await store.party(), os.urandom(10)
    address = await writer.put(stored)
    await store.wipe()
    await writer.put(stored)
    assert await (await store.party()).get(address) == stored


async def test_client_gives_back_what_it_fetched(store: Store) -> None:
    stored = os.urandom(100)
    address = await (await store.party()).put(stored)
    party(store.stack.settings, "market")  # whom a client's commands are for; there is no market here
    async with session(store.stack.settings, "anna") as client:
        await client.fetch(address)
        await store.wipe()
        assert await (await store.party()).get(address) == stored


async def test_fetched_blob_is_held_and_given_to_others(store: Store, tmp_path: Path) -> None:
    stored = os.urandom(100)
    address = await (await store.party()).put(stored)
    await (await store.party(tmp_path)).get(address)
    await store.wipe()
    assert await (await store.party()).get(address) == stored


def entry(size: object, nuid: object = "nobody", **changes: object) -> bytes:
    digest = "SHA-256=" + base64.urlsafe_b64encode(bytes(32)).decode()
    told = {"name": "x", "bucket": "blobs", "nuid": nuid, "size": size, "chunks": 1, "digest": digest, "options": {}}
    return json.dumps({**told, **changes}).encode()


FALSE_ENTRIES = {
    "nothing": b"",
    "no json": b"{",
    "no object": b"[1]",
    "no chunks there": entry(100),
    "no size": entry("many"),
    "too large": entry(1 << 60),
    "no name for its chunks": entry(100, None),
    "bad name for its chunks": entry(100, "a b\r\nPING"),
    "everybody's chunks": entry(100, ">"),
    "empty": entry(0),
    "deleted": entry(0, deleted=True),
    "a link": entry(10, options={"link": {"bucket": "elsewhere", "name": "y"}}),
}


@pytest.mark.parametrize("false", FALSE_ENTRIES.values(), ids=FALSE_ENTRIES)
async def test_false_entry_is_noticed_and_healed_by_a_holder(store: Store, tmp_path: Path, false: bytes) -> None:
    stored = os.urandom(100)
    address = await (await store.party(tmp_path)).put(stored)
    await store.write_entry(address, false)
    assert await (await store.party()).get(address) == stored


async def test_entry_that_leads_to_other_bytes_is_noticed_and_healed_by_a_holder(store: Store, tmp_path: Path) -> None:
    stored, other = os.urandom(100), os.urandom(100)
    address = await (await store.party(tmp_path)).put(stored)
    mallory = await store.client()
    await mallory.jetstream().publish("$O.blobs.C.mallory", other)
    await store.write_entry(address, entry(100, "mallory"))
    assert await (await store.party()).get(address) == stored


async def test_false_entry_that_nobody_heals_is_a_missing_blob(store: Store) -> None:
    await store.write_entry(address_of(b"gone"), entry(100))
    with pytest.raises(BlobMissing):
        await (await store.party()).get(address_of(b"gone"))


async def test_blobs_survive_a_broker_that_is_killed(store: Store) -> None:
    stored = os.urandom(2 * blobs.CHUNK_BYTES)
    writer, reader = await store.party(), await store.party()
    address = await writer.put(stored)
    await back(store.stack, "nats", await kill(store.stack, "nats"))
    assert await reader.get(address) == stored

    async def accepted() -> str:
        return await writer.put(os.urandom(10))

    await until(accepted)


async def test_opener_refuses_bytes_that_do_not_match_their_reference(store: Store) -> None:
    party = await store.party()
    stored = os.urandom(10)
    await party.put(stored)
    opener, ref = PlainOpener(party), blob_ref(stored, "5a" * 16)
    assert await opener.open(ref) == stored
    part = msgspec.structs.replace(ref, offset=3, size=4, commitment=blob_ref(stored[3:7], "5a" * 16).commitment)
    assert await opener.open(part) == stored[3:7]
    for false in ({"offset": 5}, {"commitment": "0" * 64}):
        with pytest.raises(Corrupt):
            await opener.open(type(ref)(**{**{f: getattr(ref, f) for f in ref.__struct_fields__}, **false}))
