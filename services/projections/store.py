"""Writes folded batches: the rows and the position of every read model, in one transaction."""

from collections.abc import Callable, Sequence

import asyncpg

from domain.errors import Corrupt
from domain.events import AnyEvent
from services.ports import Stored
from services.projections.generations import TRACK, Generation
from services.projections.model import Change, Seen, Unreadable, statements

Decode = Callable[[str, bytes], AnyEvent]


class Fenced(Exception):
    """Another process moved a read model, or another generation went live: look where it is now."""


def see(events: Sequence[Stored], decode: Decode) -> list[Seen]:
    """The events as projections see them; what does not decode stops whoever comes to it."""
    seen: list[Seen] = []
    for position, _, _, name, data, _, recorded_at in events:
        try:
            event: AnyEvent | Unreadable = decode(name, data)
        except Corrupt as error:
            event = Unreadable(str(error))
        seen.append(Seen(position, event, recorded_at))
    return seen


def fold(generation: Generation, events: Sequence[Seen]) -> list[Change]:
    """The changes that the events behind the generation's position make to it."""
    known = generation.position - events[0].position + 1
    return generation.projection.fold(events[known:] if known > 0 else events)


async def write(
    connection: asyncpg.Connection,
    folded: Sequence[tuple[Generation, list[Change]]],
    position: int,
    *,
    live: bool = True,
) -> list[Generation]:
    """Write the changes and move every generation to ``position``.

    Returns:
        The generations where they are now.
    Raises:
        Fenced: One is not where it was thought to be; nothing was written.
    """
    names, numbers, olds = zip(*((g.projection.name, g.number, g.position) for g, _ in folded), strict=True)
    async with connection.transaction():
        # the fence comes first: it holds the rows' locks until the commit
        moved = await connection.execute(TRACK["move"], names, numbers, olds, position, live)
        if moved != f"UPDATE {len(folded)}":
            raise Fenced(f"read models are not at {max(olds)} any more")
        for generation, changes in folded:
            await apply(connection, generation.projection.name, generation.schema, changes)
    return [generation._replace(position=position) for generation, _ in folded]


async def apply(connection: asyncpg.Connection, name: str, schema: str, changes: Sequence[Change]) -> None:
    texts = statements(name, schema)
    for statement, columns in changes:
        await connection.execute(texts[statement], *columns)
