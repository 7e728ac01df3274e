"""Warm sandboxes: some that serve, and one that stands by to take the place of the next that is lost."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from domain.errors import Corrupt
from services.worker.child import Child, Lost


class Pool:
    """Owns every sandbox of one executor.

    Args:
        directory: Holds the sandboxes' own directories; what a killed worker left in it is removed.
        start: Starts a sandbox, which warms up by itself.
        size: Sandboxes that serve, each one batch at a time.
    """

    def __init__(self, directory: Path, start: Callable[[], Child], *, size: int) -> None:
        self._directory, self._start = directory, start
        self._seats = [Seat(self) for _ in range(size)]
        self._idle = list(self._seats)
        self._free = asyncio.Semaphore(size)
        self._keeps_spare = False
        self._spare: Child | None = None
        self._held: int | None = None

    def open(self) -> None:
        """Clear up, and start the sandboxes that serve."""
        self._held = _hold(self._directory)
        for seat in self._seats:
            seat.child = self._start()

    async def close(self) -> None:
        """End them all."""
        children = [seat.child for seat in self._seats] + [self._spare]
        self._spare = None
        for seat in self._seats:
            seat.child = None
        try:
            await _bury(*(child for child in children if child is not None))
        finally:
            if self._held is not None:
                os.close(self._held)

    @property
    def children(self) -> list[Child]:
        """Those that serve."""
        return [seat.child for seat in self._seats if seat.child is not None]

    @property
    def spare(self) -> Child | None:
        return self._spare

    @asynccontextmanager
    async def seat(self, program: bytes = b"") -> AsyncIterator["Seat"]:
        """A place of one's own to run a batch; waits for one. Prefers the sandbox that ran this program last."""
        async with self._free:
            seat = next((seat for seat in self._idle if seat.program == program), self._idle[-1])
            self._idle.remove(seat)
            seat.program = program
            try:
                yield seat
            finally:
                self._idle.append(seat)

    async def warm(self) -> None:
        """Wait until all that serve can run programs.

        Raises:
            Corrupt: They do not start on this machine.
        """
        for _ in range(len(self._seats)):
            async with self._free:
                seat = self._idle.pop(0)
                try:
                    await seat.ready()
                finally:
                    self._idle.append(seat)

    def stand_by(self) -> None:
        """Keep a spare from now on; it warms up by itself."""
        self._keeps_spare = True
        if self._spare is None:
            self._spare = self._start()

    async def replacement(self) -> Child:
        """The spare if it lives, else a new one."""
        spare, self._spare = self._spare, None
        if spare is not None and not spare.alive:
            await _bury(spare)
            spare = None
        child = spare or self._start()
        if self._keeps_spare:
            self.stand_by()
        return child


class Seat:
    """Where one sandbox serves, and another after it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.child: Child | None = None
        self.program = b""

    async def ready(self) -> Child:
        """Its sandbox, alive and warm.

        Raises:
            Corrupt: It does not start on this machine.
        """
        if self.child is not None and not self.child.alive:
            await self.end()
        if self.child is None:
            self.child = await self._pool.replacement()
        try:
            await self.child.ready()
        except Lost as lost:
            await self.end()
            raise Corrupt(f"the sandbox does not start: {lost.detail}") from lost
        except BaseException:
            await self.end()
            raise
        return self.child

    async def end(self) -> None:
        """End its sandbox, if it has one."""
        if self.child is not None:
            child, self.child = self.child, None
            await _bury(child)


async def _bury(*children: Child) -> None:
    for child in children:
        child.kill()
    for child in children:
        await child.bury()


def _hold(directory: Path) -> int:
    """Mark ``directory`` as in use until this process ends in whatever way; if nobody else uses it, clear it first."""
    held = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        for left in directory.glob(f"{Child.PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
    fcntl.flock(held, fcntl.LOCK_SH)
    return held
