"""A client's session: fund an escrow, post work, follow it, fetch what was verified."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from msgspec import Struct
from nats.aio.client import Client

from domain.bitcoin import script_of
from domain.blobs import BlobRef, ref_to
from domain.commands import Command
from domain.errors import Refused
from domain.escrow import RefundEscrow
from domain.events import AnyEvent, EscrowFunded, Platform
from domain.ids import escrow_id, job_id
from domain.job import CancelJob, PostJob
from services import bootstrap
from services.bus.blobs import BucketBlobs, PlainOpener, Shelf
from services.bus.chain import Tip, ask_coins, ask_tip, send_raw
from services.bus.client import Commander
from services.bus.commands import Reply, new_nonce
from services.bus.connect import connect
from services.bus.consume import Consumer
from services.bus.faucet import draw
from services.bus.inspection import Finding, inspect
from services.config import Settings
from services.keys import party
from services.ledger.codec import decode
from services.ports import Clock, Stored, SystemClock
from services.settlement.accounts import Accounts, keep, receipt_of, with_coins
from services.settlement.refund import EscrowReceipt

#: Events that a follower may be behind before its subscription waits.
FOLLOW_MAX = 10_000


class PayYourself(Refused):
    template: ClassVar[str] = (
        "pay what you want to spend to {address} on {network} from a wallet of yours; it counts once it is confirmed"
    )


class NoEscrow(Refused):
    template: ClassVar[str] = "{name} has opened no escrow on this machine; run `pasar escrow open --as {name}`"


class Work(Struct, frozen=True, kw_only=True):
    """What a client wants done, and on which terms.

    Attributes:
        program: An exported program; shared, mapped: its packed inputs, the mapped ones with a row for each task.
        price_msat: For one verified run of one task. stake_msat: What a worker risks on it.
        budget_msat: The most that all of it may cost, the market's fee included.
        reuse: Take the results of the same work, if it was verified before.
    """

    program: bytes
    shared: bytes | None
    mapped: bytes | None
    tasks: int
    price_msat: int
    stake_msat: int = 0
    replicas: int = 1
    timeout_s: int = 60
    memory_mb: int = 1024
    platforms: tuple[Platform, ...] = ("cpu",)
    deadline: timedelta = timedelta(hours=1)
    budget_msat: int | None = None
    reuse: bool = False


class Session:
    """Everything that one client does on the market; open it with ``session``.

    Attributes:
        position: The last position that one of its commands was recorded at: wait for it to read your own writes.
    """

    def __init__(self, settings: Settings, commander: Commander, client: Client, clock: Clock) -> None:
        self._settings, self._commander, self._client, self._clock = settings, commander, client, clock
        self.position = 0
        self._admitted: set[str] = set()
        self._blobs = BucketBlobs(client, Shelf(settings.home / "clients" / commander.party.name / "blobs"))
        self.opener = PlainOpener(self._blobs)

    @property
    def name(self) -> str:
        return self._commander.party.name

    @property
    def key(self) -> str:
        return self._commander.party.key

    @property
    def escrow(self) -> str:
        return escrow_id(self.key)

    async def fund(self, amount_msat: int, *, request: str | None = None) -> None:
        """Put money into the escrow, from the faucet of an embedded chain.

        Args:
            request: Names the draw, so that it can be repeated without being funded twice.
        Raises:
            PayYourself: The chain is one where money is worth something.
        """
        tip = await self.open_escrow()
        if not tip.embedded:
            receipt = await self.escrow_receipt()
            raise PayYourself(address=receipt.address, network=receipt.network)
        self._recorded(await draw(self._client, "escrow", self.key, amount_msat, request=request))
        await self.escrow_receipt()

    async def until_funded(self, amount_msat: int) -> None:
        """Wait until a deposit of at least this much counts, for ever."""
        heard = follow(self._settings, after=self.position, subject=f"pasar.events.escrow.{self.escrow}.EscrowFunded")
        async for stored in heard:
            event = read(stored)
            if isinstance(event, EscrowFunded) and event.amount_msat >= amount_msat:
                self.position = stored.position
                return

    async def open_escrow(self) -> Tip:
        """Have a script to pay to, with a term that lasts; the chain as it was then."""
        tip = await ask_tip(self._client)
        await self._send(await Accounts(self._settings, self.name).escrow(tip))
        return tip

    async def escrow_receipt(self) -> EscrowReceipt:
        """What a refund without the market takes, with what each term's script holds now; kept in ``receipts``.

        Returns:
            That of the newest term.
        Raises:
            NoEscrow: It was never opened from here.
        """
        tip, held = await ask_tip(self._client), await ask_coins(self._client, self.escrow)
        terms = Accounts(self._settings, self.name).terms()
        if not terms:
            raise NoEscrow(name=self.name)
        for term in terms:
            bare = receipt_of(term, tip.network, self.escrow)
            script = script_of(bare.address, bare.network).hex()
            receipt = with_coins(bare, [(coin.outpoint, coin.value_sat) for coin in held if coin.script == script])
            keep(self.receipts, receipt)
        return receipt

    @property
    def receipts(self) -> Path:
        """Where escrow receipts are kept, one file a term."""
        return self._settings.home / "escrows"

    async def send_raw(self, raw: bytes) -> str:
        """Have a transaction mined; its id.

        Raises:
            ChainRefused: It is not valid now.
        """
        return await send_raw(self._client, raw)

    async def refund(self, amount_msat: int, *, nonce: str | None = None) -> None:
        """Take free money out of the escrow, back to the client.

        Args:
            nonce: Of the command, so that it can be repeated without being done twice.
        Raises:
            RefusedByMarket: Less is free.
        """
        await self._send(RefundEscrow(amount_msat), nonce=nonce)

    async def post(self, work: Work, *, nonce: str | None = None) -> str:
        """Put the content into the store and post the job.

        Args:
            nonce: Of the command, where the job's id has to be known before.
        Returns:
            The job's id.
        Raises:
            RefusedByMarket: The terms or the escrow do not allow it; nothing was reserved.
        """
        program, shared, mapped = await asyncio.gather(
            self._store(work.program), self._maybe(work.shared), self._maybe(work.mapped)
        )
        if program.address not in self._admitted:
            await self.inspect(work.program, admit=True)
        command = PostJob(
            self.escrow,
            program,
            work.tasks,
            work.price_msat,
            self._clock.now() + work.deadline,
            shared,
            mapped,
            work.replicas,
            work.stake_msat,
            work.timeout_s,
            work.memory_mb,
            work.platforms,
            budget_msat=work.budget_msat,
            reuse=work.reuse,
        )
        nonce = nonce or new_nonce()
        await self._send(command, nonce=nonce)
        return job_id(self.key, nonce, 0)

    async def inspect(self, program: bytes, *, admit: bool = False) -> Finding:
        """What a task of the program takes; with ``admit``, the market may run it from here on.

        Raises:
            RefusedByMarket: The market does not run such a program, and why.
        """
        found = await inspect(self._client, await self._blobs.put(program), admit=admit)
        self.position = max(self.position, found.position)
        if admit:
            self._admitted.add(found.program)
        return found

    async def stock(self, *contents: bytes | None) -> None:
        """Put content into the store ahead of its use."""
        await asyncio.gather(*(self._blobs.put(content) for content in contents if content is not None))

    async def fetch(self, address: str) -> bytes:
        """The stored bytes at an address, checked against it.

        Raises:
            BlobMissing: Nobody holds them.
        """
        return await self._blobs.get(address)

    async def serve_wants(self) -> None:
        """Give others what they miss and this client holds: what it paid for may be reused."""
        await self._blobs.serve_wants()

    async def cancel(self, job: str, *, nonce: str | None = None) -> None:
        """Ask for no further work on a job.

        Args:
            nonce: Of the command, so that it can be repeated without being done twice.
        """
        await self._send(CancelJob(job), nonce=nonce)

    async def _send(self, command: Command, *, nonce: str | None = None) -> None:
        self._recorded(await self._commander.send([command], nonce=nonce))

    def _recorded(self, reply: Reply) -> None:
        self.position = max(self.position, reply.position)

    async def _store(self, content: bytes) -> BlobRef:
        return ref_to(await self._blobs.put(content), len(content), os.urandom(16).hex())

    async def _maybe(self, content: bytes | None) -> BlobRef | None:
        return None if content is None else await self._store(content)


@asynccontextmanager
async def session(settings: Settings, name: str = "client") -> AsyncIterator[Session]:
    """A session of the party called ``name`` on this machine."""
    async with (
        await connect(settings, "party", name=name) as client,
        bootstrap.commander(settings, party(settings, name)) as commander,
    ):
        found = Session(settings, commander, client, SystemClock())
        await found.serve_wants()
        yield found


async def follow(settings: Settings, *, after: int = 0, subject: str = "pasar.events.>") -> AsyncIterator[Stored]:
    """Events behind a position, for ever, over interruptions of the broker; filter by ``subject``.

    What was heard is yielded before an error that ends the subscription is raised.
    """
    arrived: asyncio.Queue[Stored] = asyncio.Queue(maxsize=FOLLOW_MAX)
    last = after

    async def offer(events: list[Stored]) -> None:
        nonlocal last
        for event in events:
            if event.position > last:
                await arrived.put(event)
                last = event.position

    position: Callable[[], int] = lambda: last  # noqa: E731  read at each reconnection
    consumer = Consumer(bootstrap.wires(settings, "reader", "follow"), position, offer, subjects=(subject,))
    async for event in _while_running(consumer.run(), arrived):
        yield event


async def _while_running(run: Coroutine[None, None, None], arrived: "asyncio.Queue[Stored]") -> AsyncIterator[Stored]:
    """What ``run`` puts into the queue, until it ends; then its error is raised.

    No TaskGroup: a generator may be closed in another task than the one that began it.
    """
    loop = asyncio.get_running_loop()
    running = loop.create_task(run)
    try:
        while True:
            while not arrived.empty():
                yield arrived.get_nowait()
            if running.done():
                running.result()
                return
            getting = loop.create_task(arrived.get())
            try:
                await asyncio.wait({getting, running}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                heard = getting.done() and not getting.cancelled()
                getting.cancel()
            if heard:
                yield getting.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def read(stored: Stored) -> AnyEvent:
    """The event that a message carried."""
    return decode(stored.name, stored.data, position=stored.position)
