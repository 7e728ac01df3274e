"""``pasar log``: what the market vouches for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from domain.errors import Refused
from ui.commands.running import attached, run
from ui.format import AsJson, print_json

if TYPE_CHECKING:
    from services.ledger.root import SignedRoot

app = typer.Typer(name="log", help="What the market vouches for with its key.", no_args_is_help=True)


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


@app.callback()
def _noun() -> None:
    """What the market vouches for with its key."""


class NoRootFile(Refused):
    template: ClassVar[str] = "{file} holds no signed root ({reason}); save one with `pasar log root --json > {file}`"


@app.command()
def root(
    covers: Annotated[
        int, typer.Option(min=0, metavar="POSITION", help="It must cover this event; the market waits a moment for it.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Print the Merkle root of the log as it is on disk now, signed by the market.

    Whoever keeps it can show later that the log was changed: `pasar audit --root FILE`.

    Examples:

      pasar log root

      pasar log root --covers 344 --json > root.json
    """
    from services import bootstrap

    signed = run(bootstrap.signed_root(attached(), covers=covers))
    if as_json:
        print_json(signed)
        return
    print(f"{signed.size} events, root {signed.root}")
    print(f"signed at {signed.at:%Y-%m-%d %H:%M:%S} UTC by market {signed.market}")


def read_root(file: Path) -> "SignedRoot":
    """A signed root as ``pasar log root --json`` prints it.

    Raises:
        NoRootFile: The file holds none.
        NotSigned: The signature is not the market's.
    """
    import msgspec

    from services.ledger.root import SignedRoot

    try:
        signed = msgspec.json.decode(file.read_bytes(), type=SignedRoot)
    except OSError as error:
        raise NoRootFile(file=file, reason=error.strerror or "it cannot be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoRootFile(file=file, reason=error) from None
    signed.check()
    return signed
