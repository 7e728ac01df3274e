"""Rows of a read model, as a list that shows itself as a table."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final, TypeVar

from msgspec import Struct

from services.client.words import columns, sat, short

Row = TypeVar("Row", bound=Struct)
#: Rows that are shown; all of them are there.
ROWS_SHOWN: Final = 20


class Listing(list[Row]):
    """A list of structs. ``names``: the fields that are shown."""

    def __init__(self, rows: Iterable[Row], names: Sequence[str]) -> None:
        super().__init__(rows)
        self._names = names

    def __repr__(self) -> str:
        return columns([self._heading(), *self._cells()]) + self._rest()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        head = "".join(f"<th>{escape(name)}</th>" for name in self._heading())
        body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in cells)}</tr>" for cells in self._cells())
        return {"text/plain": repr(self), "text/html": f"<table><tr>{head}</tr>{body}</table>{escape(self._rest())}"}

    def _heading(self) -> tuple[str, ...]:
        return tuple(name.removesuffix("_msat").removesuffix("_sat").replace("_", " ") for name in self._names)

    def _cells(self) -> list[tuple[str, ...]]:
        return [tuple(_cell(name, getattr(row, name)) for name in self._names) for row in self[:ROWS_SHOWN]]

    def _rest(self) -> str:
        rest = len(self) - ROWS_SHOWN
        return f"\n{rest:,} more" if rest > 0 else "" if self else "\nnone"


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return "-"
        case int() if name.endswith("_msat"):
            return sat(value)
        case int() if name.endswith("_sat"):
            return f"{value:,} sat"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case str():
            return short(value)
    return str(value)
