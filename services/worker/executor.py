"""Runs strangers' programs in a separate, limited process that stays warm between batches.

A result is the packed arrays that the program returned. What goes wrong is a ``Failure`` of the task, never an
exception: the process is ended, another one started, and the rest of the batch goes on.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, overload

import psutil
from msgspec import Struct

from domain.errors import Corrupt
from domain.events import FailureReason, Platform
from services.worker import frames
from services.worker.child import Child, Lost
from services.worker.confine import COMPILER_MB
from services.worker.frames import Began, Broke, Done, Need, Refusal

#: Time to load, compile and fetch the inputs of a program, in seconds; no task's time.
COMPILE_S: Final = 60.0


class Limits(Struct, frozen=True):
    """What one task may use.

    Attributes:
        wall_s: Seconds from the task before it to its result.
        memory_mb: Memory above that of the idle sandbox and the ``COMPILER_MB`` that compiling may take.
    """

    wall_s: float = 60.0
    memory_mb: int = 1024


class Success(Struct, frozen=True):
    """``result`` is ``arrays.pack`` of the outputs, computed in ``seconds``."""

    task: int
    result: bytes
    seconds: float


class Failure(Struct, frozen=True):
    """``detail`` is for this machine's log only: it may quote the program or its data."""

    task: int
    reason: FailureReason
    detail: str


Outcome = Success | Failure


class Executor:
    """Owns one sandbox; one batch runs at a time, others wait.

    Args:
        directory: Where the sandbox gets its own temporary directory.
        limits: For batches that bring none.
        threads: Threads that a program computes with; absent for one a core.
        compile_s: Time to make a program ready.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits | None = None,
        *,
        platform: Platform = "cpu",
        threads: int | None = 1,
        compile_s: float = COMPILE_S,
    ) -> None:
        self._directory = directory
        self._limits = limits or Limits()
        self._platform = platform
        self._threads = threads
        self._compile_s = compile_s
        self._child: Child | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._child = self._start()  # it warms up while the caller looks for work
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def applied(self) -> Mapping[str, bool]:
        """Which limits the system granted to the sandbox; empty until it is warm."""
        return self._child.applied if self._child else {}

    @property
    def pid(self) -> int | None:
        """Process id of the sandbox, if there is one."""
        return self._child.pid if self._child else None

    async def warm(self) -> None:
        """Wait until the sandbox can run programs.

        Raises:
            Corrupt: It does not start on this machine.
        """
        async with self._lock:
            await self._ready()

    async def export(self, kernel: str) -> bytes:
        """Let the sandbox export a probe program, so that this process needs no jax.

        Raises:
            Corrupt: There is no such probe, or no sandbox.
        """
        async with self._lock:
            child = await self._ready()
            try:
                await child.send(frames.Export(kernel))
                (answer,) = await child.receive(self._compile_s)
            except BaseException:
                await self._end()
                raise
            if not isinstance(answer, frames.Exported):
                raise Corrupt(f"the sandbox cannot export {kernel}: {answer}")
            return answer.program

    async def run(
        self,
        program: bytes,
        shared: bytes | None,
        mapped: bytes | None,
        tasks: Sequence[int],
        limits: Limits | None = None,
    ) -> AsyncIterator[Outcome]:
        """Run ``program`` on each of ``tasks``, and yield their outcomes in order, each as it is known.

        A result of less than ``serving.HOLD_S`` of work may wait for the task after it.
        Leaving the iterator early, or being cancelled, ends the sandbox in the middle of its task.

        Args:
            shared: Packed arrays for every task.
            mapped: Packed arrays whose leading axis is the task index.
            limits: For each task; those of the executor if absent.
        Raises:
            Corrupt: The sandbox does not start on this machine.
        """
        bounds = limits or self._limits
        blobs = {_address(blob): blob for blob in (program, shared, mapped) if blob is not None}
        left, doomed = deque(tasks), dict[int, Failure]()
        async with self._lock:
            while left:
                if left[0] in doomed:
                    yield doomed[left.popleft()]
                    continue
                child = await self._ready()
                part = tuple(left)[: next((at for at, task in enumerate(left) if task in doomed), len(left))]
                batch = _Batch(child, blobs, part, bounds, self._compile_s)
                try:
                    await child.send(_request(program, shared, mapped, part, bounds, self._compile_s, self._threads))
                    while batch.left:
                        for outcome in await batch.outcomes():
                            left.popleft()
                            yield outcome
                except Lost as lost:
                    doomed |= batch.lost(lost)
                finally:
                    if not batch.ended:
                        await self._end()

    def _start(self) -> Child:
        return Child(self._directory, self._platform, self._threads)

    async def _ready(self) -> Child:
        if self._child is not None and not self._child.alive:
            await self._end()
        if self._child is None:
            self._child = self._start()
        try:
            await self._child.ready()
        except Lost as lost:
            await self._end()
            raise Corrupt(f"the sandbox does not start: {lost.detail}") from lost
        except BaseException:
            await self._end()
            raise
        return self._child

    async def _end(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()
            await child.bury()


class _Batch:
    """Tasks that one sandbox is asked to run; ``left`` are those whose outcome is not known yet."""

    def __init__(
        self, child: Child, blobs: Mapping[bytes, bytes], tasks: Sequence[int], limits: Limits, compile_s: float
    ) -> None:
        self.left = deque(tasks)
        self.ended = False
        self._tasks = tasks
        self._child = child
        self._blobs = blobs
        self._limits = limits
        self._compile_s = compile_s
        self._answered = False
        self._began = False
        self._fresh = not child.used
        child.used = True

    async def outcomes(self) -> list[Outcome]:
        """The next outcomes; none while the program is made ready.

        Raises:
            Lost: The sandbox is.
        """
        wait_s = self._limits.wall_s if self._began else self._compile_s
        memory_mb = self._limits.memory_mb + COMPILER_MB
        outcomes: list[Outcome] = []
        for answer in await self._child.receive(wait_s, memory_mb):
            self._answered = True
            match answer:
                case Done() if self._began:
                    self._take(answer.task)
                    outcomes.append(Success(answer.task, answer.result, answer.seconds))
                case Broke() if self._began:
                    self._take(answer.task)
                    outcomes.append(Failure(answer.task, answer.reason, answer.detail))
                case Began():
                    self._began = True
                case Need() if self._blobs.keys() >= set(answer.addresses):
                    loads = [frames.Load(address, self._blobs[address]) for address in answer.addresses]
                    await self._child.send(*loads)
                case Refusal():
                    outcomes += self._fail_all(answer.reason, answer.detail)
                case _:
                    raise Lost("crash", f"the sandbox answered out of turn: {type(answer).__name__}")
        self.ended = not self.left
        return outcomes

    def lost(self, lost: Lost) -> dict[int, Failure]:
        """What the loss of the sandbox means: one task failed or, before the first one began, all of them.

        Tasks before the failed one whose results were still under way are not named: they run again.
        """
        if self._began:
            number = self._child.progress()
            task = self._tasks[number] if number < len(self._tasks) else self.left[0]
            blamed = [task if task in self.left else self.left[0]]
        elif lost.reason == "crash" and not self._answered and not self._fresh:
            blamed = []  # it died between two batches, which is not this one's doing
        else:
            blamed = list(self.left)
        return {task: Failure(task, lost.reason, lost.detail) for task in blamed}

    def _take(self, task: int) -> None:
        if not self.left or self.left[0] != task:
            raise Lost("crash", "the sandbox answered out of turn")
        self.left.popleft()

    def _fail_all(self, reason: FailureReason, detail: str) -> list[Outcome]:
        failed: list[Outcome] = [Failure(task, reason, detail) for task in self.left]
        self.left.clear()
        return failed


@overload
def _address(blob: bytes) -> bytes: ...
@overload
def _address(blob: bytes | None) -> bytes | None: ...
def _address(blob: bytes | None) -> bytes | None:
    return None if blob is None else hashlib.sha256(blob).digest()


def _request(
    program: bytes,
    shared: bytes | None,
    mapped: bytes | None,
    tasks: Sequence[int],
    limits: Limits,
    compile_s: float,
    threads: int | None,
) -> frames.Run:
    cores = threads or psutil.cpu_count() or 1
    cpu_s = int((compile_s + limits.wall_s * len(tasks)) * cores) + 1
    return frames.Run(_address(program), _address(shared), _address(mapped), tuple(tasks), limits.memory_mb, cpu_s)
