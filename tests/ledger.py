"""What tests of the log share: records, a clock that is told the time, and a log that runs while a test needs it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from services.ledger.log import Log
from services.ports import Record


class StepClock:
    """A clock that moves by one microsecond at each look."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(microseconds=1)
        return self.time


def a_record(version: int = 1, stream: bytes | None = None, data: bytes = b"{}") -> Record:
    """A record on a stream of its own unless one is given."""
    return Record(stream or uuid4().bytes, version, "Tested.v1", data, b"{}")


@asynccontextmanager
async def running_log(
    database_url: str,
    *,
    exclusive: bool = False,
    on_commit: Callable[[int, list[Record]], None] | None = None,
) -> AsyncIterator[Log]:
    """A log whose writer runs until the end of the block."""
    log = await Log.open(database_url, clock=StepClock(), exclusive=exclusive, on_commit=on_commit)
    writer = asyncio.ensure_future(log.run())
    try:
        yield log
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        await log.close()
