"""The notebooks run from their first cell to their last, on the market that ``pasar demo --keep`` leaves up."""

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jupytext
import pytest

from tests.e2e.pasar import Pasar
from tests.notebooks.notebook import ROOT, SOURCES, execute, shown, texts

#: What each notebook says in the end, if it has proved what it is about.
FINDINGS = {
    "02_market_state": "runs were paid",
    "03_replay_audit": "On this machine that key is called *hasty*.",
    "04_subscribe": "Equal to the millisatoshi",
    "05_kernels": "25 tiles verified (agreed)",
    "06_follow_the_money": "Followed to the satoshi",
}
#: Longer definitions belong into a module, where they serve others too.
LINES_MAX = 10


@contextmanager
def home() -> Iterator[Pasar]:
    """A PASAR_HOME whose market is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pasar-notebooks-") as folder:
        path = Path(folder)
        path.chmod(0o755)  # PostgreSQL runs as another account when the tests run as root
        pasar = Pasar(path)
        try:
            yield pasar
        finally:
            pasar.run("down")
            pasar.until_gone()


@pytest.fixture(scope="module")
def market() -> Iterator[Pasar]:
    """A market with a history: many paid results, and a cheat who was caught."""
    with home() as pasar:
        pasar.json("demo", "--keep")
        yield pasar


@pytest.mark.parametrize("name", FINDINGS)
def test_notebook_finds_what_it_is_about(market: Pasar, name: str) -> None:
    notebook = execute(ROOT / "notebooks" / f"{name}.py", market.settings)
    assert FINDINGS[name] in texts(notebook)
    assert "Warning" not in texts(notebook, "stderr")


def test_ten_lines_lead_from_connect_to_a_verified_array(tmp_path: Path) -> None:
    source = ROOT / "notebooks" / "00_ten_lines.py"
    code = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    lines = [line for cell in code for line in cell.splitlines() if line.strip()]
    assert len(lines) <= LINES_MAX
    assert not any(word in line for line in lines for word in ("async", "await"))
    notebook = tmp_path / "ten_lines.ipynb"
    jupytext.write(jupytext.read(source), notebook)
    with home() as pasar:
        done = subprocess.run(
            (sys.executable, "-m", "pytest", "--nbmake", "-p", "no:cacheprovider", "-c", os.devnull, str(notebook)),
            env={**os.environ, "PASAR_HOME": str(pasar.home)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout


def test_first_notebook_starts_a_market_and_its_cards_end_in_their_last_state() -> None:
    with home() as pasar:
        notebook = execute(ROOT / "notebooks" / "01_first_job.py", pasar.settings)
    cards = [text for text in shown(notebook) if text.startswith("job ")]
    assert len(cards) == 2
    assert all("Completed" in text for text in cards)
    assert "Warning" not in texts(notebook, "stderr")


def test_every_notebook_is_run() -> None:
    assert {source.stem for source in SOURCES} == {"00_ten_lines", "01_first_job", *FINDINGS}


@pytest.mark.parametrize("source", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda source: source.stem)
def test_definitions_in_a_notebook_are_short(source: Path) -> None:
    tree = compile(source.read_text(), source, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [node.name for node in defined if (node.end_lineno or 0) - node.lineno >= LINES_MAX]
    assert long == []


def test_notebooks_are_kept_as_sources_alone() -> None:
    assert list((ROOT / "notebooks").rglob("*.ipynb")) == []
