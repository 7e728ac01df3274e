"""What deposits were paid out of: a deposit that left the chain can come back until somebody spends that elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from domain.accounts import TIPS
from domain.bitcoin import OutPoint
from services import private

_Kept = dict[str, tuple[int, tuple[OutPoint, ...]]]


class Funding:
    """Deposits that a reorganisation may still reach, on disk: once one has left the chain, no node knows this."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: _Kept = msgspec.json.decode(path.read_bytes(), type=_Kept) if path.exists() else {}

    @property
    def known(self) -> Mapping[str, Sequence[OutPoint]]:
        """What each deposit spent that a reorganisation may still reach."""
        return {deposit: spent for deposit, (_, spent) in self._kept.items()}

    def put(self, found: Mapping[str, tuple[OutPoint, ...]], height: int) -> None:
        """Keep these, of the block at ``height``; before the market hears of them."""
        if found.items() <= self.known.items():
            return
        near = {deposit: kept for deposit, kept in self._kept.items() if kept[0] > height - TIPS}
        self._kept = near | {deposit: (height, spent) for deposit, spent in found.items()}
        private.replace(self._path, msgspec.json.encode(self._kept))
