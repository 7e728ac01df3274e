"""Notebooks from their sources: kept as plain Python, converted and executed into ``build/notebooks``."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from services.config import Settings

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
BUILD: Final = ROOT / "build" / "notebooks"
#: The longest that one cell may take.
CELL_S: Final = 60


def execute(source: Path, settings: Settings) -> NotebookNode:
    """Run a notebook on the market in this home; what it showed is kept, also of one that fails.

    Raises:
        CellExecutionError: A cell raises.
    """
    notebook: NotebookNode = jupytext.read(source)
    place = {"metadata": {"path": str(source.parent)}}
    try:
        with tempfile.TemporaryDirectory(prefix="pasar-") as sockets:  # kernels warn where they are reached over TCP
            config = Config(AsyncKernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
            client = NotebookClient(notebook, kernel_name="python3", timeout=CELL_S, resources=place, config=config)
            client.execute(env={**os.environ, "PASAR_HOME": str(settings.home)})
    finally:
        BUILD.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, BUILD / f"{source.stem}.ipynb")
    return notebook


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """Everything that its cells showed."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def texts(notebook: NotebookNode, stream: str = "stdout") -> str:
    """What it printed, and with ``stdout`` also what it showed as text."""
    found: list[Any] = []
    for output in outputs(notebook):
        if output.output_type == "stream" and output.name == stream:
            found.append(output.text)
        elif "data" in output and stream == "stdout":
            found += [output.data.get("text/markdown", ""), output.data.get("text/plain", "")]
    return "\n".join(found)
