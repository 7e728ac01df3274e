"""Blocks that a verifier knows to be in the best chain, from a node or an explorer of its own."""

from collections.abc import Iterable

from domain.bitcoin import block_hash
from domain.errors import Refused

_HASH_DIGITS, _HEADER_DIGITS = 64, 160
_SHOWN_MAX = 80


class NoBlock(Refused):
    template = "{text!r} names no block; write its hash, of 64 hex digits, or its header, of 160"


def named(texts: Iterable[str]) -> frozenset[str]:
    """Ids of blocks, each given by its hash or its header in hex.

    Raises:
        NoBlock: One is neither.
    """
    return frozenset(map(_id, texts))


def read(file: bytes) -> frozenset[str]:
    """Ids of blocks out of a file that names one a line; empty lines and those that begin with # say nothing.

    Raises:
        NoBlock: A line names none.
    """
    lines = (line.strip() for line in file.decode("utf-8", errors="replace").splitlines())
    return named(line for line in lines if line and not line.startswith("#"))


def _id(text: str) -> str:
    digits = text.strip().lower()
    if len(digits) not in (_HASH_DIGITS, _HEADER_DIGITS) or not set(digits) <= set("0123456789abcdef"):
        raise NoBlock(text=text[:_SHOWN_MAX])
    return digits if len(digits) == _HASH_DIGITS else block_hash(bytes.fromhex(digits))
