"""The embedded PostgreSQL keeps what it acknowledged, whatever happens to its process."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services.config import Settings
from services.stack import postgres
from services.stack.supervisor import Stack
from tests.system.embedded import Supervisor, eventually, gone

ELSEWHERE = "nats://127.0.0.1:1"


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is no PostgreSQL."""
    process = subprocess.Popen((sys.executable, "-c", "import signal; signal.pause()"))
    yield process
    process.kill()
    process.wait()


async def run(settings: Settings, *statements: str) -> object:
    """The last statement's single value."""
    assert settings.database_url is not None
    connection = await asyncpg.connect(settings.database_url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


async def test_postgres_is_durable_and_listens_on_its_socket_only(tmp_path: Path) -> None:
    async with Stack(Settings(home=tmp_path, nats_url=ELSEWHERE)) as stack:
        for setting, value in (("fsync", "on"), ("synchronous_commit", "on"), ("listen_addresses", "")):
            assert await run(stack.settings, f"SHOW {setting}") == value
        assert await run(stack.settings, "SELECT current_database() || current_user") == "pasarpasar"
        socket = postgres.cluster(stack.settings).socket
        assert socket.stat().st_mode & 0o077 == 0


async def test_postgres_keeps_its_data_when_it_is_killed(tmp_path: Path) -> None:
    async with Stack(Settings(home=tmp_path, nats_url=ELSEWHERE)) as stack:
        await run(stack.settings, "CREATE TABLE t (i int)", "INSERT INTO t VALUES (7)", "SELECT 1")
        first = stack.pid_of("postgres")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(
            lambda: stack.status().services[0].restarts >= 1 and stack.status().services[0].state == "ready"
        )
        assert stack.pid_of("postgres") != first
        assert await run(stack.settings, "SELECT i FROM t") == 7
    async with Stack(Settings(home=tmp_path, nats_url=ELSEWHERE)) as stack:
        assert await run(stack.settings, "SELECT i FROM t") == 7


async def test_postgres_starts_when_its_pid_file_names_another_process(
    tmp_path: Path, stranger: "subprocess.Popen[bytes]"
) -> None:
    settings = Settings(home=tmp_path, nats_url=ELSEWHERE)
    async with Stack(settings):
        pass
    data = postgres.cluster(settings).data
    (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n5432\n/\n\n0 0\nready\n")
    async with Stack(settings) as stack:
        assert await run(stack.settings, "SELECT 1") == 1


async def test_cluster_is_made_again_when_the_first_start_was_interrupted(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, nats_url=ELSEWHERE)
    draft = tmp_path / "postgres" / "data.draft"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18")
    async with Stack(settings) as stack:
        assert await run(stack.settings, "SELECT 1") == 1


async def test_socket_moves_to_a_short_path_when_home_is_deep(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("deep" * 20), nats_url=ELSEWHERE)
    socket = postgres.cluster(settings).socket
    assert len(str(socket)) < 60
    try:
        async with Stack(settings) as stack:
            assert await run(stack.settings, "SELECT 1") == 1
    finally:
        shutil.rmtree(socket)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run without root already")
def test_whole_stack_runs_without_root() -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    version = python and subprocess.run((python, "-V"), capture_output=True, text=True, check=True).stdout
    if python is None or version is None or not version.startswith(f"Python 3.{sys.version_info.minor}."):
        pytest.skip("no other Python of this version that an ordinary user can run")
    home = Path("/tmp") / f"pasar-test-{os.getpid()}"
    home.mkdir(mode=0o700)
    shutil.chown(home, "nobody")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    tools = Path(sys.executable).parent
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        supervisor = Supervisor(home / "home", python=python, user="nobody", env=environment, cwd="/")
        supervisor.until_up()
        family = supervisor.family()
        assert supervisor.end(signal.SIGTERM) == 0
        assert gone(family)
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
async def test_programs_are_copied_when_only_root_can_reach_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(postgres, "reachable", lambda path, account: False)
    with tempfile.TemporaryDirectory(dir="/var/cache") as cache:
        os.chmod(cache, 0o755)
        monkeypatch.setattr(postgres, "CACHE", Path(cache) / "pasar")
        async with Stack(Settings(home=tmp_path, nats_url=ELSEWHERE)) as stack:
            assert await run(stack.settings, "SELECT 1") == 1
            assert postgres.cluster(stack.settings).bin.is_relative_to(cache)
