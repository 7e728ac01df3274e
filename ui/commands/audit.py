"""``pasar audit``: replays the log and checks every invariant."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.log import read_root
from ui.commands.running import attached, progress_bar
from ui.format import AsJson, columns, print_json

if TYPE_CHECKING:
    from services.audit import Verdict


def add_to(app: typer.Typer) -> None:
    """It has no noun: it stands at the root."""
    app.command()(audit)


def audit(
    upto: Annotated[int | None, typer.Option(min=0, help="The last position to look at.")] = None,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A root that the market signed earlier; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the log and check what must hold.

    Names the first event that breaks an invariant; exit status 1 if there is one. With --upto the read models, which
    are further, are left out. A root signed by the market (`pasar log root --json`) that you kept shows whether the log
    still begins with the history that it was signed over.

    Examples:

      pasar audit

      pasar audit --upto 1000 --json | jq -r .root

      pasar audit --root yesterday.json --root today.json
    """
    import asyncio

    from services import audit as audits

    signed = [read_root(file) for file in root or ()]
    with progress_bar("events", quiet=as_json) as progress:
        verdict = asyncio.run(audits.of_market(attached(), upto=upto, signed=signed, progress=progress))
    if as_json:
        print_json(verdict)
    else:
        _show(verdict)
    if not verdict.ok:
        raise typer.Exit(1)


def _show(verdict: "Verdict") -> None:
    rows = [("invariant", "checked", "")]
    rows += [(found.name, str(found.checked), "ok" if found.ok else "BROKEN") for found in verdict.invariants]
    print(columns(rows))
    for found in verdict.invariants:
        if found.first_violation is not None:
            at = found.first_violation
            print(f"{found.name}: event {at.position} {at.event}: {at.what}")
    print(f"{verdict.checked} events, root {verdict.root}")
