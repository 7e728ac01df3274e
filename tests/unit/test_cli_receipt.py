"""``pasar receipt verify`` where there is no market: no service, no PASAR_HOME."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from domain.events import PayoutConfirmed
from services.config import Settings
from services.keys import party
from services.ledger.codec import decode_stored
from services.receipt import form, sentences
from services.receipt.form import Receipt
from tests.payroll import played
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


# ------------------------------------------------------------------------------------------------------------- payouts
@pytest.fixture
async def paid(file: Path) -> Path:
    """The receipt of a job that two payouts paid for."""
    game = played(MARKET.key)
    return put(file, await receipt_of(game.records, game.paid))


def put(file: Path, receipt: Receipt) -> Path:
    file.write_bytes(form.encode(receipt))
    return file


def test_payouts_are_told_in_sentences(paid: Path) -> None:
    game = played(MARKET.key)
    said = verify(paid, "--key", MARKET.key).stdout
    assert "- Payout 1 paid 20,000 sat of it in block 111, mined 2030-01-01 00:00:00 UTC, and binds" in said
    assert f"    transaction {game.market.txid_of(1)}\n    block       {game.blocks[0]}\n" in said
    assert f"    worker      {game.market.workers[0][:12]}… 10,000 sat" in said
    assert "All 45,000 sat that workers earned are paid, by 2 transactions." in said
    assert "The chain is regtest, where anybody makes blocks at no cost" in said
    assert "bitcoin-cli" not in said


def test_on_a_chain_of_worth_whoever_verifies_is_told_to_ask_a_node(paid: Path) -> None:
    claims = replace(form.decode(paid.read_bytes()).claims, network="signet")
    (said,) = sentences.chain(claims)
    assert f"`bitcoin-cli getblockheader {played(MARKET.key).blocks[1]}`, and name what it knows with --block" in said
    assert sentences.chain(claims, named=True) == ["Its blocks are among those that you know to be in the best chain."]


def test_payouts_are_told_in_json(paid: Path) -> None:
    game = played(MARKET.key)
    told = msgspec.json.decode(verify(paid, "--key", MARKET.key, "--json").stdout)
    claims = told["claims"]
    assert (claims["network"], claims["paid_msat"], claims["settled_msat"]) == ("regtest", 45_000_000, 45_000_000)
    assert [one["txid"] for one in claims["payouts"]] == [game.market.txid_of(1), game.market.txid_of(2, rung=1)]
    assert told["in_best_chain"] is None


def test_blocks_that_are_named_must_hold_the_payouts(paid: Path) -> None:
    first, second = played(MARKET.key).blocks
    done = verify(paid, "--any-key", "--block", first, "--block", second.upper())
    assert "Its blocks are among those that you know to be in the best chain." in done.stdout
    told = verify(paid, "--any-key", "--block", first, "--json")
    assert (told.exit_code, msgspec.json.decode(told.stdout)["check"]) == (1, "block")


def test_blocks_can_be_named_in_a_file_by_hash_or_header(paid: Path) -> None:
    headers = paid.with_name("headers")
    first, second = played(MARKET.key).blocks
    events = (event.stored for event in form.decode(paid.read_bytes()).events)
    header = next(event.header for event in map(decode_stored, events) if isinstance(event, PayoutConfirmed))
    headers.write_text(f"# from my node\n{header}\n\n{second}\n")
    told = msgspec.json.decode(verify(paid, "--any-key", "--headers", str(headers), "--json").stdout)
    assert told["in_best_chain"] is True
    headers.write_text(f"{first}\nnone\n")
    assert "'none' names no block" in str(verify(paid, "--any-key", "--headers", str(headers)).exception)
    assert "cannot be read" in str(verify(paid, "--any-key", "--headers", str(headers / "x")).exception)


async def test_what_is_earned_and_not_paid_yet_is_told(file: Path) -> None:
    game = played(MARKET.key)
    put(file, await receipt_of(game.records, game.earned))
    assert "200 sat are earned, not paid yet: the next payout is planned when" in verify(file, "--any-key").stdout
    told = msgspec.json.decode(verify(file, "--any-key", "--block", "0" * 64, "--json").stdout)
    assert (told["claims"]["payouts"], told["in_best_chain"]) == ([], None)


def test_market_without_a_chain_is_said_to_have_none(file: Path) -> None:
    assert "not paid on a chain: the market has not joined one." in verify(file, "--any-key").stdout


def test_verifying_loads_no_driver(paid: Path) -> None:
    """In a process of its own, as whoever keeps the file runs it."""
    told = (
        "import sys\n"
        "from ui.cli import app\n"
        f"try: app(['receipt', 'verify', {str(paid)!r}, '--any-key'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print({name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run((sys.executable, "-c", told), capture_output=True, text=True, check=True).stdout
    loaded = done.splitlines()[-1]
    assert "All 45,000 sat" in done
    for driver in ("asyncpg", "nats", "jax", "eventsourcing", "bitcoinlib", "pbk", "Crypto", "sqlalchemy"):
        assert f"'{driver}'" not in loaded
