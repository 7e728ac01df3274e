"""Results on their way out.

Small ones that are ready together share one blob, because a blob costs four round trips.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from domain.blobs import BlobRef, address_of, commit_to, digest_at, digest_of, equality_tag, result_commitment
from domain.task import CommitResult, SubmitResult
from services.aside import aside
from services.ports import Blobs

#: Time from one blob's start to the next one's: what is ready meanwhile shares it. The first of a while goes at once.
PACE_S = 0.01
#: Results share a blob up to this size, in bytes: who wants one of them fetches all. A larger one is a blob alone.
SHARE_BYTES_MAX = 4 << 20


class Bound(NamedTuple):
    """A result that the worker is about to commit to.

    Attributes:
        submission: What will open the commitment.
        stored: The blob that holds the result.
    """

    submission: SubmitResult
    stored: bytes


class Result(NamedTuple):
    job: str
    task: int
    data: bytes


def commitment(worker: str, shown: SubmitResult) -> CommitResult:
    """What ``shown`` will open."""
    digest = result_commitment(worker, shown.job, shown.task, shown.nonce, shown.result, shown.equality)
    return CommitResult(shown.job, shown.task, digest)


def bind(results: Sequence[Result]) -> list[Bound]:
    """Put results into blobs and prepare the openings of their commitments.

    Each with a salt and nonce of its own.
    """
    return [bound for shared in _shares(results) for bound in _bind(shared)]


def _shares(results: Sequence[Result]) -> Iterator[list[Result]]:
    """Results that share a blob: in order, as many as are small enough together."""
    share: list[Result] = []
    size = 0
    for result in results:
        if share and size + len(result.data) > SHARE_BYTES_MAX:
            yield share
            share, size = [], 0
        share.append(result)
        size += len(result.data)
    yield share


def _bind(results: Sequence[Result]) -> Iterator[Bound]:
    stored = b"".join(result.data for result in results)
    address, offset = address_of(stored), 0
    for job, task, data in results:
        salt, nonce = os.urandom(16).hex(), os.urandom(16).hex()
        digest = digest_of(data) if len(results) > 1 else digest_at(address)
        ref = BlobRef(address, offset, len(data), "plain", commit_to(digest, salt), salt)
        yield Bound(SubmitResult(job, task, nonce, ref, equality_tag(digest, job, task)), stored)
        offset += len(data)


def blobs_of(bound: Iterable[Bound]) -> list[bytes]:
    """The blobs that hold these results, each once."""
    return list({one.submission.result.address: one.stored for one in bound}.values())


async def bound(results: Sequence[Result]) -> list[Bound]:
    """As ``bind``, without holding up the event loop."""
    return await aside(sum(len(result.data) for result in results), bind, results)


class Packer:
    """Binds results and uploads them at once: for tasks where nobody competes, so nobody can copy."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._waiting: list[tuple[Sequence[Result], asyncio.Future[list[Bound]]]] = []
        self._upload: asyncio.Task[None] | None = None
        self._resting = False

    async def upload(self, results: Sequence[Result]) -> list[Bound]:
        """Bound results, in order, whose blobs are where everybody finds them; goes on when the wait is cancelled.

        Raises:
            Unavailable: They are not.
        """
        future: asyncio.Future[list[Bound]] = asyncio.get_running_loop().create_future()
        self._waiting.append((results, future))
        self._start()
        return await future

    def _start(self) -> None:
        busy = self._upload is not None and not self._upload.done()
        if not self._waiting or busy or self._resting:
            return
        loop = asyncio.get_running_loop()
        waiting, self._waiting = self._waiting, []
        self._upload = loop.create_task(self._put(waiting))
        self._upload.add_done_callback(lambda _: self._start())
        self._resting = True
        loop.call_later(PACE_S, self._rested)

    async def _put(self, waiting: Sequence[tuple[Sequence[Result], asyncio.Future[list[Bound]]]]) -> None:
        try:
            packed = await bound([result for results, _ in waiting for result in results])
            for stored in blobs_of(packed):
                await self._blobs.put(stored)
        except Exception as error:  # whoever waits gets it, whatever it is
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        at = 0
        for results, future in waiting:
            if not future.done():
                future.set_result(packed[at : at + len(results)])
            at += len(results)

    def _rested(self) -> None:
        self._resting = False
        self._start()
