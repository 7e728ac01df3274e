"""What was signed and may have been sent: written and fsynced before it leaves, so that the same is sent again."""

from pathlib import Path

import msgspec

from services import private


class Outbox:
    """Signed payouts on disk, one file each: its rungs' transactions by id, cheapest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[int, dict[str, bytes]] = {}

    def get(self, epoch: int) -> dict[str, bytes] | None:
        """The rungs of a payout, if it was signed."""
        if epoch not in self._kept:
            path = self._path(epoch)
            if not path.exists():
                return None
            read = msgspec.json.decode(path.read_bytes(), type=dict[str, bytes])
            self._kept = {epoch: read}
        return self._kept[epoch]

    def put(self, epoch: int, rungs: dict[str, bytes]) -> None:
        """Keep the rungs of a payout."""
        private.replace(self._path(epoch), msgspec.json.encode(rungs))
        self._kept = {epoch: rungs}

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch:08d}.json"
