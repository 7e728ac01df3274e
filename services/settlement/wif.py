"""A private key as wallets exchange it (WIF): only for its owner, who moves it to another wallet.

bitcoinlib writes a regtest key with main's first byte, which Bitcoin Core refuses; so it is written here.
Source: Bitcoin Core's key_io.cpp (``EncodeSecret``) and kernel/chainparams.cpp (``SECRET_KEY``).
"""

from typing import Final

from domain.bitcoin import Network
from domain.bitcoin.blocks import double_sha256

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAIN, _TEST = b"\x80", b"\xef"
#: Says that the public key is the compressed one.
_COMPRESSED: Final = b"\x01"


def encode(secret: bytes, network: Network) -> str:
    """The 32 bytes of a private key in base58, with a checksum; the same on every test network."""
    data = (_MAIN if network == "main" else _TEST) + secret + _COMPRESSED
    number, digits = int.from_bytes(data + double_sha256(data)[:4], "big"), ""
    while number:
        number, place = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[place] + digits
    return digits
