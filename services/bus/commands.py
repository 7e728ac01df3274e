"""Commands on the wire: a signed batch of up to 256 items, and its answer.

A frame is the actor's 32-byte key, a 64-byte Ed25519 signature over ``DOMAIN`` and the body, and the body: JSON of
``Body``. The bytes that are sent are the bytes that are signed, so there is no canonical form to agree on.
"""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, get_args

import msgspec
from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from domain import errors
from domain.blobs import BlobRef
from domain.commands import Command
from domain.events import JobPosted
from domain.ids import At, Nonce
from services.bus.alphabets import check_of
from services.keys import Party, public_key, verify_key

SUBJECT = "pasar.command"
DOMAIN = b"pasar/command/1\n"
ITEMS_MAX = 256
#: The largest frame, in bytes.
FRAME_MAX = 1 << 20
#: How far ahead a command may expire; used nonces are remembered this long.
HORIZON = timedelta(seconds=60)
_EXPIRES_IN = timedelta(seconds=30)
_HEAD = 96


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """What an actor signs.

    Attributes:
        market: The operator's key; a command for one market means nothing in another.
        nonce: Used once by this actor.
    """

    market: str
    nonce: Nonce
    expires_at: At
    items: Annotated[list[Command], Meta(min_length=1, max_length=ITEMS_MAX)]


class Refusal(Struct, frozen=True):
    """Why an item, or the whole batch, was refused.

    Attributes:
        item: Its index, or -1 for the whole batch.
        name: Stable name of the reason.
        message: A sentence that a person may be shown, with the next step.
    """

    item: int
    name: str
    message: str


class Lease(Struct, frozen=True):
    """Tasks of one job, handed to a worker together."""

    terms: JobPosted
    tasks: list[int]
    expires_at: At


class Claim(Struct, frozen=True):
    """A disputed result."""

    worker: str
    result: BlobRef


class DisputeCase(Struct, frozen=True):
    """What a referee needs to replay a disputed task."""

    terms: JobPosted
    task: int
    claims: list[Claim]


class Reply(Struct, frozen=True, omit_defaults=True):
    """The answer to a batch.

    Attributes:
        position: The last position that the batch was recorded at; 0 if it recorded nothing.
        refused: The items that were refused; the others stand.
        leases: New work, if the batch asked for it.
        reveal: Committed tasks (job, task) whose replicas are complete: their results may be submitted now.
        disputes: For a referee that asked.
    """

    position: int = 0
    refused: list[Refusal] = []
    leases: list[Lease] = []
    reveal: list[tuple[str, int]] = []
    disputes: list[DisputeCase] = []


_encode_body = msgspec.json.Encoder().encode
_decode_body = msgspec.json.Decoder(Body).decode
encode_reply = msgspec.json.Encoder().encode
decode_reply = msgspec.json.Decoder(Reply).decode
_check_item = {kind: check_of(kind) for kind in get_args(Command)}
_is_nonce = re.compile("[0-9a-f]{32}").fullmatch


class Opened(Struct, frozen=True):
    """A batch whose signature, market and expiry hold."""

    actor: str
    body: Body


def new_nonce() -> str:
    return secrets.token_hex(16)


def sign(party: Party, market: str, items: Sequence[Command], *, now: datetime, nonce: str | None = None) -> bytes:
    """The frame of one signed batch.

    Raises:
        Malformed: It is larger than the market takes.
    """
    body = _encode_body(Body(market, nonce or new_nonce(), now + _EXPIRES_IN, list(items)))
    if len(body) > FRAME_MAX - _HEAD:
        raise errors.Malformed(reason=f"a frame has at most {FRAME_MAX} bytes, this one {_HEAD + len(body)}")
    return verify_key(party.key) + party.sign(DOMAIN + body) + body


def open_frame(frame: bytes, market: str, now: datetime) -> Opened:
    """Check and read a frame.

    Raises:
        Malformed: It is too large, too short, or not a batch of commands.
        Unsigned: The signature is not the actor's.
        Expired, TooFarAhead: It expired, or will too late.
    """
    if not _HEAD < len(frame) <= FRAME_MAX:
        raise errors.Malformed(reason=f"a frame has {_HEAD} to {FRAME_MAX} bytes, this one {len(frame)}")
    key, signature, signed = frame[:32], frame[32:_HEAD], frame[_HEAD:]
    try:
        _verifier(key).verify(DOMAIN + signed, signature)
    except (BadSignatureError, ValueError):
        raise errors.Unsigned from None
    try:
        body = _decode_body(signed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.Malformed(reason=str(error)) from None
    _check_alphabets(body)
    if body.market != market:
        raise errors.Malformed(reason=f"it is signed for market {body.market}, this is {market}")
    if body.expires_at <= now:
        raise errors.Expired(expires_at=body.expires_at.isoformat())
    if body.expires_at > now + HORIZON:
        raise errors.TooFarAhead(expires_at=body.expires_at.isoformat(), seconds=int(HORIZON.total_seconds()))
    return Opened(_key_text(key), body)


def _check_alphabets(body: Body) -> None:
    if not _is_nonce(body.nonce):
        raise errors.Malformed(reason="a nonce has 32 hexadecimal digits - at `$.nonce`")
    for number, item in enumerate(body.items):
        if wrong := _check_item[type(item)](item):
            raise errors.Malformed(reason=f"`$.items[{number}]{wrong}`")


@lru_cache(maxsize=4096)
def _verifier(raw_key: bytes) -> VerifyKey:
    return VerifyKey(raw_key)


@lru_cache(maxsize=4096)
def _key_text(raw_key: bytes) -> str:
    return public_key(raw_key)


class Nonces:
    """Nonces in use: each is remembered until its command has expired, in two halves that take turns."""

    def __init__(self) -> None:
        self._new: set[tuple[str, str]] = set()
        self._old: set[tuple[str, str]] = set()
        self._turn_at: datetime | None = None

    def use(self, actor: str, nonce: str, now: datetime) -> None:
        """Mark a nonce as used.

        Raises:
            Replayed: It was used before.
        """
        if self._turn_at is None or now >= self._turn_at:
            self._old, self._new, self._turn_at = self._new, set(), now + HORIZON
        used = (actor, nonce[:16])
        if used in self._new or used in self._old:
            raise errors.Replayed
        self._new.add(used)

    def remember(self, actor: str, causation: str) -> None:
        """A nonce's first half, as the log keeps it."""
        self._new.add((actor, causation))
