"""Becomes a program that cannot outlive the one that asked for it: ``child.py SIGNAL PARENT USER program argument...``

Run as a file, not imported: between fork and exec only a fresh interpreter may do this much safely. It takes its own
process group (Ctrl-C at a terminal reaches the supervisor alone), gives up root for USER where one is named, asks the
kernel for SIGNAL when PARENT dies, and executes the program. The order matters: a change of user clears the request
(prctl(2), PR_SET_PDEATHSIG). Where a kernel knows no such request (macOS), a killed supervisor leaves them behind.
"""

import ctypes  # here, because the standard library may be out of reach for another user
import os
import pwd
import sys


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _die_with_parent(signal: int, parent: int) -> None:
    if sys.platform == "linux":
        set_death_signal = 1
        if ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the request was in place
        raise SystemExit(1)


if __name__ == "__main__":
    death_signal, parent, user, *program = sys.argv[1:]
    os.setpgid(0, 0)
    os.umask(0o077)
    if user:
        _become(user)
    _die_with_parent(int(death_signal), int(parent))
    os.execv(program[0], program)
