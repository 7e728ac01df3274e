"""Files that only their owner may read: made whole or not at all, replaced whole, refused when others can read them."""

import os
import secrets
from pathlib import Path
from typing import ClassVar

from domain.errors import Refused


class KeyExposed(Refused):
    template: ClassVar[str] = "others can read the key file {path}; run `chmod 600 {path}`"


def read(path: Path) -> bytes:
    """What the file holds.

    Raises:
        KeyExposed: The file can be read by others than its owner.
    """
    if path.stat().st_mode & 0o077:
        raise KeyExposed(path=path)
    return path.read_bytes()


def create(path: Path, data: bytes) -> None:
    """Write a new file; when two processes race, the first one's stands."""
    draft = _draft(path, data)
    try:
        os.link(draft, path)
        _sync(path.parent)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def replace(path: Path, data: bytes) -> None:
    """Write the file anew; a reader, and a crash, find the old bytes or the new."""
    draft = _draft(path, data)
    try:
        draft.replace(path)
    except OSError:
        draft.unlink()
        raise
    _sync(path.parent)


def _draft(path: Path, data: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink()
        raise
    return draft


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
