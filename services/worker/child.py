"""The worker's end of one sandbox process: start it, talk to it, end it."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar, Final

import psutil

from domain.events import FailureReason, Platform
from services.worker import frames
from services.worker.frames import Answer, BadFrame, Request

#: Time to import and warm up jax on a busy machine.
START_S: Final = 60.0
#: How often a running program's memory is looked at.
WATCH_S: Final = 0.25
_PROGRAM: Final = ("-m", "services.worker.sandbox")
_CHUNK: Final = 1 << 18
#: The only variables of the worker's environment that a sandbox with an accelerator gets.
_ACCELERATOR: Final = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")


class Lost(Exception):
    """The sandbox is no longer usable, for ``reason``; end it and start another."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Child:
    """One sandbox process, leader of its own session, with a directory of its own that goes with it."""

    #: How the names of such directories begin.
    PREFIX: ClassVar = "sandbox-"

    def __init__(self, directory: Path, platform: Platform, threads: int | None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=self.PREFIX, dir=directory))
        self.applied: dict[str, bool] = {}
        self.uses = 0
        self._log = self.directory / "log"
        self._socket, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", *_PROGRAM, str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=_environment(self.directory, platform, threads),
                start_new_session=True,
            )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._buffer = bytearray()
        self._idle_mb = 0

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until jax is warm.

        Raises:
            Lost: It does not start.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(sock=self._socket, limit=4 * _CHUNK)
            (answer,) = await self.receive(START_S)
            if not isinstance(answer, frames.Ready):
                raise Lost("crash", "the sandbox did not say that it is ready")
            self.applied = answer.applied
            self._idle_mb = self._memory_mb()

    def progress(self) -> int:
        """Number, in its batch, of the task that was begun last; the sandbox wrote it, so it may be anything."""
        try:
            return int.from_bytes((self.directory / frames.PROGRESS).read_bytes(), sys.byteorder)
        except OSError:
            return 0

    async def send(self, *messages: Request) -> None:
        """Write to the sandbox; that it is gone shows when reading."""
        assert self._streams is not None, "a sandbox is ready before it is used"
        _, writer = self._streams
        for message in messages:
            writer.write(frames.frame(message))
        try:
            await writer.drain()
        except ConnectionError:
            return

    async def receive(self, timeout_s: float, memory_mb: int | None = None) -> list[Answer]:
        """The next answers, at least one.

        Args:
            memory_mb: What it may use above its size when idle.
        Raises:
            Lost: It said nothing for ``timeout_s``, uses too much memory, died or talks nonsense.
        """
        assert self._streams is not None, "a sandbox is ready before it is used"
        reader, _ = self._streams
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(left_s, WATCH_S) if memory_mb is not None else left_s):
                    chunk = await reader.read(_CHUNK)
            except TimeoutError:
                self._watch(left_s, memory_mb, timeout_s)
                continue
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise await self._died()
            self._buffer += chunk
            try:
                answers = frames.split(self._buffer)
            except BadFrame as error:
                raise Lost("crash", str(error)) from error
            if answers:
                return answers

    def kill(self) -> None:
        """End it and all that it started, at once; ``bury`` it afterwards."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._socket.close()

    async def bury(self) -> None:
        """Wait for the end and clear up, which goes on if the wait is cancelled."""
        await asyncio.shield(asyncio.to_thread(self._bury))

    def _bury(self) -> None:
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _watch(self, left_s: float, memory_mb: int | None, timeout_s: float) -> None:
        if left_s <= WATCH_S or memory_mb is None:
            raise Lost("timeout", f"no answer in {timeout_s} s")
        used_mb = self._memory_mb() - self._idle_mb
        if used_mb > memory_mb:
            raise Lost("memory", f"{used_mb} MB used, allowed are {memory_mb}")

    def _memory_mb(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss) >> 20
        except psutil.Error:
            return 0

    async def _died(self) -> Lost:
        """Why it went, as far as its status and its last words tell."""
        self.kill()
        status = await asyncio.to_thread(self._process.wait)
        words = self._log.read_bytes()[-frames.DETAIL_MAX :].decode(errors="replace")
        detail = f"the sandbox ended with status {status}: {words}"
        if status == -signal.SIGXCPU:
            return Lost("timeout", detail)
        return Lost("memory" if frames.out_of_memory(words) else "crash", detail)


def _environment(directory: Path, platform: Platform, threads: int | None) -> dict[str, str]:
    """All that the sandbox gets to know: nothing of the worker's own settings, keys or paths."""
    environment = {
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        "JAX_PLATFORMS": platform,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena maps 64 MB, which would blur the limit on memory
    }
    if threads is not None:
        environment["NPROC"] = str(threads)
    if threads == 1:
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if platform != "cpu":
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        environment |= {name: os.environ[name] for name in _ACCELERATOR if name in os.environ}
    return environment
