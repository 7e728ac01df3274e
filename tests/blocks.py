"""Keys, scripts, ids and blocks for tests of money: as good as real ones of regtest to whoever cannot ask a node."""

import hashlib
from collections.abc import Sequence
from functools import cache
from struct import pack

from domain import bitcoin


@cache
def point(name: str) -> str:
    """A public key whose secret nobody knows."""
    x = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    while not bitcoin.is_key(b"\x02" + x.to_bytes(32, "big")):
        x += 1
    return "02" + x.to_bytes(32, "big").hex()


def p2wpkh(name: str) -> str:
    """The script of somebody's address."""
    return "0014" + hashlib.sha256(name.encode()).hexdigest()[:40]


def digest(*named: object) -> str:
    """The id of a transaction or a block that a test only needs the name of."""
    return hashlib.sha256(" ".join(map(str, named)).encode()).hexdigest()


@cache
def header_over(previous: str, root: bytes) -> bytes:
    """A header with as much work as regtest asks for."""
    for nonce in range(1 << 16):
        found = pack("<I32s32sIII", 0x20000000, bytes.fromhex(previous)[::-1], root, 1_900_000_000, 0x207FFFFF, nonce)
        if bitcoin.has_work(found):
            return found
    raise AssertionError("every other nonce has enough work")


def block_with(txids: Sequence[str], index: int, salt: object = "") -> tuple[str, tuple[str, ...]]:
    """The header of a block with these transactions, and one's branch, in hex."""
    branch = bitcoin.merkle_branch(txids, index)
    root = bitcoin.merkle_root_from(txids[index], index, branch)
    header = header_over(digest("previous", salt), root)
    return header.hex(), tuple(beside.hex() for beside in branch)
