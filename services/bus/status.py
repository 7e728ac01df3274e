"""Every process tells its state on request, as a NATS micro service: ``$SRV.STATS.pasar-<role>`` carries it as data.

Source: NATS service API, ADR-32.
"""

from collections.abc import Callable
from importlib.metadata import version

import msgspec
import nats.micro
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import Service

Status = Callable[[], dict[str, object]]


async def serve_status(client: Client, role: str, name: str, status: Status) -> Service:
    """Answer PING, INFO and STATS for this process until the client closes."""

    async def answer(request: Request) -> None:
        await request.respond(msgspec.json.encode(status()))

    service = await nats.micro.add_service(
        client,
        name=f"pasar-{role}",
        version=version("pasar"),
        description=f"Pasar {role}",
        metadata={"name": name},
        stats_handler=lambda _: status(),
    )
    await service.add_endpoint(name="status", subject=f"$SRV.STATUS.pasar-{role}.{name}", handler=answer)
    return service
