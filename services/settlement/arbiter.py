"""The arbiter: reads the whole log off the stream by itself, plans each payout again, and signs only what it finds too.

It has its own key, its own copy of the books and of the Merkle tree, and its own memory of what it signed, and asks the
market for nothing: it may run anywhere that hears the stream. It reads when it is asked to sign; between payouts it
costs nothing.

It holds the market to its log, which the next anchor shows to everybody. Whether what the log says of jobs is true it
does not ask: no signature of a client's or a worker's is on the stream.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from domain import planning
from domain.books import Books
from domain.errors import Corrupt, Refused
from domain.events import Objection, PayoutAllotted, PayoutPlanned
from domain.settlement import ContestPayout
from services.bus.client import Commander
from services.bus.wire import BusError
from services.ledger import merkle
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.settlement import cosigning
from services.settlement.cosigning import SUBJECT, Declined, Identity, Signed, SignPayout, WhoAreYou
from services.settlement.follower import MONEY, fold
from services.settlement.verdicts import Verdict, Verdicts
from services.settlement.wallet import Role, Wallet
from services.stack.permissions import inbox

#: How long the log may take to be read up to a payout.
READ_S: Final = 120
_PLANNED: Final = "PayoutPlanned.v1"

log = structlog.get_logger()
#: Reads the stream behind a position into ``offer`` until cancelled.
Read = Callable[[Callable[[], int], Callable[[list[Stored]], Awaitable[None]]], Awaitable[None]]


class Ledger:
    """The arbiter's own reading of the log, up to the payout that it was asked about.

    Attributes:
        objections: What is wrong with each payout that was asked about; absent if nothing is.
    """

    def __init__(self, market: str, roots: Mapping[int, str]) -> None:
        """Args:
        market: The operator's key.
        roots: By size: what the log's beginnings were when they were signed.
        """
        self._market, self._roots, self._forked = market, roots, False
        self.books, self.tree = Books(), merkle.CompactRange()
        self._root = ""
        self._expected: list[PayoutPlanned | PayoutAllotted] = []
        self.objections: dict[int, Objection | None] = {}

    @property
    def position(self) -> int:
        return self.tree.size

    def read(self, events: Sequence[Stored], asked: SignPayout) -> bool:
        """Follow the log up to the end of the payout that was asked for.

        Returns:
            Whether it was reached; what is behind it is left for later.
        Raises:
            Corrupt: A position is missing, or an event cannot be read.
        """
        for stored in events:
            if stored.position <= self.position:
                continue
            if stored.position != self.position + 1:
                raise Corrupt(f"position {self.position + 1} is missing on the stream")
            if self._is_over(stored, asked.epoch):
                return True
            self.tree.extend([merkle.leaf(stored)])
            if self._roots.get(self.position, "") not in ("", self.tree.root.hex()):
                self._forked = True
            if self.tree.size == asked.size:
                self._root = self.tree.root.hex()
            if stored.name in MONEY:
                self._follow(stored, asked)
            if asked.epoch in self.objections and not self._expected:
                return True
        return False

    def _is_over(self, stored: Stored, epoch: int) -> bool:
        """Whether the payout ended without all that was expected of it."""
        over = epoch in self.objections and bool(self._expected) and stored.name != "PayoutAllotted.v1"
        if over:
            self.objections[epoch], self._expected = "plan", []
        return over

    def _follow(self, stored: Stored, asked: SignPayout) -> None:
        event = decode_stored(stored)
        if isinstance(event, PayoutPlanned) and event.epoch == asked.epoch:
            self._judge(event, asked)
        elif isinstance(event, PayoutAllotted) and event.epoch == asked.epoch:
            expected = self._expected.pop(0) if self._expected else None
            if event != expected:
                self.objections[asked.epoch] = self.objections[asked.epoch] or "plan"
        fold(self.books, event)

    def _judge(self, planned: PayoutPlanned, asked: SignPayout) -> None:
        """Plan it again; the allotments that must follow are compared as they come."""
        size, root = planned.size, planned.root
        terms = {"epoch": planned.epoch, "rate_msat": planned.rate_msat, "size": size}
        objection: Objection | None = None
        try:
            own, allotted = planning.plan(self.books, self._market, root=root, **terms)
        except Refused:
            own, allotted, objection = None, [], "plan"
        if own != planned:
            objection = "plan"
        elif self._forked or (size, root) != (asked.size, asked.root) or root != self._root:
            objection = "root"
        self.objections[planned.epoch] = objection
        self._expected = [*allotted]


class Arbiter:
    """Answers settlement."""

    def __init__(
        self, client: Client, market: str, commander: Commander, wallet: Wallet, read: Read, verdicts: Verdicts
    ) -> None:
        """Args:
        market: The operator's key.
        """
        self._client, self._market, self._commander = client, market, commander
        self._wallet, self._read, self._verdicts = wallet, read, verdicts
        self._ledger = Ledger(market, verdicts.roots())
        self._wanted: asyncio.Queue[tuple[Msg, SignPayout]] = asyncio.Queue(maxsize=16)
        self.signed = self.contested = 0

    def status(self) -> dict[str, object]:
        return {"position": self._ledger.position, "signed": self.signed, "contested": self.contested}

    async def serve(self) -> None:
        """Take requests from now on."""
        await self._client.subscribe(SUBJECT, queue="arbiter", cb=self._on_request)

    async def run(self) -> None:
        """Answer one after another, for ever."""
        while True:
            message, asked = await self._wanted.get()
            try:
                answer = await self.answer(asked)
            except (TimeoutError, BusError, OSError) as error:
                log.warning("the arbiter cannot read the log", error=str(error) or type(error).__name__)
                answer = Declined()
            await message.respond(msgspec.json.encode(answer))

    async def _on_request(self, message: Msg) -> None:
        # Whoever may create a consumer can have what a party stored delivered here, but not with settlement's inbox.
        if not message.reply.startswith(f"{inbox('settlement')}."):
            log.warning("somebody else than settlement asks the arbiter")
            return
        try:
            asked = msgspec.json.decode(message.data, type=WhoAreYou | SignPayout)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(asked, WhoAreYou):
            key = await asyncio.to_thread(self._wallet.public, Role.cosign, 0)
            await message.respond(msgspec.json.encode(Identity(self._commander.party.key, key.hex())))
        elif not self._wanted.full():
            self._wanted.put_nowait((message, asked))

    async def answer(self, asked: SignPayout) -> Signed | Declined:
        """Sign a payout, or contest it, or say that it cannot be told.

        Raises:
            TimeoutError, BusError, OSError: The log cannot be read, or the objection cannot be recorded.
        """
        if asked.epoch not in self._ledger.objections:
            await self._catch_up(asked)
        books, objection = self._ledger.books, self._ledger.objections[asked.epoch]
        found = books.payouts[asked.epoch]
        if not found.open:
            return Declined()
        txids = found.txids if objection is None else ()
        planned = found.planned
        objection = self._verdicts.say(Verdict(asked.epoch, planned.size, planned.root, txids, objection))
        if objection is not None:
            self.contested += 1
            log.critical("the arbiter does not sign", epoch=asked.epoch, objection=objection)
            await self._commander.send([ContestPayout(asked.epoch, objection)], strict=False)
            return Declined(objection)
        signer = await asyncio.to_thread(self._wallet.signer, Role.cosign, 0)
        signed = await asyncio.to_thread(cosigning.sign, books, found, signer)
        self.signed += 1
        return Signed(signed)

    async def _catch_up(self, asked: SignPayout) -> None:
        """Read the log up to the payout; from the beginning where its root was passed already."""
        if self._ledger.position >= asked.size:
            self._ledger = Ledger(self._market, self._verdicts.roots())
        ledger, reached = self._ledger, asyncio.Event()

        async def offer(events: list[Stored]) -> None:
            if not reached.is_set() and ledger.read(events, asked):
                reached.set()

        async with asyncio.timeout(READ_S):
            reading = asyncio.ensure_future(self._read(lambda: ledger.position, offer))
            waiting = asyncio.ensure_future(reached.wait())
            try:
                await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
                if not reached.is_set():
                    await reading
            finally:
                reading.cancel()
                waiting.cancel()
