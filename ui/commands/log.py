"""``pasar log``: the log as a file, and what the market vouches for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from domain.errors import Refused
from ui.commands.running import attached, progress_bar, run
from ui.format import AsJson, count, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.config import Settings
    from services.ledger.root import SignedRoot

app = typer.Typer(name="log", help="The log as a file, and what the market vouches for.", no_args_is_help=True)


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


@app.callback()
def _noun() -> None:
    """The log as a file, and what the market vouches for with its key."""


class NoRootFile(Refused):
    template: ClassVar[str] = "{file} holds no signed root ({reason}); save one with `pasar log root --json > {file}`"


class NotWritten(Refused):
    template: ClassVar[str] = "{file} cannot be written ({reason}); nothing was saved, name another place"


@app.command()
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to, as pasar.jsonl.gz.")],
    upto: Annotated[int | None, typer.Option(min=0, help="The last position to save.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the log into a file that can be audited and looked at without a market, a database or a network.

    One JSON line an event, compressed by gzip: the same bytes for the same events. `pasar audit --file FILE` checks it,
    the page's Audit page opens it.

    Examples:

      pasar log save pasar.jsonl.gz

      pasar log save yesterday.jsonl.gz --upto 4211

      pasar log save pasar.jsonl.gz --json | jq -r .root
    """
    part = file.with_name(f"{file.name}.part")
    try:
        with progress_bar("events", quiet=as_json) as progress, part.open("wb") as output:
            events, root = run(_write(attached(), upto, output.write, progress))
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise NotWritten(file=file, reason=error.strerror or error) from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file), "events": events, "bytes": size, "root": root})
        return
    print(f"wrote {file}: {count(events, 'event')} in {size:,} bytes, root {root}")
    print(f"check it anywhere, without the market: `pasar audit --file {file}`")


async def _write(
    settings: "Settings", upto: int | None, write: "Callable[[bytes], object]", progress: "Callable[[int, int], None]"
) -> tuple[int, str]:
    """Number of events and Merkle root of what was written."""
    from services.ledger import merkle
    from services.ledger.reader import LogReader
    from services.viewing.archive import Zip

    assert settings.database_url is not None, "a stack that is up has a database"
    log = await LogReader.open(settings.database_url, connections_max=2)
    try:
        head = await log.head()
        last = head if upto is None else min(upto, head)
        zip_, tree = Zip(), merkle.CompactRange()
        async for page in log.iterate(0, last):
            tree.extend(map(merkle.leaf, page))
            write(zip_.page(page))
            progress(tree.size, last)
        write(zip_.end())
        return tree.size, tree.root.hex()
    finally:
        await log.close()


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
