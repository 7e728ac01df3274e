"""Keeper: the market holds the programs and inputs of open jobs, so that a broker that lost them gets them back."""

import asyncio
from collections.abc import Iterable

import structlog

from domain.blobs import BlobRef
from domain.errors import BlobMissing
from domain.events import JobPosted
from services.ports import Blobs

WAITING_MAX = 10_000

log = structlog.get_logger()


class Keeper:
    """Fetches what jobs name; fetching is holding."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._waiting: asyncio.Queue[str] = asyncio.Queue(maxsize=WAITING_MAX)
        self.missed = 0

    def keep(self, terms: JobPosted) -> None:
        """Hold this job's content from now on."""
        for ref in _refs(terms):
            if self._waiting.full():
                log.warning("too many blobs to hold", job=terms.job)
                return
            self._waiting.put_nowait(ref.address)

    async def run(self) -> None:
        """Fetch for ever."""
        while True:
            address = await self._waiting.get()
            try:
                await self._blobs.get(address)
            except BlobMissing:
                self.missed += 1
                log.warning("a job's content is nowhere to be found", address=address)


def _refs(terms: JobPosted) -> Iterable[BlobRef]:
    return (ref for ref in (terms.program, terms.shared, terms.mapped) if ref is not None)
