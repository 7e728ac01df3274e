"""What one payout pays each worker of a job, and the proof that the payout commits to it.

The proof is the payout's tree of shares itself (RFC 6962), in which every subtree without a share of the job is cut
down to its hash. So it needs neither the tree's size nor a place in it, which no hash would hold fast.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, NamedTuple, TypeAlias

from msgspec import Meta, Struct

from domain import payout
from domain.events import PayoutAllotted
from domain.ids import PartyKey
from domain.merkle import hash_node
from domain.money import PositiveMsat

#: A Merkle node, in base64.
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
#: More levels than any payout's shares have.
DEPTH_MAX: Final = 40


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is paid of what it earned with the job."""

    worker: PartyKey
    amount_msat: PositiveMsat


class Fork(NamedTuple):
    """Two subtrees, at least one of which holds a share of the job."""

    left: "Hash | Share | Fork"
    right: "Hash | Share | Fork"


Shares: TypeAlias = Share | Fork
Part: TypeAlias = bytes | Share | Fork


def cut(allotted: Iterable[PayoutAllotted], job: str) -> Shares:
    """The tree of a payout's shares, cut down to those of a job.

    Raises:
        ValueError: It has none.
    """
    row: list[tuple[bytes, Part]] = [
        (leaf, Share(worker, amount_msat) if paid_for == job else leaf)
        for (paid_for, worker, amount_msat), leaf in payout.share_leaves(allotted)
    ]
    while len(row) > 1:
        pairs = [_joined(*row[place : place + 2]) for place in range(0, len(row) - 1, 2)]
        row = pairs + row[2 * len(pairs) :]
    if not row or isinstance(row[0][1], bytes):
        raise ValueError(f"the payout pays nobody for job {job}")
    return row[0][1]


def _joined(left: tuple[bytes, Part], right: tuple[bytes, Part]) -> tuple[bytes, Part]:
    node = hash_node(left[0], right[0])
    if isinstance(left[1], bytes) and isinstance(right[1], bytes):
        return node, node
    return node, Fork(left[1], right[1])


def root(tree: Part, job: str, *, depth: int = DEPTH_MAX) -> bytes:
    """Root of the whole tree that was cut.

    Raises:
        ValueError: It is deeper than any.
    """
    match tree:
        case Share():
            return payout.share_leaf(job, tree.worker, tree.amount_msat)
        case Fork():
            if not depth:
                raise ValueError("the tree of shares is deeper than any payout's")
            return hash_node(root(tree.left, job, depth=depth - 1), root(tree.right, job, depth=depth - 1))
    return tree


def listed(tree: Part, *, depth: int = DEPTH_MAX) -> Iterator[Share]:
    """The shares in their order; none that stands deeper than ``root`` goes."""
    match tree:
        case Share():
            yield tree
        case Fork() if depth:
            yield from listed(tree.left, depth=depth - 1)
            yield from listed(tree.right, depth=depth - 1)
