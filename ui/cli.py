"""``pasar``: one program, a verb after a noun.

Each noun is a module in ``ui/commands`` with a typer app of its own; a module imports what it needs inside its
functions, so that ``pasar --help`` loads neither drivers nor JAX.
"""

import sys
from typing import Annotated

import typer

from domain.errors import Refused
from ui.commands import audit, demo, projection, stack

app = typer.Typer(
    name="pasar",
    help="An open market for computing power: verified work, paid from escrow, provable from one log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
demo.add_to(app)
stack.add_to(app)
audit.add_to(app)
projection.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("pasar"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the whole program."""


def main() -> None:
    """Run the command line; a refusal is one sentence on standard error and status 1."""
    try:
        app()
    except Refused as refused:
        print(f"pasar: {refused}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader, `head` say, has seen enough
        sys.exit(0)
