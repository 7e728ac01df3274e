"""Generations of read models: each is a schema of its own with a row in ``read.track``; one of them is live.

Everybody reads ``read.<table>``, a view of the live generation's table; most read models are one, of their own name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg

from services.ledger.schema import migrate
from services.projections.escrows import Escrows
from services.projections.event_index import EventIndex
from services.projections.jobs import Jobs
from services.projections.model import FOLDER, Projection, schema_of, statements
from services.projections.programs import Programs
from services.projections.settlement import Settlement
from services.projections.tasks import Tasks
from services.projections.workers import Workers
from services.sql import load_queries

#: Every read model of the market.
PROJECTIONS: tuple[Projection, ...] = (
    Jobs(),
    Tasks(),
    Workers(),
    Escrows(),
    Settlement(),
    Programs(),
    EventIndex(),
)
TRACK = load_queries(FOLDER / "track.sql")
_MIGRATIONS = Path(__file__).parent / "migrations"


class Generation(NamedTuple):
    """One generation of one read model, and how far it has come."""

    projection: Projection
    number: int
    position: int

    @property
    def schema(self) -> str:
        return schema_of(self.projection.name, self.number)


async def prepare(connection: asyncpg.Connection, projections: Sequence[Projection] = PROJECTIONS) -> None:
    """Make what is missing of the read models' tables; the first generation of each is live at once."""
    await migrate(connection, _MIGRATIONS, "read")
    async with connection.transaction():
        await connection.execute(TRACK["lock"])
        names = [projection.name for projection in projections]
        present = {row["name"] for row in await connection.fetch(TRACK["live"], names)}
        for projection in projections:
            if projection.name not in present:
                await show(connection, await create(connection, projection, live=True))


async def create(connection: asyncpg.Connection, projection: Projection, *, live: bool = False) -> Generation:
    """An empty generation; inside a transaction."""
    name = projection.name
    number = await connection.fetchval(TRACK["add"], name, projection.revision, live)
    generation = Generation(projection, number, 0)
    await connection.execute(f"CREATE SCHEMA {generation.schema}")
    await connection.execute(statements(name, generation.schema)["create"])
    return generation


async def show(connection: asyncpg.Connection, generation: Generation) -> None:
    """Let ``read`` show the tables of this generation; inside a transaction."""
    for row in await connection.fetch(TRACK["tables"], generation.schema):
        await connection.execute(f"DROP VIEW IF EXISTS read.{row['name']}")
        await connection.execute(f"CREATE VIEW read.{row['name']} AS SELECT * FROM {generation.schema}.{row['name']}")


async def drop(connection: asyncpg.Connection, projection: Projection, number: int) -> None:
    """Forget a generation that is not live."""
    async with connection.transaction():
        await connection.execute(TRACK["forget"], projection.name, number)
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema_of(projection.name, number)} CASCADE")


async def live(
    connection: asyncpg.Connection, projections: Sequence[Projection] = PROJECTIONS
) -> Mapping[str, Generation]:
    """The live generations by name. One that another revision of the code made is left out: it has to be rebuilt."""
    by_name = {projection.name: projection for projection in projections}
    rows = await connection.fetch(TRACK["live"], list(by_name))
    found = ((by_name[row["name"]], row) for row in rows)
    return {
        projection.name: Generation(projection, row["generation"], row["pos"])
        for projection, row in found
        if row["revision"] == projection.revision
    }
