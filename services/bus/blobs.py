"""Blobs in the JetStream object store, held also by whoever put or fetched them.

The bucket is transport: when the broker loses it, a reader that misses a blob asks on ``pasar.blobs.want.<address>``,
and any holder puts it there again. A holder keeps its blobs as files named by their address, the least used ones go
first.
"""

import asyncio
import base64
import json
import secrets
from collections import OrderedDict, deque
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMetaOptions, ObjectStoreConfig, PubAck, StorageType

from domain.blobs import BLOB_BYTES_MAX, BlobRef, address_of, commit_to, digest_at, digest_of
from domain.errors import BlobMissing, Corrupt, Malformed, Unavailable
from services.aside import aside
from services.ports import Blobs

BUCKET = "blobs"
#: The stream below the bucket.
STREAM = f"OBJ_{BUCKET}"
WANT = "pasar.blobs.want"
CHUNK_BYTES = 512 << 10
#: The most that the broker holds of them: a flood of blobs must not take the room of the events.
STORE_BYTES_MAX = 4 << 30
#: How long it holds one, in seconds. A full bucket refuses every upload, so what nobody renews has to go; who still
#: holds it puts it back when it is wanted.
STORE_AGE_MAX_S = 7 * 86400.0
#: How long a blob counts as uploaded, in seconds.
KNOWN_S = 86400.0
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
    """Files of a holder, named by address; at most ``bytes_max`` of them, the least used go first.

    Threads may share it: what is large is read and written beside the event loop.
    """

    def __init__(self, directory: Path, bytes_max: int = 1 << 30) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory, self._bytes_max, self._lock = directory, bytes_max, Lock()
        files = sorted(directory.glob("sha256:*"), key=lambda file: file.stat().st_mtime)
        self._sizes = OrderedDict((file.name, file.stat().st_size) for file in files)
        self._bytes = sum(self._sizes.values())

    def __contains__(self, address: str) -> bool:
        return address in self._sizes

    def size(self, address: str) -> int:
        """Bytes held at ``address``."""
        return self._sizes.get(address, 0)

    def put(self, address: str, stored: bytes) -> None:
        if self._used(address):
            return
        temporary = self._directory / f".{secrets.token_hex(8)}"
        temporary.write_bytes(stored)
        with self._lock:
            temporary.rename(self._directory / address)
            self._forget(address)
            self._sizes[address] = len(stored)
            self._bytes += len(stored)
            while self._bytes > self._bytes_max and len(self._sizes) > 1:
                oldest = next(iter(self._sizes))
                self._forget(oldest)
                (self._directory / oldest).unlink(missing_ok=True)

    def get(self, address: str) -> bytes | None:
        if not self._used(address):
            return None
        try:
            stored = (self._directory / address).read_bytes()
        except FileNotFoundError:
            stored = None
        if stored is None or address_of(stored) != address:
            with self._lock:
                self._forget(address)
                (self._directory / address).unlink(missing_ok=True)
            return None
        return stored

    def _used(self, address: str) -> bool:
        """Whether it is held; then it is the last to go."""
        with self._lock:
            held = address in self._sizes
            if held:
                self._sizes.move_to_end(address)
            return held

    def _forget(self, address: str) -> None:
        self._bytes -= self._sizes.pop(address, 0)


async def ensure_bucket(client: Client) -> None:
    """Create the bucket if it is not there, and give one that is there the limits of today."""
    config = ObjectStoreConfig(
        description="Programs, inputs and results, by content",
        storage=StorageType.FILE,
        max_bytes=STORE_BYTES_MAX,
        ttl=STORE_AGE_MAX_S,
    )
    stream = client.jetstream()
    try:
        await stream.create_object_store(BUCKET, config=config)
    except nats.js.errors.BadRequestError as error:
        if error.err_code != 10058:  # it is there, with other limits
            raise
        found = (await stream.stream_info(STREAM)).config
        await stream.update_stream(found.evolve(max_bytes=STORE_BYTES_MAX, max_age=STORE_AGE_MAX_S))


class BucketBlobs:
    """``Blobs`` on the object store, with a shelf of one's own."""

    def __init__(self, client: Client, shelf: Shelf | None = None) -> None:
        self._client, self._shelf = client, shelf
        self._fetching: dict[str, asyncio.Task[bytes]] = {}
        self._known: dict[str, float] = {}

    async def put(self, stored: bytes) -> str:
        if len(stored) > BLOB_BYTES_MAX:
            raise Malformed(reason=f"a blob has at most {BLOB_BYTES_MAX} bytes, this one {len(stored)}")
        address = await aside(len(stored), address_of, stored)
        await self._hold(address, stored)
        try:
            await self._upload(address, stored)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(reason=f"the blob store does not answer: {type(error).__name__}") from error
        return address

    async def get(self, address: str) -> bytes:
        held = await self._held(address)
        if held is not None:
            return held
        fetching = self._fetching.get(address)
        if fetching is None:  # else it is on its way: the results of a lease share a blob, its lanes share inputs
            fetching = self._fetching[address] = asyncio.get_running_loop().create_task(self._fetch(address))
            fetching.add_done_callback(partial(self._fetched, address))
        return await asyncio.shield(fetching)

    def _fetched(self, address: str, fetching: "asyncio.Task[bytes]") -> None:
        del self._fetching[address]
        if not fetching.cancelled():
            fetching.exception()  # whoever waits gets it; nobody has to

    async def _fetch(self, address: str) -> bytes:
        deadline = asyncio.get_running_loop().time() + HEAL_S
        while True:
            stored = await self._download(address)
            if stored is not None:
                await self._hold(address, stored)
                return stored
            if asyncio.get_running_loop().time() >= deadline:
                raise BlobMissing(address=address)
            await self._client.publish(f"{WANT}.{address}")
            await asyncio.sleep(_RETRY_S)

    async def _hold(self, address: str, stored: bytes) -> None:
        if self._shelf is not None:
            await aside(len(stored), self._shelf.put, address, stored)

    async def _held(self, address: str) -> bytes | None:
        if self._shelf is None:
            return None
        return await aside(self._shelf.size(address), self._shelf.get, address)

    async def serve_wants(self) -> None:
        """Put what others miss and we hold back into the bucket, from now on."""
        await self._client.subscribe(f"{WANT}.*", cb=self._on_want)

    async def _on_want(self, message: Msg) -> None:
        address = message.subject.removeprefix(f"{WANT}.")
        stored = await self._held(address)
        if stored is None:
            return
        try:
            if await self._download(address) is None:  # an entry may be there, and lead to other bytes or to none
                await self._publish(address, stored)
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("could not restore a wanted blob", address=address, error=type(error).__name__)

    async def _upload(self, address: str, stored: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._known.get(address, now):
            return
        if len(stored) <= UNASKED_BYTES:
            await self._publish(address, stored)
        else:
            try:
                await self._entry(address)
            except (nats.js.errors.NotFoundError, nats.js.errors.BadObjectMetaError):
                await self._publish(address, stored)
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[address] = now + KNOWN_S

    async def _publish(self, address: str, stored: bytes) -> None:
        """Chunks first, then the object's entry (ADR-20).

        The library's own ``put`` purges what the name held before, and so needs the right to purge; what is named
        by its content never has to be replaced.
        """
        stream, rollup = self._client.jetstream(timeout=10), {"Nats-Rollup": "sub"}
        single = len(stored) <= CHUNK_BYTES  # it replaces itself when it is put again
        nuid = _single_nuid(address) if single else secrets.token_hex(11)
        entry = ObjectInfo(
            name=_object_name(address),
            bucket=BUCKET,
            nuid=nuid,
            size=len(stored),
            chunks=-(-len(stored) // CHUNK_BYTES),
            digest="SHA-256=" + base64.urlsafe_b64encode(digest_at(address)).decode(),
            options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES),
            mtime=datetime.now(UTC).isoformat(),
        )
        told = json.dumps(entry.as_dict()).encode()
        last = []
        if single:
            last = [stream.publish(_chunk_subject(nuid), stored, headers=rollup)] if stored else []
        else:
            await self._publish_chunks(stream, _chunk_subject(nuid), stored)
        last.append(stream.publish(_entry_subject(address), told, headers=rollup))
        await asyncio.gather(*last)  # sent, and so stored, in this order: the entry never points to nothing

    async def _publish_chunks(self, stream: JetStreamContext, subject: str, stored: bytes) -> None:
        """In order, a few at a time."""
        under_way: deque[asyncio.Task[PubAck]] = deque()
        try:
            for at in range(0, len(stored), CHUNK_BYTES):
                chunk = stream.publish(subject, stored[at : at + CHUNK_BYTES])
                under_way.append(asyncio.get_running_loop().create_task(chunk))
                if len(under_way) == CHUNKS_IN_FLIGHT:
                    await under_way[0]
                    under_way.popleft()
            await asyncio.gather(*under_way)
        finally:
            for chunk_sent in under_way:
                chunk_sent.cancel()

    async def _download(self, address: str) -> bytes | None:
        try:
            stored = await self._single(address)
            if stored is not None and address_of(stored) == address:
                return stored
            stored = await self._read(address)
        except (nats.errors.Error, TimeoutError):
            return None
        if await aside(len(stored), address_of, stored) != address:
            log.warning("the blob store returned other bytes", address=address)
            return None
        return stored

    async def _single(self, address: str) -> bytes | None:
        """What lies where a blob of one chunk would be, found without its entry; any party may have written it."""
        stream, subject = self._client.jetstream(timeout=CHUNK_S), _chunk_subject(_single_nuid(address))
        try:
            return (await stream.get_last_msg(STREAM, subject, direct=True)).data
        except nats.js.errors.NotFoundError:
            return None

    async def _read(self, address: str) -> bytes:
        """The chunks that the object's entry names. Any party may write both, so they are waited for with a limit.

        They are read in batches without a consumer (ADR-31), which would cost the broker more than a small blob.

        Raises:
            nats.errors.Error, TimeoutError: There is no entry, it makes no sense, or the chunks do not come.
        """
        entry = await self._entry(address)
        chunks, size, last = list[bytes](), 0, 0
        replies = await self._client.subscribe(self._client.new_inbox())
        ask = {"next_by_subj": _chunk_subject(entry.nuid or ""), "batch": CHUNKS_IN_FLIGHT}
        try:
            while size < (entry.size or 0):
                have = size
                request = json.dumps({**ask, "seq": last + 1}).encode()
                await self._client.publish(f"$JS.API.DIRECT.GET.{STREAM}", request, reply=replies.subject)
                while True:
                    message = await replies.next_msg(timeout=CHUNK_S)
                    headers = message.headers or {}
                    if "Status" in headers:  # the end of the batch, or nothing there
                        break
                    chunks.append(message.data)
                    size += len(message.data)
                    last = int(headers["Nats-Sequence"])
                if size == have:
                    raise nats.js.errors.NotFoundError
        finally:
            await replies.unsubscribe()
        return b"".join(chunks)

    async def _entry(self, address: str) -> ObjectInfo:
        """What the object store says of a blob.

        Raises:
            nats.js.errors.NotFoundError: Nothing.
            nats.js.errors.BadObjectMetaError: Something that makes no sense.
        """
        stream = self._client.jetstream(timeout=CHUNK_S)
        told = (await stream.get_last_msg(STREAM, _entry_subject(address), direct=True)).data
        try:
            entry: ObjectInfo = ObjectInfo.from_response(json.loads(told or b""))
        except Exception as error:  # the library raises whatever it likes on what it did not write
            raise nats.js.errors.BadObjectMetaError from error
        if not isinstance(entry.nuid, str) or not isinstance(entry.size, int) or not 0 <= entry.size <= BLOB_BYTES_MAX:
            raise nats.js.errors.BadObjectMetaError
        return entry


def _object_name(address: str) -> str:
    """The address as the object store allows names: without a colon."""
    return address.replace(":", "-")


def _single_nuid(address: str) -> str:
    """What the chunk of a blob with one chunk is called: by its content, so that it can be read without its entry."""
    return digest_at(address).hex()[:22]


def _chunk_subject(nuid: str) -> str:
    return f"$O.{BUCKET}.C.{nuid}"


def _entry_subject(address: str) -> str:
    return f"$O.{BUCKET}.M.{base64.urlsafe_b64encode(_object_name(address).encode()).decode()}"


class PlainOpener:
    """``Opener`` for plain blobs; it remembers the last few blobs, because results of a lease share one."""

    def __init__(self, blobs: Blobs, bytes_max: int = 64 << 20) -> None:
        self._blobs, self._bytes_max = blobs, bytes_max
        self._recent: OrderedDict[str, bytes] = OrderedDict()

    async def open(self, ref: BlobRef) -> bytes:
        stored = self._recent.get(ref.address)
        if stored is None:
            stored = self._recent[ref.address] = await self._blobs.get(ref.address)
            self._recent.move_to_end(ref.address)
            while len(self._recent) > 1 and sum(map(len, self._recent.values())) > self._bytes_max:
                self._recent.popitem(last=False)
        else:
            self._recent.move_to_end(ref.address)
        plain = stored[ref.offset : ref.offset + ref.size]
        if len(plain) != ref.size:
            raise Corrupt(f"{ref.address} is shorter than the reference to it")
        if ref.salt is not None:
            whole = len(plain) == len(stored)
            digest = digest_at(ref.address) if whole else await aside(len(plain), digest_of, plain)  # the store checks
            if commit_to(digest, ref.salt) != ref.commitment:
                raise Corrupt(f"{ref.address} does not match the commitment to it")
        return plain
