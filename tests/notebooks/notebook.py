"""Notebooks from their sources: kept as plain Python, converted and executed into ``build/notebooks``."""

import os
import tempfile
from pathlib import Path
from typing import Final

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from services.config import Settings

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
BUILD: Final = ROOT / "build" / "notebooks"
#: The longest that one cell may take, on a machine that has other work too.
CELL_S: Final = 120


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


def shown(notebook: NotebookNode) -> list[str]:
    """What its cells showed, as text."""
    found = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    return [data["text/markdown"] if "text/markdown" in data else data.get("text/plain", "") for data in found]


def texts(notebook: NotebookNode, stream: str = "stdout") -> str:
    """What its cells printed on a stream, and with the standard one what they showed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = [one.text for one in outputs if one.output_type == "stream" and one.name == stream]
    return "\n".join([*printed, *(shown(notebook) if stream == "stdout" else ())])
