"""What a chain would give, for tests: keys, scripts, ids and blocks, the same for the same names."""

import hashlib
from functools import cache
from struct import pack

from domain import bitcoin


@cache
def point(name: str) -> str:
    """A compressed public key, for tests; nobody knows its secret."""
    x = int.from_bytes(hashlib.sha256(name.encode()).digest())
    while not bitcoin.is_key(b"\x02" + x.to_bytes(32, "big")):
        x += 1
    return "02" + x.to_bytes(32, "big").hex()


def p2wpkh(name: str) -> str:
    """The script of an address, for tests."""
    return "0014" + hashlib.sha256(name.encode()).hexdigest()[:40]


def digest(*named: object) -> str:
    """A transaction's or a block's id, for tests."""
    return hashlib.sha256(" ".join(map(str, named)).encode()).hexdigest()


def block_of(txid: str, height: int, salt: int = 0) -> tuple[str, tuple[str, ...]]:
    """The header of a block that holds a coinbase and this transaction, with work as regtest asks for; its branch."""
    beside = hashlib.sha256(f"coinbase {height} {salt}".encode()).digest()
    root = bitcoin.merkle_root_from(txid, 1, (beside,))
    previous = bytes.fromhex(digest("block", height - 1))
    for nonce in range(1 << 16):
        header = pack("<I32s32sIII", 0x20000000, previous, root, 1_900_000_000 + height, 0x207FFFFF, nonce)
        if bitcoin.has_work(header):
            return header.hex(), (beside.hex(),)
    raise AssertionError("every other nonce has enough work")
