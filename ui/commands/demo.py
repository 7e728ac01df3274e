"""``pasar demo``."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ui.format import AsJson, columns, print_json, say


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the market up afterwards, in PASAR_HOME.")] = False,
    json: AsJson = False,
) -> None:
    """Run the whole market on this machine, on real input, in under a minute.

    Three workers train 24 small classifiers on handwritten digits, each point by two of them. One worker cuts corners;
    watch it being caught, unpaid and slashed.

    Examples:

      pasar demo

      pasar demo --json | jq .accuracy

      pasar demo --keep && pasar status && pasar audit
    """
    from services import config, logs

    settings = config.from_environment()
    if keep:
        _run(settings, json, keep=True)
        return
    with tempfile.TemporaryDirectory(prefix="pasar-demo-") as home:
        _run(config.Settings(home=Path(home)), json, keep=False)


def _run(settings: "object", json: bool, *, keep: bool) -> None:
    from ui import demo as demonstration

    print_json("todo")
    raise SystemExit(1)
