"""``pasar``: one program, a verb after a noun.

Each noun is a module in ``ui/commands`` with a typer app of its own; a module imports what it needs inside its
functions, so that ``pasar --help`` loads neither drivers nor JAX.
"""

import errno
import os
import sys
from typing import Annotated, ClassVar, NoReturn

import typer

from domain.errors import Refused
from ui.commands import audit, chain, demo, escrow, events, job, log, payout, projection, receipt, schema, stack, worker
from ui.format import in_sat

app = typer.Typer(
    name="pasar",
    help="An open market for computing power: verified work, paid from escrow, provable from one log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (demo, stack, job, receipt, worker, escrow, payout, chain, events, log, audit, projection, schema):
    commands.add_to(app)


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
        _refuse(refused)
    except BaseExceptionGroup as group:
        refusals, others = group.split(Refused)
        if refusals is None or others is not None:
            raise
        _refuse(_first(refusals))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, `head` say, has seen enough
        sys.exit(0)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        where = "the output" if error.filename is None else error.filename
        _refuse(FileUnusable(path=where, reason=(error.strerror or type(error).__name__).lower()))


class FileUnusable(Refused):
    template: ClassVar[str] = "{path} cannot be read or written: {reason}; check the path"


def _refuse(refused: BaseException) -> NoReturn:
    print(f"pasar: {in_sat(str(refused))}", file=sys.stderr)
    sys.exit(1)


def _first(group: BaseException) -> BaseException:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group
