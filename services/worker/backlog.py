"""What a worker has computed and not delivered: in memory up to a limit, and what may not be shown yet also on disk."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from domain.errors import Unavailable
from domain.task import SubmitResult
from services.aside import aside
from services.worker.packing import Bound

#: Bytes of results on their way to the market, above which no further one is taken from a sandbox.
UNDELIVERED_BYTES: Final = 256 << 20
#: Results that wait for their competitors: bytes in memory, bytes in all, and how many.
SEALED_BYTES_IN_MEMORY: Final = 64 << 20
SEALED_BYTES_MAX: Final = 8 << 30
SEALED_MAX: Final = 100_000

Key = tuple[str, int]


class Backlog:
    """Bytes of results that are not delivered yet. Whoever adds one waits for room before the next.

    So there is always one result more than fits, however large.
    """

    def __init__(self, bytes_max: int = UNDELIVERED_BYTES) -> None:
        self._bytes_max, self.bytes = bytes_max, 0
        self._eased = asyncio.Event()
        self._eased.set()

    @property
    def full(self) -> bool:
        return self.bytes > self._bytes_max

    def add(self, size: int) -> None:
        self.bytes += size
        if self.full:
            self._eased.clear()

    def drop(self, size: int) -> None:
        """So many bytes are delivered or given up."""
        self.bytes -= size
        if not self.full:
            self._eased.set()

    async def room(self) -> None:
        """Wait while it is full."""
        await self._eased.wait()


class Sealed:
    """Results that are bound and may not be shown before those of their competitors; the oldest go when it is full.

    A market that asks for one that went gets its task back.

    Args:
        directory: Of its own; emptied at first, because the openings are known to this process alone.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bytes_in_memory: int = SEALED_BYTES_IN_MEMORY,
        bytes_max: int = SEALED_BYTES_MAX,
        most: int = SEALED_MAX,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory, self._in_memory, self._bytes_max, self._most = directory, bytes_in_memory, bytes_max, most
        self._shown: dict[Key, SubmitResult] = {}
        self._uses: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}
        self._memory: dict[str, bytes] = {}
        self._bytes = self.bytes_in_memory = 0
        for left in directory.iterdir():
            left.unlink()

    def __len__(self) -> int:
        return len(self._shown)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._shown)

    def get(self, key: Key) -> SubmitResult | None:
        return self._shown.get(key)

    async def keep(self, bound: Sequence[Bound]) -> list[SubmitResult]:
        """What opens these results, or those of the same tasks that were kept before.

        Raises:
            Unavailable: The disk does not take them; ``forget`` them.
        """
        for one in bound:
            key, address = (one.submission.job, one.submission.task), one.submission.result.address
            if key in self._shown:
                continue
            self._shown[key] = one.submission
            self._uses[address] += 1
            if address not in self._sizes:
                await self._store(address, one.stored)
        return [self._shown.get((one.submission.job, one.submission.task), one.submission) for one in bound]

    async def _store(self, address: str, stored: bytes) -> None:
        self._sizes[address] = len(stored)
        self._bytes += len(stored)
        if self.bytes_in_memory + len(stored) <= self._in_memory:
            self._memory[address] = stored
            self.bytes_in_memory += len(stored)
            return
        file = self._directory / address
        try:
            await aside(len(stored), file.write_bytes, stored)
        except OSError as error:
            raise Unavailable(reason=f"results cannot be kept in {self._directory}: {error.strerror}") from error
        if address not in self._sizes:  # forgotten meanwhile
            file.unlink(missing_ok=True)

    async def open(self, address: str) -> bytes:
        """The blob that holds results which are kept.

        Raises:
            Unavailable: They are gone.
        """
        held = self._memory.get(address)
        if held is not None:
            return held
        try:
            return await aside(self._sizes.get(address, 0), (self._directory / address).read_bytes)
        except OSError as error:
            raise Unavailable(reason=f"a result in {self._directory} cannot be read: {error.strerror}") from error

    def shrink(self) -> list[Key]:
        """Let the oldest go until it is not too full, and say which went."""
        gone: list[Key] = []
        while len(self._shown) > 1 and (len(self._shown) > self._most or self._bytes > self._bytes_max):
            gone.append(next(iter(self._shown)))
            self.forget(gone[-1:])
        return gone

    def forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            submission = self._shown.pop(key, None)
            if submission is None:
                continue
            address = submission.result.address
            self._uses[address] -= 1
            if not self._uses[address]:
                del self._uses[address]
                size = self._sizes.pop(address)
                self._bytes -= size
                if self._memory.pop(address, None) is None:
                    (self._directory / address).unlink(missing_ok=True)
                else:
                    self.bytes_in_memory -= size

    def clear(self) -> None:
        self.forget(list(self._shown))
