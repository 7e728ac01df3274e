"""What the commands refuse before they ask the market, and that each says how it is used."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from domain.errors import Refused
from services import arrays
from ui.cli import app

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
