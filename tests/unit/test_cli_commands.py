"""What the commands refuse before they ask the market, and that each says how it is used."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from msgspec.structs import fields
from typer.testing import CliRunner, Result

from domain.errors import Refused
from services import arrays
from services.config import Settings
from services.projections.queries import Escrow
from ui.cli import app
from ui.commands import escrow

ROOT = typer.main.get_command(app)


def pasar(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def refusal(*arguments: str) -> str:
    """The sentence that the command is refused with."""
    done = pasar(*arguments)
    assert isinstance(done.exception, Refused), done.output
    assert done.stdout == ""
    return str(done.exception)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PASAR_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", sorted(commands(ROOT)), ids=" ".join)
def test_command_shows_an_example_and_answers_in_json(path: tuple[str, ...]) -> None:
    shown = pasar(*path, "--help")
    assert shown.exit_code == 0
    assert f"pasar {' '.join(path)}" in shown.stdout.partition("Examples:")[2]
    assert "--json" in shown.stdout or path in {("worker", "run"), ("ui",)}  # these stay until Ctrl-C


@pytest.mark.parametrize(
    "arguments",
    [
        ("job", "list"),
        ("job", "show", "3fa2"),
        ("job", "watch", "3fa2"),
        ("job", "cancel", "3fa2"),
        ("worker", "list"),
        ("worker", "run"),
        ("worker", "status", "anna"),
        ("escrow", "show"),
        ("escrow", "fund", "12"),
        ("events",),
        ("audit",),
        ("projection", "list"),
    ],
    ids=" ".join,
)
def test_command_says_what_to_do_when_no_market_runs(arguments: tuple[str, ...], home: Path) -> None:
    assert refusal(*arguments) == f"no stack runs on {home}; start one with `pasar up`"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("escrow", "fund", "twelve"), "'twelve' is no amount of money"),
        (("escrow", "refund"), "say how much"),
        (("escrow", "refund", "12", "--all"), "say how much"),
        (("job", "list", "--state", "lost"), "no job is ever lost"),
        (("events", "--job", "3fa2", "--name", "JobPosted"), "choose one of"),
        (("schema", "show", "Nonsense"), "there is no event or command Nonsense"),
        (("job", "post", __file__, "--price", "2"), "say how many tasks"),
        (("job", "post", "nowhere.program", "--price", "2", "--tasks", "1"), "nowhere.program cannot be used: No such"),
        (("job", "post", "x", "--price", "2", "--tasks", "1", "--deadline", "soon"), "'soon' is no time"),
        (("job", "post", "optoin", "--tasks", "1"), "optoin cannot be used: No such file or directory; the catalogue"),
        (("job", "quote", "option", "--set", "paths"), "'paths' chooses nothing"),
        (("job", "quote", "option", "--set", "path=1000"), "option has no parameter 'path'; it has paths"),
        (("job", "quote", "option", "--set", "paths=1"), "paths of option is 1; give one from 100 to 10000000"),
    ],
)
def test_command_is_refused_with_the_next_step(arguments: tuple[str, ...], sentence: str) -> None:
    assert refusal(*arguments).startswith(sentence)


def test_job_is_refused_when_its_arrays_do_not_fit(home: Path) -> None:
    program, rows, uneven, scalar = (home / name for name in ("p", "rows", "uneven", "scalar"))
    program.write_bytes(b"any")
    rows.write_bytes(arrays.pack({"x": np.arange(3)}))
    uneven.write_bytes(arrays.pack({"x": np.arange(3), "y": np.arange(4)}))
    scalar.write_bytes(arrays.pack({"x": np.float32(1)[()].reshape(())}))
    post = ("job", "post", str(program), "--price", "2")
    assert "it has 3 rows for 4 tasks" in refusal(*post, "--mapped", str(rows), "--tasks", "4")
    assert "the same number of rows" in refusal(*post, "--mapped", str(uneven))
    assert "the same number of rows" in refusal(*post, "--mapped", str(scalar))
    assert "not named arrays" in refusal(*post, "--tasks", "1", "--shared", str(program))


def test_schema_is_printed_without_a_market() -> None:
    assert "JobPosted.v1" in pasar("schema", "ls").stdout
    assert '"$id": "urn:pasar:JobPosted.v1"' in pasar("schema", "show", "JobPosted").stdout
    assert '"asyncapi": "3.0.0"' in pasar("schema", "asyncapi").stdout


def test_number_that_no_payout_can_have_is_a_usage_error() -> None:
    assert pasar("payout", "show", "9" * 23).exit_code == 2
    assert pasar("payout", "list", "--limit", "9" * 20).exit_code == 2


def test_transaction_that_no_node_takes_is_refused_before_it_is_sent() -> None:
    assert "400,001 bytes are no transaction" in refusal("chain", "send", "00" * 400_001)


def test_every_escrow_is_listed_with_a_heading_for_each_amount(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = {name: 1_000 * number for number, name in enumerate(names_of(Escrow)) if name.endswith("_msat")}
    one = Escrow(**{**dict.fromkeys(names_of(Escrow), "5e" * 12), **amounts})
    monkeypatch.setattr(escrow, "attached", lambda: Settings(home=home))
    monkeypatch.setattr(escrow, "ask", lambda question: [one])
    heading, row = pasar("escrow", "show", "--all").stdout.splitlines()
    assert "charged" in heading
    assert row.startswith(one.escrow)


def names_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
