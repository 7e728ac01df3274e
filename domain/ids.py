"""Names of things: who, which, and which stream.

Every stream is a UUID that says what it belongs to: 12 bytes of the owner's id, one byte of kind, three bytes of index.
"""

import hashlib
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Final

from msgspec import Meta


def _text(length: int | tuple[int, int], alphabet: str, privacy: str, *, prefix: str = "") -> Meta:
    """A fixed-form text: its length is checked at every decoding, its alphabet where a stranger sends it."""
    low, high = length if isinstance(length, tuple) else (length, length)
    pattern = f"^{prefix}{alphabet}{{{low},{high}}}$"
    low, high = low + len(prefix), high + len(prefix)
    return Meta(min_length=low, max_length=high, extra_json_schema={"pattern": pattern}, extra={"privacy": privacy})


#: 12 bytes in hex; derived from the poster's signed command, so the client knows it before the market answers.
JobId = Annotated[str, _text(24, "[0-9a-f]", "public")]
EscrowId = Annotated[str, _text(24, "[0-9a-f]", "public")]
#: Ed25519 public key in NATS nkey form (user prefix).
PartyKey = Annotated[str, _text(56, "[A-Z2-7]", "pseudonym")]
#: SHA-256 in hex, salted where it stands for content.
Digest = Annotated[str, _text(64, "[0-9a-f]", "commitment")]
#: 16 random bytes in hex.
Nonce = Annotated[str, _text(32, "[0-9a-f]", "commitment")]
#: Name of an outside payment, unique for the party that confirms it (a transaction id, a faucet's own number).
Reference = Annotated[str, _text((16, 64), "[0-9a-f]", "public")]
#: Transaction or block id, as Bitcoin's tools print it.
Txid = Annotated[str, _text(64, "[0-9a-f]", "public")]
#: The 80 bytes of a block's header in hex.
BlockHeader = Annotated[str, _text(160, "[0-9a-f]", "public")]
#: An output of a transaction: its id, and its number in eight hex digits.
OutPoint = Annotated[str, _text(72, "[0-9a-f]", "public")]
#: Compressed secp256k1 public key in hex.
PublicKey = Annotated[str, _text(66, "[0-9a-f]", "pseudonym")]
#: Script of a segwit output (P2WPKH, P2WSH or P2TR) in hex; an address is this and a network.
Script = Annotated[str, _text((44, 68), "[0-9a-f]", "pseudonym")]
#: Where a blob's stored bytes are found: the hash of exactly those bytes, with the algorithm's name.
Address = Annotated[str, _text(64, "[0-9a-f]", "commitment", prefix="sha256:")]
#: The worker's jax version, as ``0.10.2``.
Version = Annotated[str, _text((1, 16), "[0-9a-z.+]", "public")]

TASKS_MAX: Final = 1 << 20
TaskIndex = Annotated[int, Meta(ge=0, lt=TASKS_MAX, extra={"privacy": "public"})]
Replica = Annotated[int, Meta(ge=0, lt=8, extra={"privacy": "public"})]
Count = Annotated[int, Meta(ge=0, le=2**53, extra={"privacy": "public"})]
#: Of a block, from 0; below the numbers that Bitcoin reads as times (BIP65).
Height = Annotated[int, Meta(ge=0, lt=500_000_000, extra={"privacy": "public"})]
#: Number of a transaction's output.
Vout = Annotated[int, Meta(ge=0, lt=2**32, extra={"privacy": "public"})]
#: Number of a payout transaction of the market, from 1.
Epoch = Annotated[int, Meta(ge=1, lt=1 << 24, extra={"privacy": "public"})]
#: An aware UTC time.
At = Annotated[datetime, Meta(tz=True, extra={"privacy": "public"})]


class Kind(IntEnum):
    """What a stream tells the history of; the names are those in NATS subjects."""

    task = 0
    job = 1
    dispute = 2
    worker = 3
    stake = 4
    escrow = 5
    round = 6
    settlement = 7
    market = 8
    program = 9


def stream_of(kind: Kind, owner: str, index: int = 0) -> bytes:
    """The 16-byte stream id of ``owner`` (24 hex digits)."""
    return bytes.fromhex(owner) + kind.to_bytes(1, "big") + index.to_bytes(3, "big")


def kind_of(stream: bytes) -> Kind:
    """What the stream is about."""
    return Kind(stream[12])


def short_id(party: str) -> str:
    """A party's 24 hex digits, for streams and subjects."""
    return hashlib.sha256(party.encode()).hexdigest()[:24]


def program_stream(address: str) -> bytes:
    """The stream of the program whose exported bytes are at ``address``."""
    return stream_of(Kind.program, address.removeprefix("sha256:")[:24])


def job_id(client: str, nonce: str, item: int) -> str:
    """Id of the job that ``client`` posts as item ``item`` of the command with ``nonce``."""
    return hashlib.sha256(f"pasar/job/1 {client} {nonce} {item}".encode()).hexdigest()[:24]


def escrow_id(client: str) -> str:
    """Id of the escrow that ``client`` funds."""
    return hashlib.sha256(f"pasar/escrow/1 {client}".encode()).hexdigest()[:24]
