"""What the arbiter said of each payout, once and for all: written and fsynced before anybody hears it.

Whoever asks may show it another log, or the same again after a restart. It signs no second transaction of a payout, no
payout that it contested, and none on a log in which the beginning that it signed before is another.
"""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from domain.events import Objection
from domain.ids import Count, Digest, Epoch, Txid
from services import private

#: Payouts that are remembered one by one; of those before them none is signed.
KEPT: Final = 1_000


class Verdict(Struct, frozen=True):
    """Attributes:
    size, root: Of the log that the payout binds.
    txids: Of its rungs, where they were signed. objection: Why they were not.
    """

    epoch: Epoch
    size: Count
    root: Digest
    txids: tuple[Txid, ...] = ()
    objection: Objection | None = None


class Verdicts:
    """The arbiter's memory, in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = msgspec.json.decode(private.read(path), type=list[Verdict]) if path.exists() else []
        self._kept = {one.epoch: one for one in kept}

    def roots(self) -> dict[int, str]:
        """By size: the roots of the logs that were signed."""
        return {one.size: one.root for one in self._kept.values() if one.objection is None}

    def say(self, found: Verdict) -> Objection | None:
        """Keep a verdict; where the payout had one before, that one stands.

        Returns:
            Why the payout is not signed; absent if it is.
        """
        known = self._kept.get(found.epoch)
        if known is not None:
            same = (known.txids, known.size, known.root) == (found.txids, found.size, found.root)
            return known.objection or (None if same else found.objection or "plan")
        if self._kept and found.epoch < max(self._kept):
            return found.objection or "plan"
        newest = [*self._kept.values(), found][-KEPT:]
        private.replace(self._path, msgspec.json.encode(newest))
        self._kept = {one.epoch: one for one in newest}
        return found.objection
