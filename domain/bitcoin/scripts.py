"""Output scripts that hold escrows, stakes and the reserve, and their descriptors.

Escrow and stake: two of three sign, or the owner's second key alone once the chain is past a height.
``wsh(or_d(multi(2,owner,market,arbiter),and_v(v:pk(refund),after(height))))``, which is
``2 owner market arbiter 3 CHECKMULTISIG IFDUP NOTIF refund CHECKSIGVERIFY height CHECKLOCKTIMEVERIFY ENDIF``.

Source: BIP141 (P2WSH), BIP65 (height), BIP379 (Miniscript), BIP380 (descriptors).
"""

import hashlib
from functools import lru_cache
from typing import Final

from domain.bitcoin.encoding import compact_size, push, push_number
from domain.errors import Refused

#: Digits of bech32, which descriptors borrow for their checksum.
BECH32_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
#: A lock of this many or more would be a time, not a height (BIP65).
HEIGHT_MAX: Final = 500_000_000 - 1
_FIELD: Final = 2**256 - 2**32 - 977
_DESCRIPTOR_ALPHABET: Final = (
    "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
)
_DESCRIPTOR_GENERATORS: Final = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)
#: Three public keys: whose money it is, the market's, the arbiter's.
Keys = tuple[bytes, bytes, bytes]


class BadScript(Refused):
    template = "the script cannot be made: {reason}; use fresh keys and a height as `pasar escrow show` tells them"


def escrow_script(keys: Keys, refund: bytes, height: int) -> bytes:
    """The witness script of an escrow or a stake.

    Args:
        keys: Two of these three sign what the rules decide.
        refund: The owner's second key, which needs nobody.
        height: Of the last block in which ``refund`` alone does not suffice.
    Raises:
        BadScript: A key is no compressed point, two are equal, or the height is no height.
    """
    _verify_keys(*keys, refund)
    if not 0 < height <= HEIGHT_MAX:
        raise BadScript(reason=f"height {height} is not from 1 to {HEIGHT_MAX}")
    two_of_three = b"\x52" + b"".join(map(push, keys)) + b"\x53\xae"
    return two_of_three + b"\x73\x64" + push(refund) + b"\xad" + push_number(height) + b"\xb1\x68"


def reserve_script(market: bytes, arbiter: bytes) -> bytes:
    """The witness script of money that market and arbiter keep together, two of two.

    Raises:
        BadScript: A key is no compressed point, or they are equal.
    """
    _verify_keys(market, arbiter)
    return b"\x52" + push(market) + push(arbiter) + b"\x52\xae"


def escrow_descriptor(keys: Keys, refund: bytes, height: int) -> str:
    """The escrow as any wallet with descriptors reads it: enough to watch it, and with the key to refund it."""
    _verify_keys(*keys, refund)
    owners = ",".join(key.hex() for key in keys)
    return with_checksum(f"wsh(or_d(multi(2,{owners}),and_v(v:pk({refund.hex()}),after({height}))))")


def reserve_descriptor(market: bytes, arbiter: bytes) -> str:
    """The reserve of ``reserve_script`` as any wallet with descriptors reads it."""
    _verify_keys(market, arbiter)
    return with_checksum(f"wsh(multi(2,{market.hex()},{arbiter.hex()}))")


def p2wsh(witness_script: bytes) -> bytes:
    """The output script that is spent by showing ``witness_script`` and satisfying it."""
    return b"\x00\x20" + hashlib.sha256(witness_script).digest()


def op_return(digest: bytes) -> bytes:
    """The output script that commits to 32 bytes and can never be spent."""
    if len(digest) != 32:
        raise BadScript(reason=f"a commitment has 32 bytes, not {len(digest)}")
    return b"\x6a\x20" + digest


def dust_sat(script: bytes) -> int:
    """The least that an output may hold to be relayed: three times what creating and spending it costs at 1 sat/vB.

    Source: ``GetDustThreshold`` in Bitcoin Core's policy/policy.cpp.
    """
    if script[:1] == b"\x6a":
        return 0
    spending = 67 if is_witness_program(script) else 148
    return 3 * (8 + len(compact_size(len(script))) + len(script) + spending)


@lru_cache(maxsize=1 << 12)
def is_key(key: bytes) -> bool:
    """Whether these bytes are a compressed point of secp256k1; nobody can sign for anything else.

    It takes a tenth of a millisecond, and the market's and the arbiter's keys are in every script.
    """
    if len(key) != 33 or key[0] not in (2, 3):
        return False
    x = int.from_bytes(key[1:], "big")
    return x < _FIELD and pow(x**3 + 7, (_FIELD - 1) // 2, _FIELD) == 1


def is_witness_program(script: bytes) -> bool:
    """Whether an output script is spent by a witness, in a form known today or left for later (BIP141)."""
    return 4 <= len(script) <= 42 and script[1] == len(script) - 2 and (script[0] == 0 or 0x51 <= script[0] <= 0x60)


def with_checksum(descriptor: str) -> str:
    """A descriptor with the checksum that wallets ask for (BIP380)."""
    rest, group, symbols = 1, 0, [_DESCRIPTOR_ALPHABET.index(letter) for letter in descriptor]
    words = list[int]()
    for place, symbol in enumerate(symbols, 1):
        words.append(symbol & 31)
        group = group * 3 + (symbol >> 5)
        if place % 3 == 0 or place == len(symbols):
            words.append(group)
            group = 0
    for word in [*words, 0, 0, 0, 0, 0, 0, 0, 0]:
        top = rest >> 35
        rest = (rest & 0x7FFFFFFFF) << 5 ^ word
        for bit, generator in enumerate(_DESCRIPTOR_GENERATORS):
            if top >> bit & 1:
                rest ^= generator
    rest ^= 1
    return f"{descriptor}#{''.join(BECH32_ALPHABET[rest >> 5 * (7 - place) & 31] for place in range(8))}"


def _verify_keys(*keys: bytes) -> None:
    for key in keys:
        if not is_key(key):
            raise BadScript(reason=f"{key[:33].hex()} is no compressed public key")
    if len(set(keys)) < len(keys):
        raise BadScript(reason="two of its keys are the same")
