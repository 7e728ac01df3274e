"""One child process of the supervisor: started through ``child.py``, heard when it is ready, stopped in time."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

from msgspec import Struct

from domain.errors import Refused
from services.stack.ready import READY_FD

POLL_S: Final = 0.02
LOG_BYTES_MAX: Final = 10_000_000
_CHILD: Final = Path(__file__).with_name("child.py")
_GUARD: Final = Path(__file__).with_name("guard.py")

#: Answers whether the process with this pid serves already.
Probe = Callable[[int], Awaitable[bool]]
#: The stage of what needs the market: it starts together, when that is ready.
AROUND: Final = "around"
#: Signals to send in turn, each with the seconds to wait for its effect.
Ladder = tuple[tuple[int, float], ...]

TERM_THEN_KILL: Final[Ladder] = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0))


class NotReady(Refused):
    template: ClassVar[str] = "{name} did not start: {reason}; its log is {log} and ends with:\n{tail}"


class Service(Struct, frozen=True, kw_only=True):
    """A program that the supervisor keeps running.

    Attributes:
        argv: Absolute program first.
        ready: Asked until it says yes; where absent the program calls ``announce_ready`` itself.
        prepare: Runs before each start; whatever it raises ends the stack.
        environment: Added to the few variables that every child gets.
        secrets: Names of the settings' secrets that it gets.
        user: Account to run under when the supervisor is root.
        log: File that takes what it prints.
        pass_fds: Descriptors it inherits; the stack closes them at its end.
        death_signal: Sent by the kernel should the supervisor die.
        restart: Start it again when it ends.
        stage: Neighbours of the same stage start together; without one a service starts alone.
        url: Where people find it, if they do.
    """

    name: str
    argv: tuple[str, ...]
    ready: Probe | None = None
    prepare: Callable[[], Awaitable[None]] | None = None
    environment: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()
    user: str = ""
    log: Path | None = None
    pass_fds: tuple[int, ...] = ()
    stop: Ladder = TERM_THEN_KILL
    death_signal: int = signal.SIGKILL
    ready_s: float = 30.0
    restart: bool = True
    stage: str = ""
    url: str = ""


def wrapped(argv: Sequence[str], *, user: str = "", death_signal: int = signal.SIGKILL) -> list[str]:
    """``argv`` as a child that dies with this process."""
    return [sys.executable, "-I", "-S", str(_CHILD), str(int(death_signal)), str(os.getpid()), user, *argv]


def minimal_environment() -> dict[str, str]:
    """What a child needs to run at all; anything else it is told by name."""
    kept = (
        "PATH",
        "HOME",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "CUDA_VISIBLE_DEVICES",
        "JAX_PLATFORMS",
    )
    return {"LC_ALL": "C.UTF-8"} | {name: os.environ[name] for name in kept if name in os.environ}


class Child:
    """A started ``Service``."""

    def __init__(self, service: Service, process: Process, announced: "asyncio.Future[None]", log: Path) -> None:
        self.service = service
        self.log = log
        self._process = process
        self._announced = announced
        self._ended = asyncio.ensure_future(process.wait())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._ended.done()

    async def wait(self) -> int:
        """Until it ends, and whatever it left in its process group with it; its exit status, negative for a signal."""
        code = await asyncio.shield(self._ended)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return code

    async def until_ready(self) -> None:
        """Until it serves.

        Raises:
            NotReady: It ended first, or took longer than ``ready_s``.
        """
        answer = asyncio.ensure_future(self._serves())
        try:
            await asyncio.wait((answer, self._ended), timeout=self.service.ready_s, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                raise self._not_ready(f"it ended with status {self._ended.result()}")
            if not answer.done():
                raise self._not_ready(f"it did not answer within {self.service.ready_s:g} s")
            answer.result()
        finally:
            answer.cancel()
            with suppress(asyncio.CancelledError):
                await answer

    async def stop(self) -> int:
        """End it, politely first."""
        for number, seconds in self.service.stop:
            if self._ended.done():
                break
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            await asyncio.wait((self._ended,), timeout=seconds)
        return await self.wait()

    async def _serves(self) -> None:
        if self.service.ready is None:
            await asyncio.shield(self._announced)
            return
        while True:
            if await self.service.ready(self.pid):
                return
            await asyncio.sleep(POLL_S)

    def _not_ready(self, reason: str) -> NotReady:
        return NotReady(name=self.service.name, reason=reason, log=self.log, tail=tail(self.log))


class Guard:
    """The process that cleans up should this one be killed; it lives from ``open`` to ``close``."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def open(cls) -> "Guard":
        return cls(await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", str(_GUARD), stdin=PIPE, cwd="/"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, child: Child) -> None:
        self._tell(f"+ {child.pid} {int(child.service.death_signal)}\n")

    def forget(self, child: Child) -> None:
        self._tell(f"- {child.pid}\n")

    async def close(self) -> None:
        """Let it end; it still signals what was not forgotten."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())


async def start(service: Service, logs: Path, environment: Mapping[str, str]) -> Child:
    """Start ``service``; it may not serve yet."""
    log = service.log or logs / f"{service.name}.out"
    announced, writer = _ready_pipe()
    heard = (writer,) if service.ready is None else ()  # whoever is probed would hold it open for nothing
    try:
        with _opened(log) as output:
            process = await asyncio.create_subprocess_exec(
                *wrapped(service.argv, user=service.user, death_signal=service.death_signal),
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(*service.pass_fds, *heard),
                env={**minimal_environment(), **environment, **service.environment, READY_FD: str(writer)},
                cwd="/",
            )
    finally:
        os.close(writer)
    return Child(service, process, announced, log)


def _opened(log: Path) -> BinaryIO:
    """The log, to append to; one that has grown long is put aside first."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_name(f"{log.name}.1"))
    return log.open("ab")


def _ready_pipe() -> tuple["asyncio.Future[None]", int]:
    """A future that ends when a line comes (never, if none does) and the descriptor to write the line to."""
    loop = asyncio.get_running_loop()
    announced: asyncio.Future[None] = loop.create_future()
    reader, writer = os.pipe()

    def heard() -> None:
        if os.read(reader, 64) and not announced.done():
            announced.set_result(None)
        loop.remove_reader(reader)
        os.close(reader)

    loop.add_reader(reader, heard)
    return announced, writer


def tail(log: Path, lines: int = 8) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return "(empty)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
