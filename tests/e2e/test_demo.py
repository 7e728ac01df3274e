"""``pasar demo``: the whole market on real input, and nothing of it afterwards."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from services.config import Settings
from tests.e2e.pasar import Pasar
from tests.system.embedded import wait_until
from tests.system.market import processes_of


@pytest.fixture
def pasar() -> Iterator[Pasar]:
    """The program with a directory for temporary files of its own."""
    with tempfile.TemporaryDirectory(prefix="pasar-e2e-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another account when the tests run as root
        yield Pasar(home)


def home_of_demo(pasar: Pasar) -> Settings | None:
    """Where the running demo keeps its market."""
    found = [Path(entry) for entry in os.scandir(pasar.home) if entry.name.startswith("pasar-")]
    return Settings(home=found[0]) if found else None


def test_demo_finds_a_good_classifier_catches_the_cheat_and_leaves_nothing(pasar: Pasar) -> None:
    report = pasar.json("demo")
    assert report["accuracy"] >= 0.93
    assert report["verified"] == report["tasks"]
    assert report["slashed_msat"] > 0
    assert len(report["escrow_txid"]) == len(report["payout_txid"]) == 64
    assert report["anchor_height"] > 100
    assert 0 < report["fees_sat"] * 1_000 <= report["paid_msat"] * 2 // 100
    assert report["audit"]["ok"]
    cheat = next(worker for worker in report["workers"] if worker["slashed_msat"])
    assert (cheat["name"], cheat["rejected"] > 0) == ("hasty", True)
    assert not Path(report["home"]).exists()
    pasar.until_gone()


@pytest.mark.parametrize("service", ["postgres", "market", "hasty"])
def test_demo_that_is_interrupted_leaves_nothing(pasar: Pasar, service: str) -> None:
    """However far it has come: its database, its market or its last worker has just started."""
    running = pasar.start("demo")

    def begun() -> bool:
        assert running.poll() is None, running.communicate()[0]
        settings = home_of_demo(pasar)
        state = settings and settings.home / "run" / "stack.json"
        if not state or not state.exists():
            return False
        return any(one["name"] == service for one in msgspec.json.decode(state.read_bytes())["services"])

    wait_until(begun, timeout_s=60)
    said = pasar.interrupt(running)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert home_of_demo(pasar) is None
    assert processes_of(pasar.settings) == []
    pasar.until_gone()
