"""What a program would try that had taken over the sandbox's process, by code of its own inside that process.

``python -I tests/attacks.py <pid of the worker>`` serves as ``services.worker.sandbox`` does, but runs an attack for a
task whose input names one, and stumbles over programs that name a fault.
``python -I tests/attacks.py control KEY`` tries the attacks without any limit.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

#: The input of the first attack; below it tasks are honest.
FIRST = 1000
#: Where the sandbox stands: <directory of the executor>/sandbox-*, beside the worker's keys.
KEY = Path("../../keys/worker.seed")

_libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    """A system call by its number on x86_64."""
    found = int(_libc.syscall(number, *arguments))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def fork() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def clone() -> None:
    if (child := call(56, signal.SIGCHLD, 0, 0, 0, 0)) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def in_a_thread(attack: Callable[[], object]) -> Callable[[], None]:
    """The same from a thread that is started now."""

    def run() -> None:
        caught: list[OSError] = []

        def body() -> None:
            try:
                attack()
            except OSError as error:
                caught.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if caught:
            raise caught[0]

    return run


def forget_the_worker() -> None:
    if _libc.prctl(1, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG")


def fill_the_disk() -> None:
    for number in range(3):
        Path(f"filler-{number}").write_bytes(bytes(1 << 20))


#: Refused, and harmless where it is not.
HARMLESS: dict[str, Callable[[], object]] = {
    "fork": fork,
    "clone": clone,
    "vfork and execve": lambda: subprocess.run(["/bin/true"], check=True),
    "fork from a thread": in_a_thread(fork),
    "a socket": lambda: socket.socket().close(),
    "a socket from a thread": in_a_thread(lambda: socket.socket().close()),
    "a local socket": lambda: socket.socketpair(),
    "reading the worker's key": lambda: KEY.read_bytes(),
    "listing the worker's keys": lambda: os.listdir(KEY.parent),
    "changing the key's mode": lambda: KEY.chmod(0o644),
    "writing the key": lambda: KEY.write_bytes(b"mine"),
    "cutting the key short": lambda: os.truncate(KEY, 1),
    "renaming the key": lambda: KEY.rename(KEY.with_suffix(".gone")).rename(KEY),
    "linking to the key": lambda: os.link(KEY, "link"),
    "writing beside the sandboxes": lambda: Path("../beside").write_text("x"),
    "files without number": fill_the_disk,
    "memory as a file": lambda: os.close(os.memfd_create("x")),
    "shared memory": lambda: call(29, 0, 4096, 0o1600),
    "the worker's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "the worker's memory": lambda: open(f"/proc/{os.getppid()}/mem", "rb").close(),
    "a signal to the worker": lambda: os.kill(os.getppid(), 0),
    "limits of the worker": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    "a pidfd of the worker": lambda: os.close(os.pidfd_open(os.getppid())),
    "outliving the worker": forget_the_worker,
    "more files than granted": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
    "passwords of the system": lambda: Path("/etc/shadow").read_bytes(),
    "personality": lambda: call(135, 0xFFFF_FFFF),
}
#: Not to be tried without limits.
HARMFUL: dict[str, Callable[[], object]] = {
    "replacing itself": lambda: os.execv("/bin/true", ["true"]),
    "killing the worker": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "killing everything": lambda: os.kill(-1, signal.SIGKILL),
    "tracing the worker": lambda: call(101, 16, os.getppid(), 0, 0),
    "a network namespace": lambda: call(272, 0x4000_0000),
    "a user namespace": lambda: call(272, 0x1000_0000),
    "a mount": lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None),
    "a new root": lambda: os.chroot("."),
    "io_uring": lambda: call(425, 1, ctypes.create_string_buffer(120)),
    "bpf": lambda: call(321, 0, None, 0),
    "keyctl": lambda: call(250, 0, -3, 0),
    "perf_event_open": lambda: call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "userfaultfd": lambda: call(323, 1),
    "a kernel module": lambda: call(313, 0, b"", 0),
    "a file by handle": lambda: call(304, -100, None, 0),
    "a device": lambda: os.mknod("disk", 0o60600, os.makedev(8, 0)),
}
ATTACKS = {**HARMLESS, **HARMFUL}


def endless() -> None:
    while True:
        pass


def hungry() -> None:
    taken = []
    while True:
        taken.append(np.empty(64 << 20))


def failing() -> None:
    raise KeyError("nobody thought of this")


#: What looking into a program may come to, by the program that does it, with the reason that is told for it.
FAULTS: dict[bytes, tuple[Callable[[], object], str]] = {
    b"endless": (endless, "timeout"),
    b"hungry": (hungry, "exhausted"),
    b"dying": (os.abort, "crash"),
    b"failing": (failing, "crash"),
}


def attempt(attack: Callable[[], object]) -> int:
    """Error number with which the system refused it; 0 if it went through."""
    try:
        attack()
    except OSError as error:
        return error.errno or -1
    except ValueError:  # Python's own word for a limit that may not be raised
        return 1
    return 0


def main() -> None:
    """Serve, with attacks."""
    from services.arrays import pack
    from services.programs import admission
    from services.worker import sandbox, serving

    honest, inspect = serving.Program.__call__, admission.inspect

    def look(program: bytes) -> admission.Inspection:
        if program in FAULTS:
            FAULTS[program][0]()
        return inspect(program)

    def run(self: serving.Program, shared: dict[str, object], row: dict[str, object]) -> bytes:
        number = int(row["x"])  # type: ignore[call-overload]
        if number < FIRST:
            return honest(self, shared, row)
        return pack({"y": np.int32(attempt(list(ATTACKS.values())[number - FIRST]))})

    serving.Program.__call__ = run  # type: ignore[method-assign]
    admission.inspect = look  # type: ignore[assignment]
    sandbox.main()


def control(key: str) -> None:
    """Print the harmless attacks that are refused without limits: there should be none."""
    global KEY
    KEY = Path(key)
    print(json.dumps([name for name, attack in HARMLESS.items() if attempt(attack)]))


if __name__ == "__main__":
    control(sys.argv[2]) if sys.argv[1] == "control" else main()
