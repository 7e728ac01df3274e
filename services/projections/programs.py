"""Read model ``programs``: one row an admitted program, with what a task of it takes and how often it was posted."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import asdict

from domain.events import JobPosted, ProgramAdmitted
from services.projections.model import Change, Handler, Seen, upsert, walk


class Row(Struct):
    program: str
    identity: str | None = None
    platforms: str | None = None
    jax_version: str | None = None
    flops: int | None = None
    transcendentals: int | None = None
    bytes_moved: int | None = None
    memory_bytes: int | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    admitted_at: datetime | None = None
    jobs: int = 0
    last_pos: int = 0


Rows = dict[str, Row]


def _admitted(rows: Rows, event: ProgramAdmitted, position: int, at: datetime) -> None:
    rows[event.program] = Row(
        event.program,
        event.identity,
        ",".join(event.platforms),
        event.jax_version,
        **asdict(event.meter),
        admitted_at=at,
        last_pos=position,
    )


def _posted(rows: Rows, event: JobPosted, position: int, at: datetime) -> None:
    row = rows.setdefault(event.program.address, Row(event.program.address))
    row.jobs += 1
    row.last_pos = position


_HANDLERS: dict[type, Handler] = {ProgramAdmitted: _admitted, JobPosted: _posted}


def follow(rows: Rows, events: Sequence[Seen]) -> None:
    """Fold events into rows that are kept in memory."""
    walk(_HANDLERS, rows, events)


class Programs:
    name: ClassVar[str] = "programs"
    revision: ClassVar[int] = 1

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        rows: Rows = {}
        walk(_HANDLERS, rows, events)
        return upsert(rows.values())
