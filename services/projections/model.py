"""What a projection is: a pure fold of a batch of events into set-based changes of its own tables.

A change is computed from the events alone, so that any cut of the history into batches leaves the same rows: a column
is a counter that adds up, or the last value that was said. A projection's statements are in ``sql/<name>.sql``; each
of its generations is a schema of its own, and ``read.<table>`` shows the live one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import astuple

from domain.errors import Corrupt
from domain.events import AnyEvent
from services.sql import load_queries

FOLDER = Path(__file__).parent / "sql"


class Unreadable(NamedTuple):
    """Stands in a batch for an event that does not decode."""

    why: str


class Seen(NamedTuple):
    """An event as a projection sees it."""

    position: int
    event: AnyEvent | Unreadable
    recorded_at: datetime


class Change(NamedTuple):
    """A named statement of the projection and its arguments: one array a column."""

    statement: str
    columns: tuple[Sequence[Any], ...]


class Projection(Protocol):
    """The code that folds events into one read model.

    Attributes:
        name: Of the read model and of its statements' file.
        revision: Raised when its rows mean something else; the old ones have to be rebuilt.
    """

    name: ClassVar[str]
    revision: ClassVar[int]

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        """The changes that the events make.

        Raises:
            Corrupt: An event cannot be read.
        """
        ...


#: ``handler(changed, event, position, recorded_at)``
Handler = Callable[[Any, Any, int, datetime], None]


def walk(handlers: Mapping[type, Handler], changed: Any, events: Iterable[Seen]) -> None:
    """Let the handler of each event's type change ``changed``; the other events are passed over."""
    find = handlers.get
    for position, event, recorded_at in events:
        handler = find(type(event))
        if handler is not None:
            handler(changed, event, position, recorded_at)
        elif type(event) is Unreadable:
            raise Corrupt(event.why)


def upsert(rows: Iterable[Struct], statement: str = "upsert") -> list[Change]:
    """The change that writes these rows, none if there are none."""
    columns = tuple(zip(*map(astuple, rows), strict=True))
    return [Change(statement, columns)] if columns else []


@cache
def statements(name: str, schema: str) -> dict[str, str]:
    """A projection's statements against one generation of its tables."""
    assert schema.isidentifier(), "a schema's name is made here, never read"
    named = load_queries(FOLDER / f"{name}.sql")
    return {key: text.replace("{schema}", schema) for key, text in named.items()}


def schema_of(name: str, generation: int) -> str:
    """Schema of a projection's generation."""
    return f"{name}_g{generation}"
