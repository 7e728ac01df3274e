"""Content of jobs for pages: what workers returned, fetched over one connection, bounded in bytes and in time.

Use with ``process.market().ask(...)``, and only where ``process.market().settings`` is there: a recorded market has no
store of blobs.
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar, Final

from domain.blobs import BlobRef
from domain.errors import BlobMissing, Corrupt, Refused
from services.arrays import Array, BadArrays, unpack
from services.bus.blobs import BucketBlobs, PlainOpener, Shelf
from services.bus.connect import connect
from services.config import Settings

#: What is read for one page, in bytes; how long it may take, in seconds; and what is kept of it.
BYTES_MAX: Final = 32 << 20
TIMEOUT_S: Final = 20.0
_SHELF_BYTES: Final = 256 << 20
#: Who fetches: a party of this machine without any right but to read.
PARTY: Final = "page"
_AT_ONCE: Final = 16
#: For how many viewers content is fetched at the same time; others wait, within the same time.
_VIEWERS: Final = asyncio.Semaphore(4)


class TooMuch(Refused):
    template: ClassVar[str] = (
        "{bytes:,} bytes are more than a page fetches ({bytes_max:,}); take them with "
        "`pasar receipt save JOB --results`"
    )


class NoContent(Refused):
    template: ClassVar[str] = (
        "nobody who holds {address} answers; the worker that returned it has to run, see `pasar status`"
    )


class Late(Refused):
    template: ClassVar[str] = "the content did not arrive within {seconds:.0f} s; see `pasar status`, and try again"


class OtherContent(Refused):
    template: ClassVar[str] = "what the store holds is not what was verified: {reason}; do not use it"


class NotArrays(Refused):
    template: ClassVar[str] = "what the worker returned for task {task} cannot be shown: {reason}"


async def fetch(settings: Settings, refs: Mapping[int, BlobRef]) -> dict[int, bytes]:
    """The plaintext of these references, each checked against the commitment to it.

    Raises:
        TooMuch, NoContent, Late, OtherContent: It cannot be had here, and why.
        Unavailable: The broker does not answer.
    """
    size = sum(ref.size for ref in refs.values())
    if size > BYTES_MAX:
        raise TooMuch(bytes=size, bytes_max=BYTES_MAX)
    try:
        async with asyncio.timeout(TIMEOUT_S), _VIEWERS, await connect(settings, "party", name=PARTY) as client:
            opener = PlainOpener(BucketBlobs(client, _shelf(settings.home / "clients" / PARTY / "blobs")))
            turn = asyncio.Semaphore(_AT_ONCE)

            async def one(task: int, ref: BlobRef) -> tuple[int, bytes]:
                async with turn:
                    return task, await opener.open(ref)

            return dict(await asyncio.gather(*(one(task, ref) for task, ref in refs.items())))
    except BlobMissing as missing:
        raise NoContent(address=missing.facts["address"]) from None
    except Corrupt as error:
        raise OtherContent(reason=error) from None
    except TimeoutError:
        raise Late(seconds=TIMEOUT_S) from None


async def arrays(settings: Settings, refs: Mapping[int, BlobRef]) -> dict[int, dict[str, Array]]:
    """The same, as named arrays.

    Raises:
        NotArrays: One is none.
    """
    found = {}
    for task, plain in (await fetch(settings, refs)).items():
        try:
            found[task] = unpack(plain)
        except BadArrays as error:
            raise NotArrays(task=task, reason=error) from None
    return found


@cache
def _shelf(folder: Path) -> Shelf:
    return Shelf(folder, _SHELF_BYTES)
