"""``pasar audit`` and ``pasar projection`` on a database."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from domain.errors import Refused
from services.ledger.reader import LogReader
from services.projections.generations import PROJECTIONS
from services.projections.runner import Projector
from tests.history import tree_of, write_log
from tests.logs import zipped
from tests.simulate import Simulation
from tests.system.test_projections import rows_of, running
from ui.commands import audit, log, projection


@pytest.fixture
def history(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """A log and its read models in the database that the commands use."""
    game = Simulation(8).run(400)
    monkeypatch.setenv("PASAR_DATABASE_URL", database_url)
    monkeypatch.setenv("PASAR_NATS_URL", "nats://nobody.invalid")

    async def write() -> None:
        await write_log(database_url, game.records)
        log = await LogReader.open(database_url)
        try:
            async with running(Projector(log, database_url)) as projector:
                await projector.caught_up(len(game.records))
        finally:
            await log.close()

    asyncio.run(write())
    return game


def pasar(*arguments: str) -> Result:
    app = typer.Typer()
    audit.add_to(app)
    projection.add_to(app)
    log.add_to(app)
    return CliRunner().invoke(app, arguments)


def test_audit_command_passes_an_honest_market(history: Simulation) -> None:
    done = pasar("audit", "--json")
    assert done.exit_code == 0, done.output
    verdict = msgspec.json.decode(done.stdout)
    assert verdict["ok"]
    assert verdict["checked"] == len(history.records)
    assert verdict["root"] == tree_of(history.records).root.hex()
    assert {found["name"] for found in verdict["invariants"]} >= {"log", "merkle", "money", "read_models"}


def test_audit_command_fails_and_names_a_read_model_that_was_changed(history: Simulation, database_url: str) -> None:
    asyncio.run(rows_of(database_url, "UPDATE workers_g1.workers SET earned_msat = earned_msat + 1"))
    done = pasar("audit")
    assert done.exit_code == 1
    assert "read_models  " in done.stdout
    assert "workers differs from a fresh fold" in done.stdout


def test_audit_command_looks_at_a_part(history: Simulation) -> None:
    done = pasar("audit", "--upto", "100", "--json")
    assert done.exit_code == 0
    assert msgspec.json.decode(done.stdout)["checked"] == 100


def test_log_is_saved_and_audited_without_the_market(
    history: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pasar.jsonl.gz"
    said = msgspec.json.decode(pasar("log", "save", str(file), "--json").stdout)
    assert said["events"] == len(history.records)
    assert said["bytes"] == file.stat().st_size
    assert file.read_bytes() == zipped(history.records)
    part = tmp_path / "part.gz"
    done = pasar("log", "save", str(part), "--upto", "100")
    assert done.exit_code == 0, done.output
    assert f"wrote {part}: 100 events in {part.stat().st_size:,} bytes" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["part.gz", "pasar.jsonl.gz"]
    for name in ("PASAR_DATABASE_URL", "PASAR_NATS_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PASAR_HOME", str(tmp_path / "nowhere"))
    verdict = msgspec.json.decode(pasar("audit", "--file", str(file), "--json").stdout)
    assert (verdict["ok"], verdict["checked"], verdict["root"]) == (True, len(history.records), said["root"])
    upto = msgspec.json.decode(pasar("audit", "--file", str(file), "--upto", "100", "--json").stdout)
    assert (upto["checked"], upto["root"]) == (100, tree_of(history.records[:100]).root.hex())
    assert not (tmp_path / "nowhere").exists()


def test_saved_log_that_was_changed_fails_the_audit_at_that_event(history: Simulation, tmp_path: Path) -> None:
    paid = next(one for one in history.records if one.name == "EscrowReleased.v1")
    more = paid._replace(data=paid.data.replace(b'"amount_msat":', b'"amount_msat":9', 1))
    file = tmp_path / "changed.jsonl.gz"
    file.write_bytes(zipped([more if one is paid else one for one in history.records]))
    done = pasar("audit", "--file", str(file))
    assert done.exit_code == 1
    assert f"event {paid.position} EscrowReleased" in done.stdout


def test_log_commands_refuse_what_is_no_log_and_where_none_can_be_written(history: Simulation, tmp_path: Path) -> None:
    file = tmp_path / "nonsense"
    file.write_text("nonsense")
    assert "pasar log save FILE" in str(pasar("audit", "--file", str(file)).exception)
    assert "cannot be read" in str(pasar("audit", "--file", str(tmp_path / "missing")).exception)
    refused = pasar("log", "save", str(tmp_path / "no" / "folder.gz")).exception
    assert isinstance(refused, Refused)
    assert "nothing was saved" in str(refused)


def test_projection_commands_rebuild_and_roll_back(history: Simulation) -> None:
    for model in PROJECTIONS:
        done = pasar("projection", "rebuild", model.name, "--json")
        assert done.exit_code == 0, done.output
        assert msgspec.json.decode(done.stdout)["generation"] == 2
    assert "equal to the old one" in pasar("projection", "rebuild", "jobs").stdout
    assert pasar("projection", "rollback", "jobs").stdout == "jobs: generation 2 is live\n"
    listed = msgspec.json.decode(pasar("projection", "list", "--json").stdout)
    assert {(row["name"], row["generation"]) for row in listed if row["live"]} == {(m.name, 2) for m in PROJECTIONS}


def test_projection_rebuild_refuses_a_name_that_is_none(history: Simulation) -> None:
    done = pasar("projection", "rebuild", "nonsense")
    assert isinstance(done.exception, Refused)
    assert "pasar projection list" in str(done.exception)
