"""Builds the real adapters and passes them in: the only place that picks one."""

import asyncio
import contextlib
import fcntl
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import ClassVar

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client

from domain.bitcoin import script_of
from domain.blobs import BLOB_BYTES_MAX, address_of
from domain.commands import Command, SetFee
from domain.errors import AlreadyCredited, AlreadyRegistered, Refused
from domain.worker import MeasureCapability, PlaceAsk, RegisterWorker
from services.bus import wire
from services.bus.blobs import BucketBlobs, PlainOpener, Shelf, ensure_bucket
from services.bus.chain import ask_tip
from services.bus.client import Commander, RefusedByMarket
from services.bus.connect import connect
from services.bus.consume import Consumer
from services.bus.faucet import draw
from services.bus.link import Link
from services.bus.relay import Relay
from services.bus.roots import ask_root
from services.bus.status import serve_status
from services.config import Settings
from services.inspector.agent import Inspector
from services.keys import MARKET, Party, market_key, party
from services.ledger.log import Log
from services.ledger.reader import LogReader
from services.ledger.root import SignedRoot
from services.market.keeper import Keeper
from services.market.service import Market
from services.ports import Record, Stored, SystemClock
from services.projections.runner import Projector
from services.referee.agent import Referee
from services.settlement.accounts import Accounts
from services.stack.nats_server import role_key
from services.stack.permissions import inbox
from services.stack.ready import announce_ready
from services.worker import device
from services.worker.agent import Agent
from services.worker.backlog import Sealed
from services.worker.executor import Executor
from services.worker.options import WorkerOptions

#: What a worker keeps in memory of the inputs of its jobs: the largest blob and a few small ones.
INPUT_BYTES_KEPT = BLOB_BYTES_MAX + (64 << 20)
#: Strangers' programs that one process of the inspector reads.
INSPECTIONS = 32

log = structlog.get_logger()


class RunsAlready(Refused):
    template: ClassVar[str] = "worker {name} runs already on this machine; choose another name with --name"


def operator(settings: Settings) -> str:
    """The market's public key.

    Raises:
        MarketUnknown: It is not known here.
    """
    return market_key(settings)


def wires(settings: Settings, role: str, name: str) -> Callable[[], Awaitable[wire.Wire]]:
    """A maker of hot-loop connections in this role."""
    assert settings.nats_url is not None, "the stack is up before its services"
    url, who = settings.nats_url, party(settings, role_key(role))
    return lambda: wire.connect(url, party=who, inbox_prefix=inbox(role), name=name)


@asynccontextmanager
async def commander(settings: Settings, who: Party, *, role: str = "party") -> AsyncIterator[Commander]:
    """A party's way to the market, connected as ``role`` for as long as the context lasts."""
    link = Link(wires(settings, role, who.name), operator(settings), SystemClock())
    keeping = asyncio.get_running_loop().create_task(link.run())
    try:
        yield Commander(who, operator(settings), link.request, SystemClock())
    finally:
        keeping.cancel()
        link.close()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def signed_root(settings: Settings, *, covers: int = 0) -> SignedRoot:
    """The root of the log, signed by this market; over the event at position ``covers`` at least.

    Raises:
        NoRoot, NotSigned: The market gives none that holds.
        BusError, TimeoutError: It does not answer.
    """
    wire = await wires(settings, "reader", "root")()

    async def request(subject: str, data: bytes, timeout_s: float) -> bytes:
        return await wire.request(subject, data, timeout_s=timeout_s)

    try:
        return await ask_root(request, operator(settings), covers=covers)
    finally:
        wire.close()


async def run_market(settings: Settings, name: str) -> None:
    """Commands in, facts into the log."""
    assert settings.database_url is not None
    database_url, clock, own = settings.database_url, SystemClock(), party(settings, MARKET)
    roles = {role: party(settings, role).key for role in ("referee", "settlement", "inspector")}
    roles["clock"] = own.key

    async def open_log(on_commit: Callable[[int, list[Record]], None]) -> Log:
        return await Log.open(database_url, clock=clock, exclusive=True, on_commit=on_commit)

    async with await connect(settings, "market", name=name) as client:
        blobs = BucketBlobs(client, Shelf(settings.home / "blobs"))
        keeper = Keeper(blobs)
        connecting = wires(settings, "market", name)
        market = Market(
            own,
            roles,
            SetFee(settings.fee_ppm, settings.chain_ppm),
            open_log,
            connecting,
            clock,
            posted=keeper.keep,
            ready=announce_ready,
        )
        await blobs.serve_wants()
        await serve_status(client, "market", name, market.status)
        async with asyncio.TaskGroup() as group:
            group.create_task(market.run())
            group.create_task(keeper.run())


async def run_relay(settings: Settings, name: str) -> None:
    """Log -> JetStream."""
    assert settings.database_url is not None
    reader = await LogReader.open(settings.database_url)
    relay = Relay(reader, wires(settings, "relay", name), SystemClock())
    async with await connect(settings, "relay", name=name) as client:
        await serve_status(client, "relay", name, relay.status)
        await ensure_bucket(client)
        announce_ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(relay.run())
            group.create_task(keep_bucket(client))


async def run_projector(settings: Settings, name: str) -> None:
    """JetStream -> read models."""
    assert settings.database_url is not None
    reader = await LogReader.open(settings.database_url)
    projector = Projector(reader, settings.database_url)

    async def offer(events: list[Stored]) -> None:
        projector.offer(events)

    consumer = Consumer(wires(settings, "projector", name), lambda: projector.head, offer)
    async with await connect(settings, "projector", name=name) as client:
        await serve_status(client, "projector", name, projector.status)
        async with asyncio.TaskGroup() as group:
            group.create_task(projector.run())
            await projector.caught_up(await reader.head())
            group.create_task(consumer.run())
            announce_ready()


async def run_referee(settings: Settings, name: str) -> None:
    """Disputes in, rulings out."""
    home = settings.home / "referee"
    async with (
        await connect(settings, "party", name=name) as client,
        commander(settings, party(settings, "referee")) as market,
        Executor(_folder(home / "sandbox")) as executor,
    ):
        blobs = BucketBlobs(client, Shelf(home / "blobs"))
        await blobs.serve_wants()
        referee = Referee(market, executor, blobs, PlainOpener(blobs))
        await serve_status(client, "referee", name, referee.status)
        announce_ready()
        await referee.run()


async def run_inspector(settings: Settings, name: str) -> None:
    """Programs in, findings out."""
    home = settings.home / "inspector"
    async with (
        await connect(settings, "inspector", name=name) as client,
        commander(settings, party(settings, "inspector"), role="inspector") as market,
    ):
        blobs = BucketBlobs(client, Shelf(home / "blobs"))
        inspector = Inspector(
            client, market, blobs, lambda: Executor(_folder(home / "sandbox"), inspections=INSPECTIONS)
        )
        await serve_status(client, "inspector", name, inspector.status)
        await inspector.serve()
        announce_ready()
        await inspector.run()


async def run_worker(
    settings: Settings, name: str, options: WorkerOptions, *, ready: Callable[[], None] = announce_ready
) -> None:
    """Leases in, results out, until SIGTERM or SIGINT.

    Args:
        ready: Called when the ask stands.
    Raises:
        RunsAlready: Another process works under this name; two would hand back each other's tasks.
    """
    home = settings.home / "workers" / name
    with alone(_folder(home), name):
        await _run_worker(settings, name, options, home, ready)


async def _run_worker(
    settings: Settings, name: str, options: WorkerOptions, home: Path, ready: Callable[[], None]
) -> None:
    async with (
        await connect(settings, "party", name=name) as client,
        commander(settings, party(settings, name)) as market,
        Executor(_folder(home / "sandbox"), size=options.sandboxes, platform=options.platform) as executor,
    ):
        blobs = BucketBlobs(client, Shelf(home / "blobs"))
        await blobs.serve_wants()
        await _enter_market(settings, market, client, executor, options)
        substitutes = await asyncio.to_thread(_substitutes, options)
        agent = Agent(
            market,
            executor,
            blobs,
            PlainOpener(blobs, INPUT_BYTES_KEPT),
            Sealed(home / "sealed"),
            slots=options.slots,
            lanes=options.lanes,
            substitutes=substitutes,
        )
        await serve_status(client, "worker", name, agent.status)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, agent.stop)
        ready()
        await agent.run()


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold a worker's folder; it is let go when the process ends in whatever way.

    Raises:
        RunsAlready: Another process holds it.
    """
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunsAlready(name=name) from None
        yield


async def _enter_market(
    settings: Settings, market: Commander, client: Client, executor: Executor, options: WorkerOptions
) -> None:
    """Register if need be, open the account for stake and pay, measure, and place the ask."""
    register = RegisterWorker(options.platform, device.cores(), device.memory_mb(), device.jax_version())
    try:
        await market.send([register], timeout_s=60)
    except RefusedByMarket as refused:
        if refused.name != AlreadyRegistered.__name__:
            raise
    tip = await ask_tip(client, timeout_s=60)
    payout = script_of(options.payout_address, tip.network) if options.payout_address else None
    await market.send([await Accounts(settings, market.party.name).stake(tip, payout)], timeout_s=60)
    if options.stake_msat and tip.embedded:
        try:
            await draw(client, "stake", market.party.key, options.stake_msat, request="first stake", timeout_s=60)
        except RefusedByMarket as refused:
            if refused.name != AlreadyCredited.__name__:
                raise
    items: list[Command] = [
        PlaceAsk(
            options.price_msat,
            options.slots * options.lanes,
            options.memory_mb,
            options.tflop_msat,
            options.gb_msat,
        )
    ]
    if options.measure:
        flops_per_s, bytes_per_s = await device.measure(executor)
        items.append(MeasureCapability(flops_per_s, bytes_per_s))
    await market.send(items, timeout_s=60)


def _substitutes(options: WorkerOptions) -> dict[str, bytes]:
    files = ((Path(honest), Path(other)) for honest, other in options.substitutes.items())
    return {address_of(honest.read_bytes()): other.read_bytes() for honest, other in files}


async def keep_bucket(client: Client) -> None:
    """Make the blob bucket anew when the broker lost it."""
    while True:
        await asyncio.sleep(1)
        try:
            await ensure_bucket(client)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            log.warning("the blob bucket cannot be made", error=type(error).__name__)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
