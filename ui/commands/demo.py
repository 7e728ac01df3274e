"""``pasar demo``: the whole market at work, to watch or as JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ui.format import AsJson, columns, print_json, sat, say

if TYPE_CHECKING:
    from services.config import Settings
    from ui.demo import Progress, Report


def add_to(app: typer.Typer) -> None:
    """It has no noun: it stands at the root."""
    app.command()(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the market up afterwards, in PASAR_HOME.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch the whole market at work on this machine.

    Three workers train small classifiers of handwritten digits, each setting by two of them. One of the three cuts
    corners: it is caught, unpaid and slashed. It takes less than a minute. Exit status 0 only if every task was
    verified and the audit holds.

    Examples:

      pasar demo

      pasar demo --json | jq .accuracy

      pasar demo --keep && pasar status && pasar audit
    """
    import tempfile
    from pathlib import Path

    from services import config

    if keep:
        report = _run(config.from_environment(), as_json, keep=True)
    else:
        with tempfile.TemporaryDirectory(prefix="pasar-") as home:
            report = _run(config.Settings(home=Path(home)), as_json, keep=False)
    if not report.good:
        raise typer.Exit(1)


def _run(settings: "Settings", as_json: bool, *, keep: bool) -> "Report":
    import asyncio

    from services import logs
    from ui import demo as demonstration

    logs.configure(settings, "demo", terminal=False)
    with _bar(quiet=as_json) as (tell, show):
        run = demonstration.keep if keep else demonstration.run
        report = asyncio.run(run(settings, tell, show))
    if as_json:
        print_json(report)
    else:
        _show(report, keep=keep)
    return report


@contextmanager
def _bar(*, quiet: bool) -> "Iterator[tuple[Callable[[str], None], Callable[[Progress], None]]]":
    """What tells of each step, and a bar of verified tasks on a terminal."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    counts = (bars.TextColumn("verified"), bars.BarColumn(), bars.MofNCompleteColumn())
    fields = (*counts, bars.TextColumn("{task.fields[rest]}"), bars.TimeElapsedColumn())
    live = console.is_terminal and not quiet
    with bars.Progress(*fields, console=console, disable=not live, transient=True) as bar:
        shown = bar.add_task("verified", total=None, rest="", visible=False)

        def tell(text: str) -> None:
            if live:
                bar.console.print(text)
            elif not quiet:
                say(text)

        def show(progress: "Progress") -> None:
            rest = f"rejected {progress.rejected}"
            bar.update(shown, completed=progress.verified, total=progress.tasks, rest=rest, visible=True)

        yield tell, show


def _show(report: "Report", *, keep: bool) -> None:
    best = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in report.best.items())
    print(f"\n{report.verified} of {report.tasks} tasks verified, {report.rejected} results rejected")
    print(f"best setting: {best}")
    print(f"its accuracy on held-out test images: {report.accuracy:.1%}\n")
    rows = [("worker", "verified", "rejected", "earned", "stake lost")]
    for worker in report.workers:
        amounts = (sat(worker.earned_msat), sat(worker.slashed_msat))
        rows.append((worker.name, str(worker.verified), str(worker.rejected), *amounts))
    rows.append(("together", "", "", sat(report.paid_msat), sat(report.slashed_msat)))
    print(columns(rows))
    print(f"\nescrow funded by transaction {report.escrow_txid}")
    for name in report.payouts:
        print(f"workers paid by transaction  {name}")
    print(f"the log is bound into block {report.anchor_height}; miners got {report.fees_sat:,} sat")
    verdict = "every invariant holds" if report.audit["ok"] else "AN INVARIANT IS BROKEN; run `pasar audit`"
    print(f"\naudit of {report.events} events: {verdict}")
    print(f"{report.seconds:.1f} s in all")
    if keep:
        print(f"\nThe market is still up in {report.home}: `pasar status`, `pasar audit`, `pasar down`.")
        if report.page_url:
            print(f"look at it on {report.page_url}")
