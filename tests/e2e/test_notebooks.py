"""The notebooks run from their first cell to their last, each on a market that it starts itself."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.pasar import Pasar

pytest.importorskip("nbmake", reason="the notebooks' group is not installed: uv sync --group notebooks")
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))
DEADLINE_S = 120


@pytest.fixture
def home() -> Iterator[Path]:
    """A PASAR_HOME whose market is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pasar-notebook-") as folder:
        path = Path(folder)
        path.chmod(0o755)  # PostgreSQL runs as another account when the tests run as root
        try:
            yield path
        finally:
            pasar = Pasar(path)
            pasar.run("down")
            pasar.until_gone()


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda source: source.stem)
def test_notebook_runs_and_its_cards_end_in_their_last_state(source: Path, home: Path, tmp_path: Path) -> None:
    notebook = tmp_path / f"{source.stem}.ipynb"
    environment = {**os.environ, "PASAR_HOME": str(home)}
    convert = (sys.executable, "-m", "jupytext", "--to", "ipynb", "-o", str(notebook), str(source))
    subprocess.run(convert, check=True, capture_output=True)
    execute = ("--nbmake", f"--nbmake-timeout={DEADLINE_S}", "--overwrite", "-p", "no:cacheprovider", "-c", os.devnull)
    done = subprocess.run(
        (sys.executable, "-m", "pytest", *execute, str(notebook)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    shown = [
        "".join(output["data"]["text/plain"])
        for cell in json.loads(notebook.read_text())["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == "display_data" and "text/plain" in output["data"]
    ]
    jobs = [text for text in shown if text.startswith("job ")]
    assert all("Being posted" not in text and "Running" not in text and "Offered" not in text for text in jobs)
    assert jobs or source.stem != "01_first_job"
