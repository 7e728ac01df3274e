"""The Merkle tree of RFC 6962 (RFC 9162, section 2.1) over any leaves: what rules and proofs share.

A leaf is ``SHA-256(0x00 || data)``, a node ``SHA-256(0x01 || left || right)``.
"""

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256().digest()


def hash_leaf(data: bytes) -> bytes:
    """Leaf hash of any bytes."""
    return hashlib.sha256(b"\0" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def joined(hashes: Sequence[bytes]) -> bytes:
    """Root over neighbouring complete subtrees, the largest first."""
    *rest, root = hashes
    for node in reversed(rest):
        root = hash_node(node, root)
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root of the tree over these leaf hashes."""
    subtrees: list[bytes] = []
    for size, node in enumerate(leaves):
        carry = size
        while carry & 1:
            node = hash_node(subtrees.pop(), node)
            carry >>= 1
        subtrees.append(node)
    return joined(subtrees) if subtrees else EMPTY_ROOT
