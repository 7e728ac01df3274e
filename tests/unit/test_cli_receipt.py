"""``pasar receipt verify`` where there is no market: no service, no PASAR_HOME."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from services.config import Settings
from services.keys import party
from services.receipt import form
from tests.receipts import MARKET, a_market, eventful_job, receipt_of
from tests.unit.test_commands import MALLORY
from ui.cli import app

RECORDS = a_market().records
JOB = eventful_job(RECORDS)


@pytest.fixture
async def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PASAR_MARKET_KEY", "PASAR_HOME", "PASAR_DATABASE_URL", "PASAR_NATS_URL", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    path = tmp_path / "receipt.json"
    path.write_bytes(form.encode(await receipt_of(RECORDS, JOB)))
    return path


def verify(file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ("receipt", "verify", str(file), *options))


def test_receipt_that_holds_is_told_in_sentences(file: Path) -> None:
    done = verify(file, "--key", MARKET.key)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"The receipt holds for job {JOB}.\n- Market {MARKET.key} signed a log of ")
    assert "The key is the receipt's own word" not in done.stdout
    assert "The key is the receipt's own word" in verify(file, "--any-key").stdout
    assert not (file.parent / "nowhere").exists()


def test_receipt_that_holds_is_told_in_json(file: Path) -> None:
    told = msgspec.json.decode(verify(file, "--key", MARKET.key, "--json").stdout)
    assert (told["ok"], told["job"], told["market"]) == (True, JOB, MARKET.key)
    claims = told["claims"]
    assert claims["reserved_msat"] == claims["paid_msat"] + claims["charged_msat"] + claims["freed_msat"]


def test_receipt_that_does_not_hold_names_the_check_and_fails(file: Path) -> None:
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"replica":0', b'"replica":1', 1))
    done = verify(file, "--any-key")
    assert done.exit_code == 1
    assert "does not hold (inclusion)" in str(done.exception)
    told = verify(file, "--any-key", "--json")
    assert told.exit_code == 1
    assert msgspec.json.decode(told.stdout)["check"] == "inclusion"


def test_receipt_of_another_market_fails(file: Path) -> None:
    done = verify(file, "--key", MALLORY.key, "--json")
    assert (done.exit_code, msgspec.json.decode(done.stdout)["check"]) == (1, "key")


def test_result_file_is_held_against_the_receipt(file: Path) -> None:
    task = form.decode(file.read_bytes()).claims.results[0].task
    result = file.with_name("result")
    result.write_bytes(f"{JOB} {task}".encode())
    assert f"{result} is the result of task {task}." in verify(file, "--any-key", "--result", str(result)).stdout
    result.write_bytes(b"other")
    assert "no verified result of the job" in str(verify(file, "--any-key", "--result", str(result)).exception)
    assert "cannot be read" in str(verify(file, "--any-key", "--result", str(file.with_name("missing"))).exception)


def test_receipt_under_a_key_that_nobody_knows_does_not_hold_by_itself(file: Path) -> None:
    done = verify(file)
    assert done.exit_code == 1
    assert "--key KEY" in str(done.exception)
    assert "--any-key" in str(done.exception)
    told = verify(file, "--json")
    assert (told.exit_code, msgspec.json.decode(told.stdout)["check"]) == (1, "key")


def test_receipt_must_be_of_the_market_that_this_machine_knows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASAR_MARKET_KEY", MARKET.key)
    assert verify(file).exit_code == 0
    monkeypatch.delenv("PASAR_MARKET_KEY")
    monkeypatch.setenv("PASAR_HOME", str(file.parent / "home"))
    party(Settings(home=file.parent / "home"), "market")
    forged = verify(file)
    assert forged.exit_code == 1
    assert "does not hold (key)" in str(forged.exception)
