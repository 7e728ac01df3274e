"""A request to a service of the market that may still be starting."""

import asyncio
from typing import Final

import nats.errors
from nats.aio.client import Client

_RETRY_S: Final = 0.2


async def ask(client: Client, subject: str, asked: bytes, timeout_s: float) -> bytes:
    """The answer; while nobody serves the subject it is asked again.

    Raises:
        TimeoutError: Nobody answers in time.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                return (await client.request(subject, asked, timeout=timeout_s)).data
            except nats.errors.NoRespondersError:
                await asyncio.sleep(_RETRY_S)
