"""Runs strangers' programs in separate, limited processes that stay warm between batches.

A result is the packed arrays that the program returned. What goes wrong is a ``Failure`` of the task, never an
exception: the process is ended, a spare takes its place, and the rest of the batch goes on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from domain.blobs import digest_of
from domain.errors import Corrupt
from domain.events import FailureReason, Platform
from services.aside import aside
from services.programs.verdict import Inadmissible, Inspection
from services.worker import frames
from services.worker.batch import Batch, Failure, Limits, Outcome, Success
from services.worker.child import Child, Lost
from services.worker.confine import COMPILER_MB
from services.worker.inspection import Fault, faulty
from services.worker.pool import Pool

__all__ = ["Executor", "Failure", "Limits", "Outcome", "Success"]

#: Time to load, compile and fetch the inputs of a program, in seconds; no task's time.
COMPILE_S: Final = 60.0
#: Time to read a program and count its work, in seconds.
INSPECT_S: Final = 20.0
#: Memory to do so, above that of the idle sandbox.
INSPECT_MB: Final = 1024

#: What a program, shared and mapped inputs are called.
Names = tuple[bytes | None, ...]


class Executor:
    """Owns a pool of sandboxes; each runs one batch at a time, others wait.

    Args:
        directory: Where the sandboxes get their own temporary directories.
        limits: For batches that bring none.
        threads: Threads that a program computes with; absent for one a core.
        compile_s: Time to make a program ready.
        inspect_s: Time to inspect one.
        size: Sandboxes that serve.
        inspections: After so many a sandbox is replaced, so that what a program may have done to it ends there; absent
            for never.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits | None = None,
        *,
        platform: Platform = "cpu",
        threads: int | None = 1,
        compile_s: float = COMPILE_S,
        inspect_s: float = INSPECT_S,
        size: int = 1,
        inspections: int | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._threads = threads
        self._compile_s = compile_s
        self._inspect_s = inspect_s
        self.size = size
        self._inspections = inspections
        self._pool = Pool(directory, partial(Child, directory, platform, threads), size=size)

    async def __aenter__(self) -> Self:
        self._pool.open()  # they warm up while the caller looks for work
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    @property
    def applied(self) -> Mapping[str, bool]:
        """Which limits the system granted to the sandboxes; empty until one is warm."""
        return next((child.applied for child in self._pool.children if child.applied), {})

    @property
    def pid(self) -> int | None:
        """Process id of the first sandbox that serves, if there is one."""
        return next((child.pid for child in self._pool.children), None)

    @property
    def spare_pid(self) -> int | None:
        """Process id of the sandbox that stands by, if there is one."""
        return self._pool.spare.pid if self._pool.spare else None

    async def warm(self) -> None:
        """Wait until the sandboxes can run programs.

        Raises:
            Corrupt: They do not start on this machine.
        """
        await self._pool.warm()

    def stand_by(self) -> None:
        """Keep one more sandbox warm from now on, so that the next loss costs no start of jax.

        It takes as much memory as one that serves, and two seconds of a processor at each start: not while measuring.
        """
        self._pool.stand_by()

    async def export(self, kernel: str) -> bytes:
        """Let the sandbox export a probe program, so that this process needs no jax.

        Raises:
            Corrupt: There is no such probe, or no sandbox.
        """
        async with self._pool.seat() as seat:
            child = await seat.ready()
            try:
                await child.send(frames.Export(kernel))
                (answer,) = await child.receive(self._compile_s)
            except BaseException:
                await seat.end()
                raise
            if not isinstance(answer, frames.Exported):
                raise Corrupt(f"the sandbox cannot export {kernel}: {answer}")
            return answer.program

    async def inspect(self, program: bytes) -> Inspection:
        """Whether ``program`` may run, and what one run of it takes, found in a sandbox and without compiling it.

        Raises:
            Inadmissible: It may not; also when looking takes too long (``timeout``), too much memory (``exhausted``) or
                ends the sandbox (``crash``).
            Corrupt: The sandbox does not start on this machine.
        """
        async with self._pool.seat() as seat:
            while True:
                child = await seat.ready()
                fresh = not child.uses
                child.uses += 1
                try:
                    answer = await self._inspect(child, program)
                except Lost as lost:
                    await seat.end()
                    if lost.reason == "crash" and not fresh:
                        continue  # an earlier program may have done it: this one is blamed for a process of its own
                    raise faulty(_fault(lost.reason)) from lost
                except BaseException:
                    await seat.end()
                    raise
                if self._inspections is not None:
                    self.stand_by()
                    if child.uses >= self._inspections:
                        await seat.end()
                if isinstance(answer, frames.Inspected):
                    return answer.inspection
                raise Inadmissible(answer.reason, answer.detail)

    async def _inspect(self, child: Child, program: bytes) -> frames.Inspected | frames.Rejection:
        deadline = asyncio.get_running_loop().time() + self._inspect_s
        cpu_s = int(self._inspect_s * (psutil.cpu_count() or 1)) + 1
        name = await _address(program)
        await child.send(frames.Inspect(name, INSPECT_MB, cpu_s), frames.Load(name, program))
        left_s = deadline - asyncio.get_running_loop().time()
        (answer,) = await child.receive(left_s, INSPECT_MB + COMPILER_MB)
        if not isinstance(answer, frames.Inspected | frames.Rejection):
            raise Lost("crash", f"the sandbox answered out of turn: {type(answer).__name__}")
        return answer

    async def run(
        self,
        program: bytes,
        shared: bytes | None,
        mapped: bytes | None,
        tasks: Sequence[int],
        limits: Limits | None = None,
        *,
        ends: Mapping[int, float] | None = None,
        names: Names | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Run ``program`` on each of ``tasks``, and yield their outcomes in order, each as it is known.

        A result of less than ``serving.HOLD_S`` of work may wait for the task after it.
        Leaving the iterator early, or being cancelled, ends the sandbox in the middle of its task.

        Args:
            shared: Packed arrays for every task.
            mapped: Packed arrays whose leading axis is the task index.
            limits: For each task; those of the executor if absent.
            ends: Event-loop time at which a task's assignment ends: it is not begun then, and not finished.
            names: What program and inputs are called, where the same bytes always have the same name; if absent they
                are named by their SHA-256, which takes a second for a gigabyte.
        Raises:
            Corrupt: The sandbox does not start on this machine.
        """
        bounds, ends = limits or self._limits, ends or {}
        inputs = (program, shared, mapped)
        called = names or tuple([None if blob is None else await _address(blob) for blob in inputs])
        blobs = {name: blob for name, blob in zip(called, inputs, strict=True) if name and blob is not None}
        left, doomed = deque(tasks), dict[int, Failure]()
        request = partial(_request, called, bounds, self._compile_s, self._threads)
        async with self._pool.seat(called[0] or b"") as seat:
            while left:
                doomed |= _expired(left, ends)
                if left[0] in doomed:
                    yield doomed[left.popleft()]
                    continue
                child = await seat.ready()
                part = tuple(left)[: next((at for at, task in enumerate(left) if task in doomed), len(left))]
                batch = Batch(child, blobs, part, bounds, ends, self._compile_s)
                try:
                    await child.send(request(part))
                    while batch.left:
                        for outcome in await batch.outcomes():
                            left.popleft()
                            yield outcome
                except Lost as lost:
                    doomed |= batch.lost(lost)
                finally:
                    if not batch.ended:
                        await seat.end()


def _expired(tasks: Sequence[int], ends: Mapping[int, float]) -> dict[int, Failure]:
    if not ends:
        return {}
    now = asyncio.get_running_loop().time()
    over = (task for task in tasks if ends.get(task, now + 1) <= now)
    return {task: Failure(task, "timeout", "its assignment ended before it began") for task in over}


def _fault(reason: FailureReason) -> Fault:
    match reason:
        case "timeout":
            return "timeout"
        case "memory":
            return "exhausted"
        case _:
            return "crash"


async def _address(blob: bytes) -> bytes:
    return await aside(len(blob), digest_of, blob)


def _request(names: Names, limits: Limits, compile_s: float, threads: int | None, tasks: tuple[int, ...]) -> frames.Run:
    program, shared, mapped = names
    assert program is not None, "there is no job without a program"
    cores = threads or psutil.cpu_count() or 1
    cpu_s = int((compile_s + limits.wall_s * len(tasks)) * cores) + 1
    return frames.Run(program, shared, mapped, tasks, limits.memory_mb, cpu_s)
