"""How values are written for people and for programs."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

#: The option that every command has.
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def say(text: str) -> None:
    """A sentence to the person at the terminal, apart from the output."""
    print(text, file=sys.stderr, flush=True)


def ago(moment: datetime, *, now: datetime | None = None) -> str:
    """How long since, in one unit: ``3 min``."""
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under each other; the first one holds the headings."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
