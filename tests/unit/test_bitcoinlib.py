"""bitcoinlib behind its one door: nothing in the home directory, no database, no cost to who does not settle."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bitcoin import library

LOAD = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from services.settlement import lib
home, other = map(Path, sys.argv[1:])
with ThreadPoolExecutor(8) as pool:
    loaded = list(pool.map(lib.load, [home] * 8))
again = lib.load(other)
print(json.dumps({
    "one": all(found is loaded[0] for found in [*loaded, again]),
    "key": loaded[0].keys.Key(b"\\1" * 32).public_byte.hex(),
    "modules": sorted(sys.modules),
    "variable": os.environ.get("BCL_DATA_DIR"),
    "other": other.exists(),
}))
import sqlalchemy
"""


def test_loading_writes_into_its_home_alone_and_leaves_databases_out(tmp_path: Path) -> None:
    user, home, other = tmp_path / "user", tmp_path / "home", tmp_path / "other"
    user.mkdir()
    for _ in range(2):  # the second time everything is there
        environment = {**os.environ, "HOME": str(user), "XDG_DATA_HOME": str(user)}
        done = subprocess.run(
            (sys.executable, "-c", LOAD, home, other), env=environment, capture_output=True, text=True, check=True
        )
        told = json.loads(done.stdout)
        assert told["one"]
        assert told["key"] == "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f"
        assert not {"bitcoinlib.wallets", "bitcoinlib.services", "bitcoinlib.db"} & set(told["modules"])
        assert not [name for name in told["modules"] if name.partition(".")[0] in ("sqlalchemy", "requests")]
        assert told["variable"] is None
        assert not told["other"]
        assert not list(user.iterdir())
        files = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
        assert files == [
            "bitcoinlib",
            "bitcoinlib/config.ini",
            "bitcoinlib/database",
            "bitcoinlib/install.log",
            "bitcoinlib/networks.json",
        ]
        assert done.stderr == ""


def test_loading_refuses_a_locale_that_the_library_cannot_read(tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    program = """
import sys
from pathlib import Path
from services.settlement import lib
try:
    lib.load(Path(sys.argv[1]))
except lib.NotUtf8 as refused:
    print(refused)
"""
    done = subprocess.run(
        (sys.executable, "-c", program, tmp_path / "home"), env=environment, capture_output=True, text=True, check=True
    )
    assert "set PYTHONUTF8=1" in done.stdout
    assert not (tmp_path / "home").exists()


def test_who_does_not_settle_loads_neither_library() -> None:
    program = """
import sys
import services.bootstrap, ui.cli
print(sorted({name.partition('.')[0] for name in sys.modules} & {"bitcoinlib", "pbk", "fastecdsa", "sqlalchemy"}))
"""
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_refund_loads_no_market_and_no_network() -> None:
    program = """
import sys
import services.settlement.refund
heavy = {"bitcoinlib", "pbk", "nats", "jax", "asyncpg", "eventsourcing", "asyncio", "requests"}
print(sorted({name.partition('.')[0] for name in sys.modules} & heavy))
"""
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_of_the_library_are_not_logged_since_they_quote_keys(caplog: pytest.LogCaptureFixture) -> None:
    keys = library().keys
    with caplog.at_level(logging.DEBUG), pytest.raises(keys.BKeyError):
        keys.Key("5HpHagT65TZzG1PH3CSu63k8DbpvD8s5ip4nEB3kEsreAnchuD0")
    assert caplog.records == []
