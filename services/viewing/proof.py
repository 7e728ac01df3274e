"""The proof that an event is in a log of so many, as a file that anybody can fold with nothing but SHA-256."""

from collections.abc import Sequence
from typing import Final, Literal, Self

import msgspec
from msgspec import Struct

from services.ledger import merkle
from services.ledger.root import SignedRoot
from services.ports import Stored
from services.receipt.form import Logged, logged
from services.viewing.view import View

#: What folds the file, typed where only Python is: a node is SHA-256 of 0x01 and its two children.
CHECK: Final = """\
python3 -c 'import hashlib, json, sys
proof = json.load(open(sys.argv[1])); node = bytes.fromhex(proof["leaf"])
for one in proof["siblings"]:
    other = bytes.fromhex(one["hash"]); pair = other + node if one["side"] == "left" else node + other
    node = hashlib.sha256(b"\\x01" + pair).digest()
print("holds" if node.hex() == proof["root"] else "does not hold")' proof.json"""


class Sibling(Struct, frozen=True):
    """Attributes:
    side: Where it stands beside what was folded so far. folded: What both make.
    """

    side: Literal["left", "right"]
    hash: str
    folded: str


class Proof(Struct, frozen=True, kw_only=True):
    """Attributes:
    leaf: ``merkle.leaf`` of the event, in hex like all hashes here. siblings: From the leaf up.
    root: Of the log's first ``size`` events, told by the log itself. signed: The market's word on it, if it gave that.
    """

    format: Literal["pasar inclusion proof"] = "pasar inclusion proof"
    event: Logged
    leaf: str
    size: int
    siblings: tuple[Sibling, ...]
    root: str
    signed: SignedRoot | None = None

    @property
    def folded(self) -> str:
        """The root that the leaf and its siblings make."""
        return self.siblings[-1].folded if self.siblings else self.leaf

    @property
    def holds(self) -> bool:
        """Whether that is the root, and the leaf is that of the event."""
        index, path = self.event.position - 1, [bytes.fromhex(one.hash) for one in self.siblings]
        leaf, root = merkle.leaf(self.event.stored), bytes.fromhex(self.root)
        return leaf.hex() == self.leaf and merkle.verify_inclusion(leaf, index, self.size, path, root)

    @classmethod
    def of(cls, view: View, position: int, signed: SignedRoot | None = None) -> Self:
        """The proof of an event: under the root that the market signed, or that of what is shown.

        Raises:
            NoSuchEvent: It has not happened.
        """
        stored, size = view.event(position), view.position if signed is None else signed.size
        return cls(
            event=logged(stored),
            leaf=merkle.leaf(stored).hex(),
            size=size,
            siblings=_siblings(stored, size, view.inclusion(position, size)),
            root=view.root(size).hex(),
            signed=signed,
        )

    def file(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


def _siblings(stored: Stored, size: int, path: Sequence[bytes]) -> tuple[Sibling, ...]:
    """The path with its sides (RFC 9162, 2.1.3.2)."""
    place, last, node = stored.position - 1, size - 1, merkle.leaf(stored)
    found: list[Sibling] = []
    for sibling in path:
        left = bool(place & 1) or place == last
        node = merkle.hash_node(sibling, node) if left else merkle.hash_node(node, sibling)
        found.append(Sibling("left" if left else "right", sibling.hex(), node.hex()))
        while left and place and not place & 1:
            place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    return tuple(found)
