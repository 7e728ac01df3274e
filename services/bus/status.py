"""Every process tells its state on request, as a NATS micro service: ``$SRV.STATS.pasar-<role>`` carries it as data.

It says the time as ``at``: an answer is a heartbeat.

Source: NATS service API, ADR-32.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import cast

import msgspec
import nats.micro
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import Service

Status = Callable[[], dict[str, object]]


async def serve_status(client: Client, role: str, name: str, status: Status) -> Service:
    """Answer PING, INFO and STATS for this process until the client closes."""

    def now() -> dict[str, object]:
        """Only what JSON has: the library encodes it with the standard encoder, and a failure there is a silence."""
        told = {**status(), "at": datetime.now(UTC)}
        return cast("dict[str, object]", msgspec.to_builtins(told))

    async def answer(request: Request) -> None:
        await request.respond(msgspec.json.encode(now()))

    service = await nats.micro.add_service(
        client,
        name=f"pasar-{role}",
        version=version("pasar"),
        description=f"Pasar {role}",
        metadata={"name": name},
        stats_handler=lambda _: now(),
    )
    await service.add_endpoint(name="status", subject=f"$SRV.STATUS.pasar-{role}.{name}", handler=answer)
    return service
