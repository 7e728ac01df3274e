"""What a worker asks of a sandbox, and what came of it, task by task."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from msgspec import Struct

from domain.events import FailureReason
from services.worker import frames
from services.worker.child import Child, Lost
from services.worker.confine import COMPILER_MB
from services.worker.frames import Began, Broke, Done, Need, Refusal


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


class Batch:
    """Tasks that one sandbox is asked to run; ``left`` are those whose outcome is not known yet.

    Args:
        blobs: What the sandbox may ask for, by address.
        ends: Event-loop time at which a task's assignment ends; without an entry it never does.
        compile_s: Time to make the program ready.
    """

    def __init__(
        self,
        child: Child,
        blobs: Mapping[bytes, bytes],
        tasks: Sequence[int],
        limits: Limits,
        ends: Mapping[int, float],
        compile_s: float,
    ) -> None:
        self.left = deque(tasks)
        self.ended = False
        self._tasks = tasks
        self._child = child
        self._blobs = blobs
        self._limits = limits
        self._ends = ends
        self._compile_s = compile_s
        self._answered = False
        self._began = False
        self._fresh = not child.uses
        child.uses += 1

    async def outcomes(self) -> list[Outcome]:
        """The next outcomes; none while the program is made ready.

        Raises:
            Lost: The sandbox is.
        """
        memory_mb = self._limits.memory_mb + COMPILER_MB
        outcomes: list[Outcome] = []
        for answer in await self._child.receive(self._wait_s(), memory_mb):
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

    def _wait_s(self) -> float:
        """How long the next answer may take: making ready ends with the last assignment, a task with its own."""
        now = asyncio.get_running_loop().time()
        if self._began:
            return min(self._limits.wall_s, self._ends.get(self.left[0], float("inf")) - now)
        last = max(self._ends.get(task, float("inf")) for task in self.left)
        return min(self._compile_s, last - now)

    def _take(self, task: int) -> None:
        if not self.left or self.left[0] != task:
            raise Lost("crash", "the sandbox answered out of turn")
        self.left.popleft()

    def _fail_all(self, reason: FailureReason, detail: str) -> list[Outcome]:
        failed: list[Outcome] = [Failure(task, reason, detail) for task in self.left]
        self.left.clear()
        return failed
