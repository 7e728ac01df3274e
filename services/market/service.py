"""The market process: rebuild the world from the log, then open the door.

When the log fails, close it and begin again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from domain import job
from domain.commands import Actor, Command, GrantRole, SetFee
from domain.errors import Refused, Unavailable
from domain.events import JobCompleted, JobPosted
from domain.market import World
from services.bus import roots, wake
from services.bus.commands import HORIZON, SUBJECT, Nonces, Refusal, Reply, encode_reply, new_nonce
from services.bus.wire import BusError, Message, Wire
from services.keys import Party
from services.ledger.codec import NAMES, Meta, decode, decode_meta, encode, encode_meta
from services.ledger.errors import LogLost
from services.ledger.log import Log
from services.market.gateway import Gateway
from services.market.roots import Roots
from services.ports import Clock, Record

TICK_S = 0.2
RETRY_S = 0.3
_POSTED = "JobPosted.v1"

log = structlog.get_logger()


class Market:
    """Owns the command endpoint for as long as the process lives; behind it, one gateway after another."""

    def __init__(
        self,
        operator: Party,
        roles: dict[str, str],
        fee: SetFee,
        open_log: Callable[[Callable[[int, list[Record]], None]], Awaitable[Log]],
        connect: Callable[[], Awaitable[Wire]],
        clock: Clock,
        *,
        posted: Callable[[JobPosted], None],
        ready: Callable[[], None],
    ) -> None:
        """Args:
        roles: The party that holds each role, granted in the log when it is not there yet.
        fee: The market's shares of each price, recorded when they are others than the log's.
        posted: Called with each open job, again after each rebuild.
        ready: Called when commands are answered.
        """
        self._posted = posted
        self._party, self._operator = operator, operator.key
        self._roles, self._fee = roles, fee
        self._open_log, self._connect, self._clock, self._ready = open_log, connect, clock, ready
        self._gateway: Gateway | None = None
        self._wire: Wire | None = None
        self._log: Log | None = None
        self._signer = Roots(operator, self._publish, clock)
        self.rebuilds = 0

    def status(self) -> dict[str, object]:
        """What the process reports of itself."""
        gateway, events = self._gateway, self._log
        return {
            "position": events.position if events else None,
            "open": gateway is not None,
            "commands": gateway.commands if gateway else 0,
            "refused": gateway.refused if gateway else 0,
            "waiting": gateway.waiting if gateway else 0,
            "roots_signed": self._signer.signed,
            "rebuilds": self.rebuilds,
            "at": self._clock.now().isoformat(),
        }

    async def run(self) -> None:
        """Serve for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_wire())
            group.create_task(self._keep_gateway())

    # ----------------------------------------------------------------------------------------------------- the endpoint
    async def _keep_wire(self) -> None:
        while True:
            try:
                wire = await self._connect()
                wire.subscribe(SUBJECT, self._on_messages, queue="market")
                wire.subscribe(roots.SUBJECT, self._on_root_wanted, queue="market")
                await wire.flush()
                self._wire = wire
                self._wake()
                log.info("taking commands", subject=SUBJECT)
                await wire.closed
            except (BusError, OSError, TimeoutError) as error:
                log.warning("market waits for the broker", error=str(error) or type(error).__name__)
            self._wire = None
            await asyncio.sleep(RETRY_S)

    def _on_messages(self, heard: list[Message]) -> None:
        messages = answerable(heard)
        if self._gateway is not None:
            self._gateway.on_messages(messages)
            return
        refusal = Unavailable(reason="the log cannot be reached, or is being read")
        answer = encode_reply(Reply(refused=[Refusal(-1, refusal.name, str(refusal))]))
        for message in messages:
            self._publish(message.reply.decode(), answer)

    def _on_root_wanted(self, heard: list[Message]) -> None:
        self._signer.on_messages(answerable(heard), self._log if self._gateway else None)

    def _publish(self, subject: str, data: bytes) -> None:
        if self._wire is not None and subject:
            self._wire.publish(subject, data)

    def _wake(self) -> None:
        """Tell those who wait for an answer of the gateway before this one."""
        if self._gateway is not None:
            self._publish(wake.SUBJECT, wake.wake(self._party, self._clock.now()))

    # ------------------------------------------------------------------------------------------------------ the gateway
    async def _keep_gateway(self) -> None:
        while True:
            try:
                await self._serve_once()
            except* (OSError, LogLost, Unavailable, TimeoutError) as errors:
                log.warning("market waits for the log", error=str(errors.exceptions[0]))
            self._gateway = None
            self.rebuilds += 1
            await asyncio.sleep(RETRY_S)

    async def _serve_once(self) -> None:
        events = await self._open_log(self._committed)
        try:
            world, nonces = await rebuild(events, self._operator, self._clock)
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(events.run())
                await self._take_office(world, events)
                gateway = Gateway(world, nonces, events, self._publish, self._clock)
                self._gateway, self._log = gateway, events
                self._wake()
                log.info("market open", position=events.position, jobs=len(world.jobs))
                for found in world.jobs.values():
                    if found.state is job.State.OPEN:
                        self._posted(found.terms)
                self._ready()
                ticking = group.create_task(self._tick(gateway))
                try:
                    await gateway.failed
                finally:
                    self._gateway = None
                    ticking.cancel()
                    writer.cancel()
        finally:
            with suppress(OSError):
                await events.close()

    async def _tick(self, gateway: Gateway) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            gateway.tick(self._clock.now())
            self._serve_roots()

    def _committed(self, position: int, records: list[Record]) -> None:
        self._publish("pasar.head", b"")
        self._serve_roots()
        for record in records:
            if record.name == _POSTED:
                terms = decode(record.name, record.data)
                assert isinstance(terms, JobPosted)
                self._posted(terms)

    def _serve_roots(self) -> None:
        if self._gateway is not None and self._log is not None:
            self._signer.serve(self._log)

    async def _take_office(self, world: World, events: Log) -> None:
        """Record who holds which role and what the market charges, once."""
        granted = [GrantRole(role, party) for role, party in self._roles.items()]  # type: ignore[arg-type]
        commands: tuple[Command, ...] = (*granted, self._fee)
        for command in commands:
            nonce = new_nonce()
            try:
                facts = world.execute(command, Actor(self._operator, nonce), self._clock.now())
            except Refused:
                log.exception("the market cannot take office")
                raise
            if facts:
                meta = [encode_meta(Meta(self._operator, fact.stream.hex(), nonce[:16])) for fact in facts]
                records = [
                    Record(f.stream, f.version, NAMES[type(f.event)], encode(f.event), m)
                    for f, m in zip(facts, meta, strict=True)
                ]
                await events.append(records)


def answerable(heard: list[Message]) -> list[Message]:
    """Those that ask for no answer, or for one on an inbox.

    A sender may name any subject for it, also one where only the market may publish, and bytes that are no text.
    """
    return [one for one in heard if not one.reply or (one.reply.startswith(b"_INBOX") and one.reply.isascii())]


async def rebuild(events: Log, operator: str, clock: Clock) -> tuple[World, Nonces]:
    """The world as the log tells it, and the nonces that could still be replayed."""
    world, nonces = World(operator), Nonces()
    recent = clock.now() - HORIZON - timedelta(seconds=5)
    position = 0
    while True:
        page = await events.read(position, 5_000)
        if not page:
            return world, nonces
        for stored in page:
            event = decode(stored.name, stored.data)
            world.apply(event)
            if isinstance(event, JobCompleted):
                world.forget(event.job)
            if stored.recorded_at >= recent:
                meta = decode_meta(stored.meta)
                nonces.remember(meta.actor, meta.causation)
        position = page[-1].position
        await asyncio.sleep(0)
