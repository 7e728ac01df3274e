"""What an event may say about content: where its stored bytes are, and a salted commitment to its plaintext.

A bare plaintext digest can be guessed for small inputs and one-bit results, so none is ever recorded; a public job
publishes the salt beside the commitment, a sealed one will keep it (reference: commitments of RFC 2104 HMAC form).
"""

import hashlib
import hmac
from typing import Annotated, Literal

from msgspec import Meta, Struct

from domain.ids import Address, Digest, Nonce

#: The largest blob the market takes, in bytes.
BLOB_BYTES_MAX = 256 << 20

Size = Annotated[int, Meta(ge=0, le=BLOB_BYTES_MAX, extra={"privacy": "public"})]


class BlobRef(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A run of bytes inside one stored blob.

    Attributes:
        address: ``sha256:`` and the hash of the stored blob.
        offset, size: The run's place in it, in bytes; small results of one lease share a blob.
        form: ``plain`` as it is; sealed forms will follow.
        commitment: HMAC-SHA256(salt, SHA-256(plaintext)).
        salt: Published for public content, absent for sealed content.
    """

    address: Address
    offset: Size
    size: Size
    form: Literal["plain"]
    commitment: Digest
    salt: Nonce | None = None


def address_of(stored: bytes) -> str:
    """Where ``stored`` is kept."""
    return "sha256:" + hashlib.sha256(stored).hexdigest()


def digest_at(address: str) -> bytes:
    """The digest that an address is made of: ``digest_of`` what is stored there."""
    return bytes.fromhex(address.removeprefix("sha256:"))


def digest_of(plain: bytes) -> bytes:
    """The 32-byte digest that commitments and equality tags are made of."""
    return hashlib.sha256(plain).digest()


def commit_to(digest: bytes, salt: str) -> str:
    """Salted commitment to a plaintext digest."""
    return hmac.digest(salt.encode(), digest, "sha256").hex()


def equality_tag(digest: bytes, job: str, task: int) -> str:
    """Tag by which replicas of one task are compared without opening them.

    The key is public for public jobs; sealed jobs will derive it from the task's key.
    """
    return hmac.digest(f"pasar/equality/1 {job} {task}".encode(), digest, "sha256").hex()


def result_commitment(worker: str, job: str, task: int, nonce: str, result: BlobRef, equality: str) -> str:
    """What a worker publishes before its result: it binds worker, task and content, and hides them behind a nonce."""
    framed = (
        f"pasar/result/1 {worker} {job} {task} {nonce} {result.commitment} "
        f"{result.address} {result.offset} {result.size} {equality}"
    )
    return hashlib.sha256(framed.encode()).hexdigest()


def blob_ref(stored: bytes, salt: str) -> BlobRef:
    """Reference to a whole plain blob, committed to with ``salt``."""
    return ref_to(address_of(stored), len(stored), salt)


def ref_to(address: str, size: int, salt: str) -> BlobRef:
    """As ``blob_ref``, for the blob of ``size`` bytes at ``address``, without its bytes."""
    return BlobRef(address, 0, size, "plain", commit_to(digest_at(address), salt), salt)


def is_whole(ref: BlobRef) -> bool:
    """Whether the reference can only be opened by all of the blob's bytes: its commitment is to the stored blob."""
    return ref.salt is not None and ref == ref_to(ref.address, ref.size, ref.salt)
