"""Who a party is: an Ed25519 key in NATS nkey form (``SU...`` seed, ``U...`` public key), one private file each.

A seed leaves this module on request (``Party.seed``) and in its own file; never in a repr, a log or a message.
"""

import base64
import binascii
import re
import secrets
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final

import nkeys
from nacl.signing import SigningKey

from domain.errors import Refused
from services import private
from services.config import Settings

#: The party that is the market itself.
MARKET: Final = "market"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class BadKey(Refused):
    template: ClassVar[str] = "{key} is not a party's public key; it has 56 letters and digits and begins with U"


class BadName(Refused):
    template: ClassVar[str] = "{name!r} cannot name a party; use small letters, digits, dots and dashes"


class MarketUnknown(Refused):
    template: ClassVar[str] = (
        "the market's public key is not known on this machine; set PASAR_MARKET_KEY to it, its operator tells it"
    )


class KeyUnreadable(Refused):
    template: ClassVar[str] = "the key file {path} holds no seed; restore it from your copy or move it away"


class Party:
    """A party that can sign, known to everybody by its public key."""

    __slots__ = ("_seed", "_signing", "key", "name")

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        _, raw = nkeys.decode_seed(seed.encode())
        self._seed = seed
        self._signing = SigningKey(bytes(raw))
        self.key = public_key(bytes(self._signing.verify_key))

    @property
    def seed(self) -> str:
        """The secret, for the one driver that signs a connection itself."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of exactly these bytes."""
        return self._signing.sign(message).signature

    def __repr__(self) -> str:
        return f"Party({self.name!r}, key={self.key!r})"

    def __reduce__(self) -> str:
        raise TypeError("a party holds a secret and cannot be pickled; pass its name and open it there")


def party(settings: Settings, name: str) -> Party:
    """The party called ``name`` on this machine; its key is made on first use.

    Raises:
        BadName: The name would not make a plain file name.
        KeyExposed: The file can be read by others than its owner.
        KeyUnreadable: The file holds something else.
    """
    path = key_file(settings, name, "seed")
    if not path.exists():
        private.create(path, nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER) + b"\n")
    held = private.read(path)
    try:
        return Party(name, held.decode().strip())
    except (nkeys.ErrInvalidSeed, nkeys.ErrInvalidPrefixByte, ValueError):
        raise KeyUnreadable(path=path) from None  # the driver's error may quote the seed


def key_file(settings: Settings, name: str, kind: str) -> Path:
    """Where the party's secret of that kind is kept.

    Raises:
        BadName: The name would not make a plain file name.
    """
    if not _NAME.fullmatch(name):
        raise BadName(name=name)
    return settings.keys / f"{name}.{kind}"


def market_key(settings: Settings) -> str:
    """The public key of the market: what commands are signed for and receipts are signed with. It is never made here.

    Raises:
        MarketUnknown: No setting names it, and no market was ever started on this machine.
        BadKey: The setting holds no key.
    """
    if settings.market_key is not None:
        verify_key(settings.market_key)
        return settings.market_key
    if not (settings.keys / f"{MARKET}.seed").exists():
        raise MarketUnknown
    return party(settings, MARKET).key


def public_key(raw: bytes) -> str:
    """The nkey form of 32 raw bytes of an Ed25519 public key."""
    if len(raw) != 32:
        raise BadKey(key=raw.hex())
    body = bytes((nkeys.PREFIX_BYTE_USER,)) + raw
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode()


@lru_cache(maxsize=65_536)
def verify_key(key: str) -> bytes:
    """The 32 raw bytes of a party's public key.

    Raises:
        BadKey: Not an nkey of a user, or mistyped (its checksum differs).
    """
    try:
        body = base64.b32decode(key)
    except (binascii.Error, ValueError):
        raise BadKey(key=key) from None
    if len(body) != 35 or body[0] != nkeys.PREFIX_BYTE_USER:
        raise BadKey(key=key)
    if binascii.crc_hqx(body[:-2], 0) != int.from_bytes(body[-2:], "little"):
        raise BadKey(key=key)
    return body[1:33]
