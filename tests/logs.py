"""Files of logs, as ``pasar log save`` writes them."""

from collections.abc import Sequence

from services.ports import Stored
from services.viewing.archive import Zip


def zipped(*pages: Sequence[Stored]) -> bytes:
    """The file of these events."""
    zip_ = Zip()
    return b"".join(map(zip_.page, pages)) + zip_.end()
