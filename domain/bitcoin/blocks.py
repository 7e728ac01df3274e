"""Blocks' headers, and the proof that a block holds a transaction.

Source: Bitcoin Core's primitives/block.h, consensus/merkle.cpp and arith_uint256.cpp.
"""

import hashlib
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from domain.errors import Refused

_HEADER: Final = Struct("<i32s32sIII")


class BadBranch(Refused):
    template = "the proof cannot be right: {reason}; ask a node for it again"


class Header(NamedTuple):
    """A block's header; the two hashes in the order of bytes on the wire."""

    version: int
    previous: bytes
    merkle_root: bytes
    time: int
    bits: int
    nonce: int


def merkle_branch(txids: Sequence[str], index: int) -> list[bytes]:
    """The hashes that lead from the transaction at ``index`` of a block to the block's root, from below.

    Args:
        txids: Every transaction of the block, in its order.
    """
    row = [bytes.fromhex(name)[::-1] for name in txids]
    if not 0 <= index < len(row):
        raise BadBranch(reason=f"a block of {len(row)} transactions has none at {index}")
    branch = []
    while len(row) > 1:
        branch.append(row[min(index ^ 1, len(row) - 1)])
        row, index = _above(row), index // 2
    return branch


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """The root that a header or a witness commitment holds, over at least one hash."""
    row = list(hashes)
    while len(row) > 1:
        row = _above(row)
    return row[0]


def _above(row: list[bytes]) -> list[bytes]:
    """The next row of the tree; the last hash of an odd row is paired with itself."""
    row = [*row, row[-1]] if len(row) % 2 else row
    return [double_sha256(row[place] + row[place + 1]) for place in range(0, len(row), 2)]


def merkle_root_from(txid: str, index: int, branch: Sequence[bytes]) -> bytes:
    """The root of the block that has this transaction at ``index``, if ``branch`` is right.

    A caller that was given the transaction itself refuses one of 64 bytes, which could be an inner node of the tree
    in disguise (CVE-2017-12842).

    Raises:
        BadBranch: The branch is too short or too long for that place, or holds something else than hashes.
    """
    if not 0 <= index < 1 << len(branch) <= 1 << 32 or any(len(beside) != 32 for beside in branch):
        raise BadBranch(reason=f"{len(branch)} hashes do not lead to place {index}")
    root = bytes.fromhex(txid)[::-1]
    for beside in branch:
        root = double_sha256(beside + root if index % 2 else root + beside)
        index //= 2
    return root


def parse_header(raw: bytes) -> Header:
    """The header in these 80 bytes.

    Raises:
        BadBranch: Another length.
    """
    if len(raw) != _HEADER.size:
        raise BadBranch(reason=f"a block's header has 80 bytes, not {len(raw)}")
    return Header(*_HEADER.unpack(raw))


def block_hash(header: bytes) -> str:
    """The block's name, as everybody shows it."""
    return double_sha256(header)[::-1].hex()


def has_work(header: bytes) -> bool:
    """Whether the header's hash is as small as it says itself; how small that must be only the chain can tell."""
    bits = parse_header(header).bits
    length, mantissa = bits >> 24, bits & 0x007FFFFF
    target = mantissa << 8 * (length - 3) if length > 3 else mantissa >> 8 * (3 - length)
    negative = bool(bits & 0x00800000)
    return not negative and target < 1 << 256 and int.from_bytes(double_sha256(header), "little") <= target


def double_sha256(data: bytes) -> bytes:
    """The hash that names transactions and blocks."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
