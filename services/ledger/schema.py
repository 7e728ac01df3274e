"""Brings a database schema to the newest numbered migration, once, whoever comes first."""

import hashlib
import re
from pathlib import Path

import asyncpg

from domain.errors import Corrupt
from services.sql import load_queries

SCHEMA = "ledger"
SQL = load_queries(Path(__file__).parent / "queries.sql")
_MIGRATIONS = Path(__file__).parent / "migrations"
_FILE = re.compile(r"(\d{4})_\w+\.sql")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")


async def migrate(connection: asyncpg.Connection, folder: Path = _MIGRATIONS, name: str = SCHEMA) -> int:
    """Apply what is missing of ``folder`` to the schema ``name``, all of it or nothing.

    Each file ``0001_what.sql`` runs once, in order, with unqualified names meaning the schema. It is never edited
    after a release: the database remembers its hash.

    Returns:
        How many migrations were applied now.
    Raises:
        Corrupt: A file that was applied has changed or is gone.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a schema: use lower-case letters, digits and underscores")
    files = _files(folder)
    async with connection.transaction():
        await connection.execute(SQL["lock_migration"], name)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
        await connection.execute(f"SET LOCAL search_path TO {name}")
        await connection.execute(SQL["create_migration_table"])
        applied = {row["number"]: row["sha256"] for row in await connection.fetch(SQL["applied"])}
        digests = {number: hashlib.sha256(script.encode()).hexdigest() for number, (_, script) in files.items()}
        for number, digest in applied.items():
            if digests.get(number) != digest:
                raise Corrupt(f"migration {number:04} of schema {name} is not the one that was applied")
        missing = [number for number in sorted(files) if number not in applied]
        for number in missing:
            await connection.execute(files[number][1])
            await connection.execute(SQL["mark_applied"], number, files[number][0], digests[number])
    return len(missing)


def _files(folder: Path) -> dict[int, tuple[str, str]]:
    """Name and script of each migration by number."""
    found = ((_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): (path.name, path.read_text()) for match, path in found if match}
