"""What a worker's sandbox cannot do, in words: one line a limit, the same wherever limits are shown."""

from collections.abc import Mapping
from typing import Final

#: By the names that a sandbox tells.
MEANING: Final = {
    "files": "a program opens few files",
    "file_size": "and writes only small ones",
    "core": "a crash leaves no memory image behind",
    "network": "a program reaches no network",
    "capabilities": "a program has no privileges of the system",
    "no_new_privileges": "and cannot gain any",
    "own_files": "a program reads no key and no file but libraries and its own",
    "dies_with_worker": "the sandbox ends when the worker does",
    "memory": "a program cannot take more memory than its job says",
    "processor": "nor more time of the processor",
    "system_calls": "a program starts no other, signals none and makes no file or connection",
}
_ADVICE: Final = "What is missing the system does not grant here: run only programs of clients that you trust."


def lines(applied: Mapping[str, bool]) -> list[str]:
    """A line for each limit, and advice if one is missing.

    Args:
        applied: Whether the system granted it, by name, as a sandbox says.
    """
    told = [
        f"  {'granted' if granted else 'MISSING':<8} {name.replace('_', ' '):<18} {MEANING.get(name, '')}".rstrip()
        for name, granted in applied.items()
    ]
    return told if all(applied.values()) else [*told, _ADVICE]
