"""``pasar audit``: replays the log, or a file of it, and checks every invariant."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from domain.errors import Refused
from ui.commands.log import read_root
from ui.commands.running import attached, progress_bar
from ui.format import AsJson, columns, count, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.audit import Verdict
    from services.ledger.root import SignedRoot


class NoLogFile(Refused):
    template: ClassVar[str] = "{file} cannot be read ({reason}); name a file that `pasar log save FILE` wrote"


def add_to(app: typer.Typer) -> None:
    """It has no noun: it stands at the root."""
    app.command()(audit)


def audit(
    upto: Annotated[int | None, typer.Option(min=0, help="The last position to look at.")] = None,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A root that the market signed earlier; may be repeated.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Audit a log that `pasar log save` wrote, with no market and no database."),
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

      pasar log save pasar.jsonl.gz && pasar audit --file pasar.jsonl.gz
    """
    import asyncio

    signed = [read_root(file) for file in root or ()]
    with progress_bar("events", quiet=as_json) as progress:
        work = _of_market if file is None else partial(_of_file, _read(file))
        verdict = asyncio.run(work(upto, signed, progress))
    if as_json:
        print_json(verdict)
    else:
        _show(verdict)
        if upto is not None and upto > verdict.checked:
            say(f"the log ends at event {verdict.checked:,}; there is no event {upto:,} yet")
    if not verdict.ok:
        raise typer.Exit(1)


async def _of_market(
    upto: int | None, signed: "Sequence[SignedRoot]", progress: "Callable[[int, int], None]"
) -> "Verdict":
    from services import audit as audits

    return await audits.of_market(attached(), upto=upto, signed=signed, progress=progress)


async def _of_file(
    content: bytes, upto: int | None, signed: "Sequence[SignedRoot]", progress: "Callable[[int, int], None]"
) -> "Verdict":
    from services import audit as audits
    from services.viewing.archive import Replayable, read

    return await audits.audit(Replayable(read(content)), upto=upto, signed=signed, progress=progress)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NoLogFile(file=file, reason=error.strerror) from None


def _show(verdict: "Verdict") -> None:
    rows = [("invariant", "checked", "")]
    rows += [(found.name, str(found.checked), "ok" if found.ok else "BROKEN") for found in verdict.invariants]
    print(columns(rows))
    for found in verdict.invariants:
        if found.first_violation is not None:
            at = found.first_violation
            print(f"{found.name}: event {at.position} {at.event}: {at.what}")
    held = "every invariant holds on" if verdict.ok else "something is wrong in"
    print(f"{held} {count(verdict.checked, 'event')}, root {verdict.root}")
