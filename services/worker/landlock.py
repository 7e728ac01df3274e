"""Landlock: this process may read programs and libraries, write its own directory, and open no other file.

A worker's key lies in a file of the same user, whose permissions alone do not keep it from the programs that the worker
runs. Sockets of the file system and the memory of processes outside are out of reach as well.

Source: Linux kernel documentation, userspace-api/landlock.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
#: Number of rights that each version of the interface knows, from Linux 5.13 on: moving files between directories,
#: shortening them and commands to devices came later.
_RIGHTS: Final = (13, 14, 15, 15, 16)
_VERSION_FLAG: Final = 1
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE
#: What Python, jax and the C library read at run time.
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/proc", "/sys", "/opt")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def keep_to(directory: str) -> bool:
    """Give up every file but those; ``directory`` stays writable. Whether the kernel granted it.

    It holds for this thread and those that it starts, and needs ``no_new_privs`` or the superuser's powers.
    """
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is None:
        return False
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return False
    every = (1 << _RIGHTS[min(version, len(_RIGHTS)) - 1]) - 1
    handled = ctypes.create_string_buffer(struct.pack("=Q", every))
    ruleset = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(8), 0)
    if ruleset < 0:
        return False
    try:
        rules = [(path, _READ) for path in _programs()] + [(path, _READ | _WRITE_FILE) for path in _DEVICES]
        granted = all(_allow(libc, ruleset, path, rights) for path, rights in [*rules, (directory, every)])
        return granted and libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _programs() -> Iterable[str]:
    """Where the interpreter and its modules are: not the home directory, though they may lie in it."""
    here = Path(__file__).parents[2]
    modules = (path for path in sys.path if path and Path(path) != here)
    ours = (str(here / room) for room in ("domain", "services"))
    found = {*_SYSTEM, sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix), *modules, *ours}
    return sorted(path for path in found if os.path.exists(path))


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> bool:
    if not os.path.exists(path):
        return True
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if os.path.isdir(path) else rights & _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, descriptor))
        return bool(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) == 0)
    finally:
        os.close(descriptor)
