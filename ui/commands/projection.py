"""``pasar projection``: the read models and where they are."""

from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.running import ask, database_url, progress_bar
from ui.format import AsJson, columns, print_json

if TYPE_CHECKING:
    from services.projections.queries import Position

app = typer.Typer(name="projection", help="Read models: where they are, rebuilding them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the read model, as `pasar projection list` shows it.")]


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show where each read model is.

    Exit status 1 if one has stopped at an event that it cannot fold.

    Examples:

      pasar projection list

      pasar projection list --json | jq '.[] | select(.live) | .position'
    """
    found = ask(lambda reader: reader.positions(kept=True))
    if as_json:
        print_json(found)
    else:
        print(columns([("name", "generation", "position", "state"), *map(_cells, found)]))
    if any(one.live and one.poison for one in found):
        raise typer.Exit(1)


@app.command()
def rebuild(name: Name, as_json: AsJson = False) -> None:
    """Fold a read model again from the log.

    Readers see the old rows until the new ones are complete and compared with them.

    Examples:

      pasar projection rebuild jobs
    """
    import asyncio

    from services.projections.rebuild import rebuild as build

    with progress_bar(name, quiet=as_json) as progress:
        built = asyncio.run(build(database_url(), name, progress=progress))
    if as_json:
        print_json(built)
        return
    print(f"{name}: generation {built.generation} is live at position {built.position}")
    if built.compared is None:
        print("the old one was made by another revision and not compared")
    elif built.compared.equal:
        print(f"it is equal to the old one: {built.compared.rows} rows at position {built.compared.position}")
    else:
        print(f"the old one differed at position {built.compared.position}; the first rows:")
        for sign, rows in (("-", built.compared.extra), ("+", built.compared.missing)):
            print("\n".join(f"{sign} {row}" for row in rows))


@app.command()
def rollback(name: Name, as_json: AsJson = False) -> None:
    """Let the rows from before the last rebuild go live again.

    Examples:

      pasar projection rollback jobs
    """
    import asyncio

    from services.projections.rebuild import roll_back

    number = asyncio.run(roll_back(database_url(), name))
    print_json({"name": name, "generation": number}) if as_json else print(f"{name}: generation {number} is live")


def _cells(one: "Position") -> tuple[str, ...]:
    state = f"stopped at {one.poison_pos}: {one.poison}" if one.poison else "live" if one.live else "kept"
    return one.name, str(one.generation), str(one.position), state
