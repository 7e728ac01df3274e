"""What the sandbox gives up before it touches a stranger's bytes. Each limit says whether the system granted it.

``memory`` and ``processor`` are added later, when the size of the idle process is known. Not every system has all of
them: network and capabilities are Linux only, and the address-space limit does not fit GPUs, whose drivers map far more
than they use. Processes are not limited: the system counts them for a user as a whole, and XLA starts a thread for each
program that it compiles, so that a limit that stops a fork also stops every program.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Final

from services.worker import landlock

FILES_MAX: Final = 128
FILE_BYTES_MAX: Final = 16 << 20
#: Address space for jax itself above its size when idle, in MB: what compiling a program takes.
COMPILER_MB: Final = 1024

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_CAPABILITY_VERSION: Final = 0x2008_0522
_CAPABILITIES: Final = 64


def confine(parent: int) -> dict[str, bool]:
    """Apply every limit that needs no warm process.

    Args:
        parent: Process id of the worker; without it there is nothing to do.
    """
    applied = {
        "files": _limit(resource.RLIMIT_NOFILE, FILES_MAX),
        "file_size": _limit(resource.RLIMIT_FSIZE, FILE_BYTES_MAX),
        "core": _limit(resource.RLIMIT_CORE, 0),
        "network": _leave_network(),
        "capabilities": _drop_capabilities(),
        "no_new_privileges": _prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "own_files": landlock.keep_to(os.getcwd()),
        # After the namespace: gaining its powers, though for a moment only, clears this signal.
        "dies_with_worker": _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    }
    if os.getppid() != parent:
        sys.exit("the worker is gone")
    return applied


def limit_memory(bytes_max: int) -> bool:
    """Let the address space grow to ``bytes_max`` and no further."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (bytes_max, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True


def limit_processor(seconds: int) -> bool:
    """Die after ``seconds`` more of processor time: a second line, should the worker be too slow to notice."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = int(used.ru_utime + used.ru_stime) + max(1, seconds)
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (total, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True


def address_space() -> int:
    """Bytes of address space that this process has mapped; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _limit(which: int, most: int) -> bool:
    try:
        resource.setrlimit(which, (most, most))
    except (OSError, ValueError):
        return False
    return True


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _prctl(option: int, value: int) -> bool:
    libc = _libc()
    return libc is not None and libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0


def _leave_network() -> bool:
    """A network of its own, without even a loopback device that is up; a plain user needs a user namespace for it."""
    libc = _libc()
    if libc is None:
        return False
    return any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))


def _drop_capabilities() -> bool:
    """Give up the superuser's powers, those of the namespace above included."""
    libc = _libc()
    if libc is None:
        return False
    for capability in range(_CAPABILITIES):
        _prctl(_PR_CAPBSET_DROP, capability)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    return bool(libc.capset(header, nothing) == 0)
