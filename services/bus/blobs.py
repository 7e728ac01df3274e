"""Blobs in the JetStream object store, held also by whoever put or fetched them.

The bucket is transport: when the broker loses it, a reader that misses a blob asks on ``pasar.blobs.want.<address>``,
and any holder puts it there again. A holder keeps its blobs as files named by their address, the least used ones go
first.
"""

import asyncio
import base64
import json
import os
import secrets
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ObjectInfo, ObjectMetaOptions, ObjectStoreConfig, StorageType
from nats.js.object_store import ObjectStore

from domain.blobs import BLOB_BYTES_MAX, BlobRef, address_of, commit_to, digest_of
from domain.errors import BlobMissing, Corrupt, Malformed, Unavailable
from services.ports import Blobs

BUCKET = "blobs"
WANT = "pasar.blobs.want"
CHUNK_BYTES = 512 << 10
#: The most that the broker holds of them: a flood of blobs must not take the room of the events.
STORE_BYTES_MAX = 4 << 30
#: The longest wait for the next chunk.
CHUNK_S = 5.0
CHUNKS_IN_FLIGHT = 8
#: Up to this size a blob is sent without asking whether it is there already: asking costs as much.
UNASKED_BYTES = 64 << 10
#: Time for a holder to answer before a blob counts as missing.
HEAL_S = 10.0
_RETRY_S = 0.25

log = structlog.get_logger()


class Shelf:
    """Files of a holder, named by address; at most ``bytes_max`` of them, the least used go first."""

    def __init__(self, directory: Path, bytes_max: int = 1 << 30) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory, self._bytes_max = directory, bytes_max
        files = sorted(directory.glob("sha256:*"), key=lambda file: file.stat().st_mtime)
        self._sizes = OrderedDict((file.name, file.stat().st_size) for file in files)
        self._bytes = sum(self._sizes.values())

    def __contains__(self, address: str) -> bool:
        return address in self._sizes

    def put(self, address: str, stored: bytes) -> None:
        if address in self._sizes:
            self._sizes.move_to_end(address)
            return
        temporary = self._directory / f".{secrets.token_hex(8)}"
        temporary.write_bytes(stored)
        temporary.rename(self._directory / address)
        self._sizes[address] = len(stored)
        self._bytes += len(stored)
        while self._bytes > self._bytes_max and len(self._sizes) > 1:
            oldest, size = self._sizes.popitem(last=False)
            self._bytes -= size
            (self._directory / oldest).unlink(missing_ok=True)

    def get(self, address: str) -> bytes | None:
        if address not in self._sizes:
            return None
        try:
            stored = (self._directory / address).read_bytes()
        except FileNotFoundError:
            self._bytes -= self._sizes.pop(address)
            return None
        if address_of(stored) != address:
            self._bytes -= self._sizes.pop(address)
            os.unlink(self._directory / address)
            return None
        self._sizes.move_to_end(address)
        return stored


async def ensure_bucket(client: Client) -> None:
    """Create the bucket if it is not there."""
    config = ObjectStoreConfig(
        description="Programs, inputs and results, by content", storage=StorageType.FILE, max_bytes=STORE_BYTES_MAX
    )
    try:
        await client.jetstream().create_object_store(BUCKET, config=config)
    except nats.js.errors.BadRequestError as error:
        if error.err_code != 10058:  # the name is in use: it is there
            raise


class BucketBlobs:
    """``Blobs`` on the object store, with a shelf of one's own."""

    def __init__(self, client: Client, shelf: Shelf | None = None) -> None:
        self._client, self._shelf = client, shelf
        self._bucket: ObjectStore | None = None
        self._known: set[str] = set()

    async def put(self, stored: bytes) -> str:
        if len(stored) > BLOB_BYTES_MAX:
            raise Malformed(reason=f"a blob has at most {BLOB_BYTES_MAX} bytes, this one {len(stored)}")
        address = address_of(stored)
        if self._shelf is not None:
            self._shelf.put(address, stored)
        try:
            await self._upload(address, stored)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(reason=f"the blob store does not answer: {type(error).__name__}") from error
        return address

    async def get(self, address: str) -> bytes:
        held = self._shelf.get(address) if self._shelf is not None else None
        if held is not None:
            return held
        deadline = asyncio.get_running_loop().time() + HEAL_S
        while True:
            stored = await self._download(address)
            if stored is not None:
                if self._shelf is not None:
                    self._shelf.put(address, stored)
                return stored
            if asyncio.get_running_loop().time() >= deadline:
                raise BlobMissing(address=address)
            await self._client.publish(f"{WANT}.{address}")
            await asyncio.sleep(_RETRY_S)

    async def serve_wants(self) -> None:
        """Put what others miss and we hold back into the bucket, from now on."""
        await self._client.subscribe(f"{WANT}.*", cb=self._on_want)

    async def _on_want(self, message: Msg) -> None:
        address = message.subject.removeprefix(f"{WANT}.")
        stored = self._shelf.get(address) if self._shelf is not None else None
        if stored is None:
            return
        try:
            if await self._download(address) is None:  # an entry may be there, and lead to other bytes or to none
                await self._publish(_object_name(address), stored)
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("could not restore a wanted blob", address=address, error=type(error).__name__)

    async def _upload(self, address: str, stored: bytes) -> None:
        if address in self._known:
            return
        bucket, name = await self._open(), _object_name(address)
        if len(stored) <= UNASKED_BYTES:
            await self._publish(name, stored)
        else:
            try:
                await bucket.get_info(name)
            except nats.js.errors.ObjectNotFoundError:
                await self._publish(name, stored)
        if len(self._known) > 10_000:
            self._known.clear()
        self._known.add(address)

    async def _publish(self, name: str, stored: bytes) -> None:
        """Chunks first, then the object's entry (ADR-20).

        The library's own ``put`` purges what the name held before, and so needs the right to purge; what is named
        by its content never has to be replaced.
        """
        stream, rollup = self._client.jetstream(timeout=10), {"Nats-Rollup": "sub"}
        chunks = [stored[at : at + CHUNK_BYTES] for at in range(0, len(stored), CHUNK_BYTES)]
        single = len(chunks) == 1  # it replaces itself when it is put again
        nuid = digest_of(stored).hex()[:22] if single else secrets.token_hex(11)
        headers = rollup if single else None
        for start in range(0, len(chunks) - CHUNKS_IN_FLIGHT + 1, CHUNKS_IN_FLIGHT):
            part = chunks[start : start + CHUNKS_IN_FLIGHT]
            await asyncio.gather(*(stream.publish(f"$O.{BUCKET}.C.{nuid}", chunk) for chunk in part))
        rest = chunks[len(chunks) - len(chunks) % CHUNKS_IN_FLIGHT :]
        messages = [stream.publish(f"$O.{BUCKET}.C.{nuid}", chunk, headers=headers) for chunk in rest]
        entry = ObjectInfo(
            name=name,
            bucket=BUCKET,
            nuid=nuid,
            size=len(stored),
            chunks=len(chunks),
            digest="SHA-256=" + base64.urlsafe_b64encode(digest_of(stored)).decode(),
            options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES),
            mtime=datetime.now(UTC).isoformat(),
        )
        subject = f"$O.{BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
        messages.append(stream.publish(subject, json.dumps(entry.as_dict()).encode(), headers=rollup))
        await asyncio.gather(*messages)  # sent, and so stored, in this order: the entry never points to nothing

    async def _download(self, address: str) -> bytes | None:
        try:
            stored = await self._read(_object_name(address))
        except (nats.errors.Error, TimeoutError):
            self._bucket = None
            return None
        if address_of(stored) != address:
            log.warning("the blob store returned other bytes", address=address)
            return None
        return stored

    async def _read(self, name: str) -> bytes:
        """The chunks that the object's entry names. Any party may write both, so they are waited for with a limit.

        The library's own ``get`` waits for ever for chunks that are not there.

        Raises:
            nats.errors.Error, TimeoutError: There is no entry, it makes no sense, or the chunks do not come.
        """
        entry = await (await self._open()).get_info(name)
        if not isinstance(entry.nuid, str) or not isinstance(entry.size, int) or entry.size > BLOB_BYTES_MAX:
            raise nats.js.errors.BadObjectMetaError
        stored = bytearray()
        if not entry.size:
            return b""
        chunks = await self._client.jetstream().subscribe(f"$O.{BUCKET}.C.{entry.nuid}", ordered_consumer=True)
        try:
            while len(stored) < entry.size:
                stored += (await chunks.next_msg(timeout=CHUNK_S)).data
        finally:
            await chunks.unsubscribe()
        return bytes(stored)

    async def _open(self) -> ObjectStore:
        if self._bucket is None:
            self._bucket = await self._client.jetstream(timeout=5).object_store(BUCKET)
        return self._bucket


def _object_name(address: str) -> str:
    """The address as the object store allows names: without a colon."""
    return address.replace(":", "-")


class PlainOpener:
    """``Opener`` for plain blobs; it remembers the last few blobs, because results of a lease share one."""

    def __init__(self, blobs: Blobs, bytes_max: int = 64 << 20) -> None:
        self._blobs, self._bytes_max = blobs, bytes_max
        self._recent: OrderedDict[str, bytes] = OrderedDict()

    async def open(self, ref: BlobRef) -> bytes:
        stored = self._recent.get(ref.address)
        if stored is None:
            stored = await self._blobs.get(ref.address)
            self._recent[ref.address] = stored
            while len(self._recent) > 1 and sum(map(len, self._recent.values())) > self._bytes_max:
                self._recent.popitem(last=False)
        plain = stored[ref.offset : ref.offset + ref.size]
        if len(plain) != ref.size:
            raise Corrupt(f"{ref.address} is shorter than the reference to it")
        if ref.salt is not None and commit_to(digest_of(plain), ref.salt) != ref.commitment:
            raise Corrupt(f"{ref.address} does not match the commitment to it")
        return plain
