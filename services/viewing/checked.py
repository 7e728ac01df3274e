"""A receipt's checks one by one: which were passed and what each says, or the first that fails."""

from collections.abc import Callable
from typing import Final, NamedTuple

from services.client.words import count, short
from services.receipt.form import ReceiptBroken
from services.receipt.verify import Verified, verify


class Check(NamedTuple):
    """Attributes:
    passed: Absent where an earlier check failed, so that this one was not reached.
    """

    name: str
    says: str
    passed: bool | None = True


#: Every check in its order, and what it means that a receipt passes it.
_SAYS: Final[dict[str, Callable[[Verified], str]]] = {
    "form": lambda found: f"it is a receipt of {found.bytes:,} bytes",
    "canonical": lambda found: "it is written in the one way there is, so that every byte counts",
    "key": lambda found: f"it is of market {short(found.market)}",
    "signature": lambda found: f"that market signed the root {found.root[:16]}… over {count(found.size, 'event')}",
    "order": lambda found: f"its events stand at {found.first:,} to {found.last:,}, and no stream has a gap",
    "inclusion": lambda found: f"all {count(found.events, 'event')} are in that log, byte by byte",
    "events": lambda found: "every event can be read and stands where its fields say",
    "story": lambda found: (
        f"each of {count(found.claims.verified, 'verified result')} opens what its worker was bound to"
    ),
    "money": lambda found: "what was reserved is what was paid, charged and freed",
    "claims": lambda found: "what it says at the top is what its events say",
    "results": lambda found: (
        f"it keeps {count(found.contents, 'result')}, each as it was committed to"
        if found.contents
        else "it keeps no result itself"
    ),
}


def checked(file: bytes, *, market: str) -> list[Check]:
    """Verify a receipt.

    Args:
        market: The key that must have signed.
    """
    try:
        found = verify(file, market=market)
    except ReceiptBroken as broken:
        names = list(_SAYS)
        at = names.index(broken.check)
        passed = [Check(name, "passed") for name in names[:at]]
        return [*passed, Check(broken.check, str(broken.facts["what"]), False), *_unreached(names[at + 1 :])]
    return [Check(name, says(found)) for name, says in _SAYS.items()]


def _unreached(names: list[str]) -> list[Check]:
    return [Check(name, "not reached", None) for name in names]
