"""The embedded stack: PostgreSQL, nats-server and the services, kept running by one process, gone when it goes.

starting ── all ready ──▶ up ◀──▶ failing (a service keeps dying)
    └── one never gets ready ──▶ failed          any ── stop ──▶ stopping ──▶ gone
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from time import monotonic
from types import TracebackType
from typing import Final, Literal, Self

import structlog
from msgspec import structs

from domain.errors import Refused
from services.config import Settings
from services.stack import nats_server, postgres, state
from services.stack.process import Child, Guard, NotReady, Service, start
from services.stack.restarts import WINDOW_S, Restarts
from services.stack.state import ServiceState, StackState

log = structlog.get_logger()

#: Deaths before a first readiness after which the stack gives up.
TRIES: Final = 3


class Stack:
    """``async with Stack(settings, services) as stack:`` runs everything and leaves nothing behind.

    Services start in the order given, each stage when the one before is ready, and stop in the reverse order.
    """

    def __init__(
        self,
        settings: Settings,
        services: Sequence[Service] | Callable[[Settings], Sequence[Service]] = (),
        *,
        on_change: Callable[[StackState], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self._services = services
        self._on_change = on_change
        self._keepers: list[Keeper] = []
        self._phase: Literal["starting", "up", "stopping", "failed"] = "starting"
        self._problem = ""
        self._started_at = state.now()
        self._held = ExitStack()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._held.enter_context(state.lock(self.settings))
        try:
            self._guard = await Guard.open()
            await self._group.__aenter__()
            try:
                await self._start()
            except BaseException as error:
                self._phase, self._problem = "failed", str(error)
                self._changed()
                await self._stop_all()
                await self._group.__aexit__(None, None, None)
                await self._guard.close()
                raise
        except BaseException:
            self._held.close()
            raise
        self._phase = "up"
        self._changed()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
            await self._group.__aexit__(kind, error, trace)
            await self._guard.close()
        finally:
            state.forget(self.settings)
            self._held.close()

    async def stop(self) -> None:
        """End every process, the last started first."""
        self._phase = "stopping"
        self._changed()
        await self._stop_all()

    def pid_of(self, name: str) -> int | None:
        """The process of the service now; absent between a death and the next start."""
        return next(keeper.state.pid for keeper in self._keepers if keeper.service.name == name)

    def status(self) -> StackState:
        """The stack as it is now."""
        failing = self._phase == "up" and any(keeper.state.failing for keeper in self._keepers)
        return StackState(
            state="failing" if failing else self._phase,
            pid=os.getpid(),
            started_at=self._started_at,
            database_url=self.settings.database_url or "",
            nats_url=self.settings.nats_url or "",
            page_url=next((keeper.service.url for keeper in self._keepers if keeper.service.url), ""),
            problem=self._problem,
            services=tuple(keeper.state for keeper in self._keepers),
        )

    async def _start(self) -> None:
        infrastructure: list[Service] = []
        if self.settings.database_url is None:
            infrastructure.append(await postgres.service(self.settings))
            self.settings = structs.replace(self.settings, database_url=postgres.cluster(self.settings).url)
        if self.settings.nats_url is None:
            infrastructure.append(nats_server.service(self.settings))
            self.settings = structs.replace(self.settings, nats_url=nats_server.url(self.settings))
        services = self._services(self.settings) if callable(self._services) else self._services
        for service in (*infrastructure, *services):
            self._held.callback(_close, service.pass_fds)
        for together in stages((*infrastructure, *services)):
            started = [Keeper(service, self.settings, self._guard, self._changed) for service in together]
            self._keepers += started
            for keeper in started:
                self._group.create_task(keeper.run(), name=keeper.service.name)
            await asyncio.gather(*(keeper.first_ready for keeper in started))

    async def _stop_all(self) -> None:
        for keeper in reversed(self._keepers):
            await keeper.stop()

    def _changed(self) -> None:
        now = self.status()
        state.write(self.settings, now)
        self._on_change(now)


class Keeper:
    """Keeps one service running until told to stop."""

    def __init__(self, service: Service, settings: Settings, guard: Guard, changed: Callable[[], None]) -> None:
        self.service = service
        self.state = ServiceState(name=service.name, state="starting", since=state.now())
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._guard = guard
        self._changed = changed
        self._restarts = Restarts()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._child: Child | None = None
        self._recovery: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Start it, wait for its end, start it again."""
        try:
            while not self._stopping.is_set():
                started = monotonic()
                await self._live()
                if self._stopping.is_set() or not self.service.restart:
                    break
                delay = self._restarts.died(at=monotonic(), after_s=monotonic() - started)
                self._set("waiting", pid=None)
                await _wait(self._stopping.wait(), timeout=delay)
        except Refused as error:
            if self.first_ready.done():
                raise
            self.first_ready.set_exception(error)  # to whoever waits for the start
        finally:
            self._set("stopped", pid=None)
            self._stopped.set()

    async def stop(self) -> None:
        """End it and start it no more."""
        self._stopping.set()
        if self._child is not None:
            await self._child.stop()
            self._guard.forget(self._child)
        await self._stopped.wait()

    async def _live(self) -> None:
        """One life, from start to end."""
        if self.service.prepare is not None:
            await self.service.prepare()
        asked = {name: value for name, value in secrets(self._settings).items() if name in self.service.secrets}
        known = {**environment(self._settings), **asked}
        child = self._child = await start(self.service, self._settings.logs, known)
        self._guard.watch(child)
        self._set("starting", pid=child.pid)
        try:
            if self._stopping.is_set():  # told while it was being started
                await child.stop()
            else:
                await self._serve(child)
        finally:
            if child.ended:
                self._guard.forget(child)
            if self._recovery is not None:
                self._recovery.cancel()

    async def _serve(self, child: Child) -> None:
        """From a start to the end, readiness between them."""
        try:
            await child.until_ready()
        except NotReady as error:
            if not self._stopping.is_set():
                log.warning("service is not ready", service=self.service.name, reason=str(error))
            await child.stop()
            if not self.first_ready.done() and (self._restarts.count + 1 >= TRIES or self._stopping.is_set()):
                raise
            return
        self._set("ready", pid=child.pid)
        if self.state.failing:
            self._recovery = asyncio.get_running_loop().call_later(WINDOW_S, self._set, "ready", child.pid)
        if not self.first_ready.done():
            self.first_ready.set_result(None)
        code = await child.wait()
        if not self._stopping.is_set():
            log.warning("service ended", service=self.service.name, status=code, pid=child.pid)

    def _set(self, phase: Literal["starting", "ready", "waiting", "stopped"], pid: int | None) -> None:
        self.state = ServiceState(
            name=self.service.name,
            state=phase,
            since=state.now(),
            pid=pid,
            restarts=self._restarts.count,
            failing=self._restarts.failing(at=monotonic()),
        )
        self._changed()


def stages(services: Sequence[Service]) -> list[list[Service]]:
    """The services in their order, neighbours of the same stage together."""
    found: list[list[Service]] = []
    for service in services:
        if found and service.stage and found[-1][-1].stage == service.stage:
            found[-1].append(service)
        else:
            found.append([service])
    return found


def environment(settings: Settings) -> Mapping[str, str]:
    """How a service finds the stack."""
    return {
        "PASAR_HOME": str(settings.home),
        "PASAR_DATABASE_URL": settings.database_url or "",
        "PASAR_NATS_URL": settings.nats_url or "",
        "PASAR_FEE_PPM": str(settings.fee_ppm),
        "PASAR_CHAIN_PPM": str(settings.chain_ppm),
        "PASAR_BITCOIN_NETWORK": settings.network,
        "PASAR_BITCOIN_MAINNET": "yes" if settings.network == "main" else "",
    }


def secrets(settings: Settings) -> Mapping[str, str]:
    """What only those services get that ask for it by name: how wallets open, and how the market settles."""
    every, node = settings.payout_every, settings.bitcoin_rpc_url
    return {
        "PASAR_PASSPHRASE": settings.passphrase.reveal() if settings.passphrase else "",
        "PASAR_PAYOUT_EVERY_S": str(int(every.total_seconds())) if every else "",
        "PASAR_BITCOIN_RPC_URL": node.reveal() if node else "",
        "PASAR_BITCOIN_COOKIE": str(settings.bitcoin_cookie or ""),
        "PASAR_BITCOIN_CONFIRMATIONS": str(settings.bitcoin_confirmations or ""),
    }


async def _wait(waiting: Awaitable[object], *, timeout: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(waiting, timeout)


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
