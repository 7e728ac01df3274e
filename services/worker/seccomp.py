"""Seccomp: system calls that no program needs, refused by the kernel from the moment the sandbox is warm.

What is refused starts programs or processes, looks into other processes or signals them, makes connections or files,
changes mounts, namespaces, keys, clocks, owners and modes of files, or opens a part of the kernel that flaws were found
in. Everything else is allowed: a list of what XLA, Python and each C library may call would break with their next
release, and files, memory and network are kept by other means (``landlock``, ``confine``).

Source: Linux kernel documentation, userspace-api/seccomp_filter; numbers from asm/unistd_64.h and asm-generic/unistd.h.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator
from typing import Final, Literal

Machine = Literal["x86_64", "aarch64"]
_MACHINES: Final[dict[str, Machine]] = {"x86_64": "x86_64", "aarch64": "aarch64"}

_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
#: ``seccomp`` itself and the value that tells the architecture of a call, AUDIT_ARCH_*.
_SECCOMP: Final[dict[Machine, int]] = {"x86_64": 317, "aarch64": 277}
_ARCHITECTURE: Final[dict[Machine, int]] = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

#: Refused whatever their arguments: name, number on x86_64, number on aarch64 (-1: there is none).
_REFUSED: Final = (
    # start a program or a process
    ("execve", 59, 221), ("execveat", 322, 281), ("fork", 57, -1), ("vfork", 58, -1),
    # look into another process, or send it a signal by another way than kill
    ("ptrace", 101, 117), ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271), ("kcmp", 312, 272),
    ("tkill", 200, 130), ("rt_sigqueueinfo", 129, 138), ("rt_tgsigqueueinfo", 297, 240),
    ("pidfd_send_signal", 424, 424), ("pidfd_open", 434, 434), ("pidfd_getfd", 438, 438),
    ("process_madvise", 440, 440), ("process_mrelease", 448, 448),
    # connections, to other machines or processes; memory and queues that all processes of a user share
    ("socket", 41, 198), ("socketpair", 53, 199), ("connect", 42, 203), ("bind", 49, 200), ("listen", 50, 201),
    ("shmget", 29, 194), ("shmat", 30, 196), ("msgget", 68, 186), ("semget", 64, 190), ("mq_open", 240, 180),
    # owners, modes, times and lengths of files, which Landlock leaves to anyone who can name them
    ("chmod", 90, -1), ("fchmod", 91, 52), ("fchmodat", 268, 53), ("fchmodat2", 452, 452),
    ("chown", 92, -1), ("fchown", 93, 55), ("lchown", 94, -1), ("fchownat", 260, 54), ("truncate", 76, 45),
    ("setxattr", 188, 5), ("lsetxattr", 189, 6), ("fsetxattr", 190, 7), ("setxattrat", 463, 463),
    ("removexattr", 197, 14), ("lremovexattr", 198, 15), ("fremovexattr", 199, 16), ("removexattrat", 466, 466),
    ("utime", 132, -1), ("utimes", 235, -1), ("futimesat", 261, -1), ("utimensat", 280, 88),
    # new files, named or not, which would fill the disk or hold memory that no limit counts
    ("creat", 85, -1), ("mkdir", 83, -1), ("mkdirat", 258, 34), ("mknod", 133, -1), ("mknodat", 259, 33),
    ("link", 86, -1), ("linkat", 265, 37), ("symlink", 88, -1), ("symlinkat", 266, 36), ("rename", 82, -1),
    ("renameat", 264, 38), ("renameat2", 316, 276), ("memfd_create", 319, 279), ("memfd_secret", 447, 447),
    # mounts, namespaces, roots
    ("mount", 165, 40), ("umount2", 166, 39), ("pivot_root", 155, 41), ("chroot", 161, 51), ("open_tree", 428, 428),
    ("move_mount", 429, 429), ("fsopen", 430, 430), ("fsconfig", 431, 431), ("fsmount", 432, 432),
    ("fspick", 433, 433), ("mount_setattr", 442, 442), ("open_tree_attr", 467, 467),
    ("unshare", 272, 97), ("setns", 308, 268),
    # parts of the kernel that no program needs and that flaws were found in
    ("bpf", 321, 280), ("perf_event_open", 298, 241), ("userfaultfd", 323, 282),
    ("io_uring_setup", 425, 425), ("io_uring_enter", 426, 426), ("io_uring_register", 427, 427),
    ("add_key", 248, 217), ("request_key", 249, 218), ("keyctl", 250, 219), ("personality", 135, 92),
    ("name_to_handle_at", 303, 264), ("open_by_handle_at", 304, 265), ("lookup_dcookie", 212, 18),
    ("fanotify_init", 300, 262), ("quotactl", 179, 60), ("quotactl_fd", 443, 443), ("modify_ldt", 154, -1),
    # the machine itself
    ("init_module", 175, 105), ("finit_module", 313, 273), ("delete_module", 176, 106), ("kexec_load", 246, 104),
    ("kexec_file_load", 320, 294), ("reboot", 169, 142), ("swapon", 167, 224), ("swapoff", 168, 225),
    ("acct", 163, 89), ("syslog", 103, 116), ("sethostname", 170, 161), ("setdomainname", 171, 162),
    ("settimeofday", 164, 170), ("clock_settime", 227, 112), ("clock_adjtime", 305, 266), ("adjtimex", 159, 171),
    ("iopl", 172, -1), ("ioperm", 173, -1), ("vhangup", 153, 58),
)  # fmt: skip

#: Allowed for this process only; the argument is a process id, and 0 in ``prlimit64`` means the caller.
_KILL: Final[dict[Machine, tuple[int, int]]] = {"x86_64": (62, 234), "aarch64": (129, 131)}  # kill, tgkill
_PRLIMIT: Final[dict[Machine, int]] = {"x86_64": 302, "aarch64": 261}
#: Allowed for what libraries do with it: name a thread (15, 16). It could also undo ``dies_with_worker``.
_PRCTL: Final[dict[Machine, int]] = {"x86_64": 157, "aarch64": 167}
_THREAD_NAMES: Final = (15, 16)
#: Allowed to start a thread, and to open files that exist.
_CLONE: Final[dict[Machine, int]] = {"x86_64": 56, "aarch64": 220}
_CLONE_THREAD: Final = 0x1_0000
_OPEN: Final[dict[Machine, int]] = {"x86_64": 2, "aarch64": -1}
_OPENAT: Final[dict[Machine, int]] = {"x86_64": 257, "aarch64": 56}
_CREATES: Final = 0x40_0040  # O_CREAT, and the bit that tells O_TMPFILE from O_DIRECTORY
#: clone3 and openat2 hide their flags from filters: told that they do not exist, C libraries take the older calls.
_HIDDEN: Final = (435, 437)
#: Calls of the x32 interface, which an x86_64 kernel may know besides its own, have this bit.
_X32: Final = 0x4000_0000

# Instructions of the classic packet filter, and what a filter answers.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _KILL_PROCESS = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
#: Where ``struct seccomp_data`` holds the call's number, its architecture and its arguments, low half first.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8

_Instruction = tuple[int, int, int, int]


def refuse_calls() -> bool:
    """Put the filter over every thread of this process, for good. Whether the kernel granted it.

    Needs ``no_new_privs`` or the superuser's powers. A refused call fails with EPERM, so that what asked can say so.
    """
    machine: Machine | None = _MACHINES.get(platform.machine())
    if machine is None or sys.platform != "linux" or sys.maxsize < 1 << 32:
        return False
    code = b"".join(struct.pack("=HBBI", *one) for one in program(machine, os.getpid()))
    instructions = ctypes.create_string_buffer(code, len(code))
    filters = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _FLAG_TSYNC, filters) == 0)


def program(machine: Machine, process: int) -> list[_Instruction]:
    """The filter, for the process with this id.

    The kernel remembers which calls it lets pass by number alone, so its length costs nothing per call.
    """
    numbers = [x86 if machine == "x86_64" else arm for _, x86, arm in _REFUSED]
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_AT_LEAST, 0, 1, _X32),
        _refusal(errno.EPERM),
        *(one for number in _HIDDEN for one in _when(number, [_refusal(errno.ENOSYS)])),
        *(one for number in numbers for one in _when(number, [_refusal(errno.EPERM)])),
        *_when(_CLONE[machine], _if_argument(0, _IF_ANY_BIT, (_CLONE_THREAD,))),
        *_when(_OPEN[machine], _unless_argument(1, _IF_ANY_BIT, (_CREATES,))),
        *_when(_OPENAT[machine], _unless_argument(2, _IF_ANY_BIT, (_CREATES,))),
        *(one for number in _KILL[machine] for one in _when(number, _if_argument(0, _IF_EQUAL, (process,)))),
        *_when(_PRLIMIT[machine], _if_argument(0, _IF_EQUAL, (0, process))),
        *_when(_PRCTL[machine], _if_argument(0, _IF_EQUAL, _THREAD_NAMES)),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refusal(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | error)


def _when(number: int, body: list[_Instruction]) -> Iterator[_Instruction]:
    """``body``, which must return, for the call with this number, if there is one; others jump over it."""
    if number >= 0:
        yield (_IF_EQUAL, 0, len(body), number)
        yield from body


def _if_argument(argument: int, test: int, values: tuple[int, ...]) -> list[_Instruction]:
    """Allow the call if this argument passes ``test`` with one of ``values``."""
    return _test(argument, test, values, _refusal(errno.EPERM), (_RETURN, 0, 0, _ALLOW))


def _unless_argument(argument: int, test: int, values: tuple[int, ...]) -> list[_Instruction]:
    return _test(argument, test, values, (_RETURN, 0, 0, _ALLOW), _refusal(errno.EPERM))


def _test(argument: int, test: int, values: tuple[int, ...], no: _Instruction, yes: _Instruction) -> list[_Instruction]:
    tests = [(test, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [(_LOAD, 0, 0, _ARGUMENTS_AT + _ARGUMENT_BYTES * argument), *tests, no, yes]
