"""``pasar schema``: the contract for subscribers and for clients in other languages."""

from typing import Annotated

import typer

from ui.format import AsJson, columns, print_json

app = typer.Typer(name="schema", help="The contract: every event and command, machine-readable.", no_args_is_help=True)


def add_to(root: typer.Typer) -> None:
    root.add_typer(app)


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List the events that the market publishes and the commands that it takes.

    Examples:

      pasar schema ls

      pasar schema ls --json | jq -r '.[] | select(.kind == "event") | .subject'
    """
    from services import schema

    found = schema.index()
    if as_json:
        print_json(found)
        return
    print(columns([("name", "kind", "subject", "meaning"), *((o.name, o.kind, o.subject, o.summary) for o in found)]))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of an event or command, as JobPosted or JobPosted.v1.")],
    as_json: AsJson = False,
) -> None:
    """Print the JSON Schema (2020-12) of one event or command; x-privacy says what a field may reveal.

    Examples:

      pasar schema show JobPosted

      pasar schema show TaskAssigned.v1 | jq '.properties | map_values(."x-privacy")'
    """
    from services import schema

    print_json(schema.one(name))


@app.command()
def asyncapi(as_json: AsJson = False) -> None:
    """Print the AsyncAPI 3.0 document of the event stream: channels, headers, messages.

    Examples:

      pasar schema asyncapi > pasar.asyncapi.json

      pasar schema asyncapi | jq -r '.channels[].address'
    """
    from services import schema

    print_json(schema.asyncapi())
