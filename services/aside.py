"""Work on many bytes, kept out of the event loop's way."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
#: Hashing or copying so much takes about a millisecond; a thread for less costs more than it saves.
INLINE_BYTES: Final = 1 << 20


async def aside(size: int, work: Callable[..., T], *arguments: object) -> T:
    """The result of blocking ``work`` that handles ``size`` bytes: in a thread if they are many, else here and now."""
    return work(*arguments) if size <= INLINE_BYTES else await asyncio.to_thread(work, *arguments)
