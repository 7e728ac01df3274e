"""The command line: quick, and plain about what is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path


def pasar(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        (sys.executable, "-c", "from ui.cli import main; main()", *arguments),
        capture_output=True,
        text=True,
        env={**os.environ, "PASAR_HOME": str(home)},
        check=False,
    )


def test_help_loads_no_driver_and_no_numerics(tmp_path: Path) -> None:
    program = "import ui.cli, sys; print(sorted(sys.modules.keys() & set(sys.argv[1:])))"
    heavy = ("jax", "numpy", "asyncpg", "nats", "eventsourcing", "psutil", "structlog", "asyncio")
    done = subprocess.run((sys.executable, "-c", program, *heavy), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_printed(tmp_path: Path) -> None:
    done = pasar(tmp_path, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, "0.1.0")


def test_every_command_shows_an_example(tmp_path: Path) -> None:
    for command in ("up", "down", "status"):
        assert f"pasar {command}" in pasar(tmp_path, command, "--help").stdout


def test_status_says_what_to_do_when_nothing_runs(tmp_path: Path) -> None:
    done = pasar(tmp_path, "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pasar: no stack runs on {tmp_path}; start one with `pasar up`\n"
    done = pasar(tmp_path, "status", "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (1, "down")


def test_down_succeeds_when_nothing_runs(tmp_path: Path) -> None:
    done = pasar(tmp_path, "down")
    assert (done.returncode, done.stdout) == (0, f"nothing runs on {tmp_path}\n")


def test_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    assert pasar(tmp_path, "up", "--nonsense").returncode == 2


def test_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = pasar(tmp_path, "escrow", "refund", "--receipt", str(tmp_path / "none.json"))
    assert (done.returncode, done.stdout) == (1, "")
    reason = "no such file or directory; check the path"
    assert done.stderr == f"pasar: {tmp_path / 'none.json'} cannot be read or written: {reason}\n"


def test_output_that_is_full_is_said_in_one_sentence(tmp_path: Path) -> None:
    program = (sys.executable, "-c", "from ui.cli import main; main()", "down")
    with Path("/dev/full").open("w") as full:
        env = {**os.environ, "PASAR_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr == "pasar: the output cannot be read or written: no space left on device; check the path\n"
