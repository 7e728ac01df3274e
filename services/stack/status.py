"""What `pasar status` shows: the processes, what they hold in memory, and what the services say of themselves."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import psutil
from msgspec import Struct, structs

from domain.errors import Refused
from services.config import Settings
from services.stack import state
from services.stack.state import ServiceState, StackState

GATHER_S: Final = 0.3


class ProcessReport(Struct, frozen=True, kw_only=True):
    """Attributes:
    rss_mb, pss_mb: Memory of the process and all it started; shared pages count in every ``rss`` and once in ``pss``.
    """

    name: str
    state: str
    pid: int | None
    since: datetime
    restarts: int
    rss_mb: float | None
    pss_mb: float | None


class ServiceReport(Struct, frozen=True, kw_only=True):
    """Attributes:
    name: Of the process, as ``worker-1``; ``service`` is its kind.
    position: The last event that it has dealt with. lag: Events that the market has recorded since.
    at: Its heartbeat: when it answered, by its own clock.
    data: All that it reports.
    """

    name: str
    service: str
    id: str
    started: datetime
    at: datetime | None
    position: int | None
    lag: int | None
    data: dict[str, Any]


class Report(Struct, frozen=True, kw_only=True):
    """Attributes:
    unheard: Why the services were not asked, if they were not.
    """

    state: str
    pid: int
    started_at: datetime
    database_url: str
    nats_url: str
    page_url: str
    processes: tuple[ProcessReport, ...]
    services: tuple[ServiceReport, ...] = ()
    unheard: str = ""


async def report(settings: Settings) -> Report:
    """The running stack, seen from outside.

    Raises:
        NotRunning: No stack runs.
    """
    now = state.running(settings)
    heard: tuple[ServiceReport, ...] = ()
    unheard = ""
    try:
        heard = await ask_services(state.attach(settings))
    except Refused as refused:
        unheard = str(refused)
    return Report(
        state=now.state,
        pid=now.pid,
        started_at=now.started_at,
        database_url=now.database_url,
        nats_url=now.nats_url,
        page_url=now.page_url,
        processes=tuple(_process(service) for service in (_supervisor(now), *now.services)),
        services=heard,
        unheard=unheard,
    )


async def ask_services(settings: Settings, *, timeout_s: float = GATHER_S) -> tuple[ServiceReport, ...]:
    """The statistics of every service that answers within ``timeout_s``.

    Raises:
        Unavailable: nats-server does not answer.
    """
    from services.bus.connect import connect

    connection = await connect(settings, "reader", name="status")
    try:
        answers = await connection.subscribe(connection.new_inbox())
        await connection.publish("$SRV.STATS", reply=answers.subject)
        found: list[ServiceReport] = []
        try:
            async with asyncio.timeout(timeout_s):
                async for answer in answers.messages:
                    if answer.data:  # empty: nobody serves
                        found.append(_heard(answer.data))
        except TimeoutError:
            pass
        return _with_lag(found)
    finally:
        await connection.close()


class _Endpoint(Struct):
    data: dict[str, Any] | None = None


class _Stats(Struct):
    """What a NATS service answers; see ``services.bus.status`` for the data of ours."""

    name: str
    id: str
    started: datetime
    metadata: dict[str, str] = {}
    endpoints: list[_Endpoint] = []


_decode_stats = msgspec.json.Decoder(_Stats).decode


def _heard(answer: bytes) -> ServiceReport:
    stats = _decode_stats(answer)
    data = {name: value for endpoint in stats.endpoints for name, value in (endpoint.data or {}).items()}
    return ServiceReport(
        name=stats.metadata.get("name", stats.name),
        service=stats.name,
        id=stats.id,
        started=stats.started,
        at=msgspec.convert(data.pop("at", None), datetime | None),
        position=_position(data),
        lag=None,
        data=data,
    )


def _position(data: dict[str, Any]) -> int | None:
    """Of a service with several read models, that of the last one."""
    found = [one["position"] for one in data.get("projections", {}).values()]
    return min(found) if found else data.get("position")


def _with_lag(found: Sequence[ServiceReport]) -> tuple[ServiceReport, ...]:
    """Every service beside the furthest one, which is the market when it answers."""
    head = max((one.position for one in found if one.position is not None), default=0)
    known = (
        one if one.position is None else structs.replace(one, lag=head - one.position)
        for one in sorted(found, key=lambda one: (one.service, one.name, one.id))
    )
    return tuple(known)


def _supervisor(now: StackState) -> ServiceState:
    return ServiceState(name="supervisor", state="ready", since=now.started_at, pid=now.pid)


def _process(service: ServiceState) -> ProcessReport:
    rss, pss = (None, None) if service.pid is None else memory(service.pid, descendants=service.name != "supervisor")
    return ProcessReport(
        name=service.name,
        state=service.state,
        pid=service.pid,
        since=service.since,
        restarts=service.restarts,
        rss_mb=_mb(rss),
        pss_mb=_mb(pss),
    )


def memory(pid: int, *, descendants: bool = True) -> tuple[int | None, int | None]:
    """Bytes resident and proportional, absent where the system does not tell us."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)] if descendants else [root]
    except psutil.NoSuchProcess:
        return None, None
    rss, pss = 0, 0
    for process in family:
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            return None, None
        rss += full.rss
        pss += getattr(full, "pss", full.uss)
    return rss, pss


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)
