"""What the log says when it cannot do what was asked."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from domain.errors import Corrupt, Refused, Unavailable


class Conflict(Refused):
    """Optimistic locking: somebody else wrote this version first, or wrote what this append builds on."""

    template = "version {version} of stream {stream} is not free; read the stream again and decide anew"


class Unconfirmed(Unavailable):
    """The connection broke during the commit: only the log can tell which side of it."""

    template = "the database was lost while recording ({reason}); look whether it was recorded before you try again"


class Fenced(Corrupt):
    """Another writer appended to a log that this process held alone."""


class LogLost(Exception):
    """The database failed. A writer's memory may be ahead of the log: exit, and rebuild from the log."""


#: A connection that the server ends between two messages surfaces as InternalClientError; TimeoutError is an OSError.
_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@contextmanager
def translated(doing: str) -> Generator[None, None, None]:
    """Turns the driver's errors into LogLost."""
    try:
        yield
    except _DRIVER as error:
        raise LogLost(f"the database failed while {doing}: {error or type(error).__name__}") from error


def rolled_back(error: BaseException) -> bool:
    """Whether the database itself said that it recorded nothing; a FATAL may come after the commit."""
    cause = error.__cause__
    return isinstance(cause, asyncpg.PostgresError) and getattr(cause, "severity_en", None) == "ERROR"
