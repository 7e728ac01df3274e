"""A receipt's checks one by one, for who wants to see more than that it holds."""

from collections.abc import Collection
from typing import Final

from msgspec import Struct

from services.receipt.form import ReceiptBroken
from services.receipt.verify import Verified, verify

#: In the order in which ``verify`` makes them.
CHECKS: Final = {
    "form": "it is a receipt",
    "canonical": "it is written in the one way that there is, so that every byte counts",
    "key": "it is of the market that was asked for",
    "signature": "the market signed the root",
    "order": "its events follow each other, without a gap in their streams",
    "inclusion": "every event is in the log under that root, byte by byte",
    "events": "every event can be read and stands where its fields say",
    "story": "what the audit asks of a whole log holds on these events",
    "money": "what was reserved is what was earned, charged and freed",
    "payment": "each payout's transaction pays each worker the share that it had earned, where that wants it",
    "anchor": "the transaction's OP_RETURN commits to these shares, and to a log that the signed one begins with",
    "block": "the transaction is in the block whose header is given, and that took work; the best chain a node knows",
    "claims": "what it says at the top is what its events say",
    "results": "the results that it keeps are those that the workers committed to",
}


class Check(Struct, frozen=True):
    """Attributes:
    passed: Absent if it was not come to. what: What fails.
    """

    name: str
    means: str
    passed: bool | None
    what: str = ""


#: Those that are made where a payout paid for the job.
_OF_PAYOUTS: Final = frozenset({"payment", "anchor", "block"})


def check(
    file: bytes, *, market: str | None, blocks: Collection[str] | None = None
) -> tuple[Verified | None, list[Check]]:
    """What the receipt proves, if it holds, and every check by name.

    Args:
        market: The key that must have signed; absent: the receipt's own word is taken, and that check is not made.
        blocks: See ``verify``.
    """
    verified, failed, what = None, "", ""
    try:
        verified = verify(file, market=market, blocks=blocks)
    except ReceiptBroken as broken:
        failed, what = broken.check, str(broken.facts["what"])
    names = list(CHECKS)
    reached = names.index(failed) if failed else len(names)
    found = [
        Check(name, CHECKS[name], None if place > reached else place < reached, what if place == reached else "")
        for place, name in enumerate(names)
    ]
    left_out = {"key"} if market is None else set()
    if verified is not None and not verified.claims.payouts:
        left_out |= _OF_PAYOUTS
    return verified, [one for one in found if one.name not in left_out]
