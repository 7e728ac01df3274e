"""RFC 6962 Merkle tree over the log, as the O(log n) nodes that the next leaf needs."""

from collections.abc import Sequence
from hashlib import sha256

from services.ports import Stored


def leaf(stored: Stored) -> bytes:
    """Leaf hash over the event's place and exact bytes."""
    position, stream, version, name, data, meta, _ = stored
    head = b"%d %b %d %b %d " % (position, stream, version, name.encode(), len(data))
    return sha256(b"\x00" + head + data + meta).digest()


class CompactRange:
    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        self.size = size
        self.nodes = list(nodes)

    def add(self, leaf: bytes) -> None:
        size, nodes = self.size, self.nodes
        while size & 1:
            leaf = sha256(b"\x01" + nodes.pop() + leaf).digest()
            size >>= 1
        nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Root hash of everything added so far."""
        if not self.nodes:
            return sha256(b"").digest()
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = sha256(b"\x01" + node + root).digest()
        return root
