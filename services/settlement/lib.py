"""The one door to bitcoinlib: imported when money is first touched, without its database half, writing in one place.

bitcoinlib imports SQLAlchemy and its wallets wherever SQLAlchemy is installed, which costs a second and 30 MB and is
used by nothing here; and it fills a directory in the user's home. Both are prevented during the import, and only then.
"""

import importlib.util
import locale
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from domain.errors import Corrupt, Refused
from services import private

_WITHOUT: Final = "sqlalchemy"
_DIRECTORY: Final = "BCL_DATA_DIR"
_CONFIG: Final = b"[common]\nservice_caching_enabled=False\n[logs]\nenable_bitcoinlib_logging=False\n"

_lock = threading.Lock()
_loaded: "Library | None" = None


class NotUtf8(Refused):
    template = "the locale's encoding is {encoding} and bitcoinlib reads UTF-8 only; set PYTHONUTF8=1 and start again"


class Library(NamedTuple):
    """bitcoinlib's modules that are in use."""

    keys: ModuleType
    transactions: ModuleType


def load(home: Path) -> Library:
    """bitcoinlib, which keeps what it needs under ``home``; later calls get the same, wherever their home is.

    Raises:
        NotUtf8: It would not work with this process's locale.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            encoding = locale.getpreferredencoding()
            if encoding.lower() != "utf-8":
                raise NotUtf8(encoding=encoding)
            directory = home / "bitcoinlib"
            _prepare(directory)
            with _surroundings(directory):
                from bitcoinlib import keys, transactions
            _loaded = Library(keys, transactions)
            # its errors log what they are about, which may be a key
            logging.getLogger("bitcoinlib").setLevel(logging.CRITICAL + 1)
    return _loaded


def _prepare(directory: Path) -> None:
    """Put there what the library would put there, so that it finds itself installed and keeps our configuration."""
    spec = importlib.util.find_spec("bitcoinlib")
    if spec is None or spec.origin is None:
        raise Corrupt("bitcoinlib is not installed")
    networks = Path(spec.origin).with_name("data") / "networks.json"
    for name, data in (
        ("config.ini", _CONFIG),
        ("networks.json", networks.read_bytes()),
        ("install.log", b"by Pasar\n"),
    ):
        file = directory / name
        if not file.exists() or file.read_bytes() != data:
            private.replace(file, data)


@contextmanager
def _surroundings(directory: Path) -> Iterator[None]:
    """What the import sees: its directory in the environment, and no SQLAlchemy; what it leaves open is not told."""
    before, hidden = os.environ.get(_DIRECTORY), sys.modules.get(_WITHOUT)
    os.environ[_DIRECTORY] = str(directory)
    sys.modules[_WITHOUT] = None  # type: ignore[assignment]  # Python's own sign for a module that cannot be imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ[_DIRECTORY]
        else:
            os.environ[_DIRECTORY] = before
        if hidden is None:
            del sys.modules[_WITHOUT]
        else:
            sys.modules[_WITHOUT] = hidden
