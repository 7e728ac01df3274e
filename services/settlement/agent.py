"""Settlement: follows the chain for the market, and brings its payouts into it.

Each turn: follow the chain (go back where it was reorganised, then forward), look at the blocks that are deep enough,
see every payout through, and plan the next when it is due. What it tells the market is checked there; what it loses in
a crash it finds again, because a deposit is counted once and a payout is the same transaction however often it is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog
from msgspec import Struct

from domain import paying, payout, planning
from domain.books import Payout, State
from domain.commands import Command
from domain.errors import Refused
from domain.planning import NothingToPay
from domain.settlement import (
    AbandonPayout,
    JoinChain,
    PlanPayout,
    RecordBroadcast,
    ReturnLapsed,
)
from services.bus.client import Commander
from services.bus.wire import BusError
from services.ledger.root import SignedRoot
from services.ports import BlockId, Chain, Clock
from services.settlement import cosigning
from services.settlement.cosigning import Declined, Signed, SignPayout
from services.settlement.errors import TransactionRefused
from services.settlement.follower import Follower
from services.settlement.funding import Funding
from services.settlement.lib import Library
from services.settlement.outbox import Outbox
from services.settlement.walk import Walk
from services.settlement.wallet import Signer

#: Items of one command.
ITEMS: Final = 200
#: Blocks without a confirmation after which the next rung is sent.
RUNG_BLOCKS: Final = 6
RETRY_S: Final = 1.0
#: How often the wait for the next payout doubles while the arbiter contests one after another.
CONTESTED_MAX: Final = 10
#: How long a payout waits at most that saves what an owner can soon take: a sixth of ``SAFETY_BLOCKS``.
URGENT: Final = timedelta(hours=2)
#: How long a fee rate should let a payout wait, in blocks.
TARGET_BLOCKS: Final = 6
#: How long the stream may take to show what the market recorded.
HEAR_S: Final = 30

log = structlog.get_logger()


class Terms(Struct, frozen=True, kw_only=True):
    """On what the market settles.

    Attributes:
        every: Time between two payouts, at least.
        poll_s: Time between two looks at the chain.
    """

    join: JoinChain
    every: timedelta
    quiet: timedelta | None
    poll_s: float


class Agent:
    """Settles one market."""

    def __init__(
        self,
        chain: Chain,
        commander: Commander,
        follower: Follower,
        terms: Callable[[BlockId], Awaitable[Terms]],
        ask_arbiter: Callable[[SignPayout], Awaitable[Signed | Declined]],
        signed_root: Callable[[], Awaitable[SignedRoot]],
        cosigner: tuple[Library, Signer],
        outbox: Outbox,
        funding: Funding,
        clock: Clock,
        *,
        mine: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        terms: Told the block to join at, on what to settle; it waits for the arbiter.
        mine: Asks for a block, where the chain is the market's own.
        """
        self._chain, self._commander, self._follower, self._terms_of = chain, commander, follower, terms
        self._ask_arbiter, self._signed_root, self._cosigner = ask_arbiter, signed_root, cosigner
        self._outbox, self._clock, self._mine = outbox, clock, mine
        self._terms: Terms | None = None
        self._walk = Walk(chain, follower, self._tell, funding, mine)
        self._sent: dict[int, tuple[str, int, str]] = {}
        self._due: _Due | None = None
        self._contested = 0
        self._soon = asyncio.Event()
        self.waits_for, self._trouble = "", ""

    def status(self) -> dict[str, object]:
        books = self._follower.books
        return {
            "chain": f"{books.chain.network} block {books.height}" if books.chain else None,
            "payouts": len(books.payouts),
            "open_payouts": len(books.open_payouts),
            "next": self._trouble or self.waits_for or None,
        }

    def hurry(self) -> None:
        """Look at the chain now."""
        self._soon.set()

    async def run(self) -> None:
        """Settle for ever."""
        while True:
            self._soon.clear()
            try:
                poll_s = await self.turn()
            except (BusError, OSError, TimeoutError, Refused) as error:
                self._trouble = str(error) or type(error).__name__
                log.warning("settlement waits", error=self._trouble)
                await asyncio.sleep(RETRY_S)
                continue
            self._trouble = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await self._soon.wait()

    async def turn(self) -> float:
        """Do what there is to do now; how long until the next look at the chain, in seconds.

        Raises:
            BusError, TimeoutError, OSError, Refused: Somebody who is needed does not answer, or says no.
        """
        if self._terms is None:
            self._terms = await self._join()
        await self._walk.follow()
        await self._see_through()
        await self._plan(self._terms)
        return self._terms.poll_s

    # ----------------------------------------------------------------------------------------------------- the market
    async def _tell(self, items: Sequence[Command]) -> list[str]:
        """Have the market record these, and wait until the books show it.

        Returns:
            The names of the refusals.
        """
        refused: list[str] = []
        for start in range(0, len(items), ITEMS):
            reply = await self._commander.send(items[start : start + ITEMS], strict=False)
            refused += [one.name for one in reply.refused]
            for one in reply.refused:
                if one.name not in ("AlreadyCredited", NothingToPay.__name__):
                    log.warning("the market refuses", reason=one.message)
            async with asyncio.timeout(HEAR_S):
                await self._follower.reached(reply.position)
        return refused

    async def _join(self) -> Terms:
        terms = await self._terms_of(await self._walk.beginning())
        reply = await self._commander.send([terms.join])
        async with asyncio.timeout(HEAR_S):
            await self._follower.reached(reply.position)
        return terms

    # -------------------------------------------------------------------------------------------------------- payouts
    async def _see_through(self) -> None:
        """Sign, send, send dearer, or give up what is open; the oldest first."""
        books = self._follower.books
        for epoch in books.open_payouts:
            found = books.payouts[epoch]
            gone = [coin.outpoint for coin in payout.coins(found.planned) if coin.outpoint not in books.coins]
            if paying.may_abandon(books, found):
                self._contested += found.state is State.CONTESTED
                await self._tell([AbandonPayout(epoch)])
            elif gone:
                self.waits_for = f"payout {epoch} waits for an output that is gone to come back, or to be gone for good"
                self._mine()
            else:
                await self._send(epoch, found)

    async def _send(self, epoch: int, found: Payout) -> None:
        """Have the payout mined: once a block, and dearer where that takes too long.

        A rung is recorded before it goes out: from then on the arbiter can no longer object to the payout, which would
        be given up, and planned again, while the network has it.
        """
        rungs = self._outbox.get(epoch) or await self._sign(epoch, found)
        if rungs is None:
            return
        tip, names = await self._chain.tip(), list(rungs)
        name, since, last = self._sent.get(epoch, (found.sent or names[0], tip.height, ""))
        if last == tip.hash:
            return
        if tip.height - since >= RUNG_BLOCKS and name != names[-1]:
            name, since = names[names.index(name) + 1], tip.height
        self._sent = {epoch: (name, since, tip.hash)}
        try:
            if name != found.sent:
                await self._chain.check(rungs[name])
                if await self._tell([RecordBroadcast(epoch, name)]):
                    return
            await self._chain.send(rungs[name])
        except TransactionRefused as refused:
            self.waits_for = f"payout {epoch} cannot be sent: {refused}"
            log.warning("a payout cannot be sent", epoch=epoch, reason=str(refused))
            return
        self._mine()

    async def _sign(self, epoch: int, found: Payout) -> dict[str, bytes] | None:
        """Both parties' signatures on every rung, kept before any is used; nothing where the arbiter does not sign."""
        asked = SignPayout(epoch, found.planned.size, found.planned.root)
        answer = await self._ask_arbiter(asked)
        if isinstance(answer, Declined):
            self.waits_for = f"the arbiter does not sign payout {epoch}: {answer.objection or 'it cannot read the log'}"
            return None
        library, signer = self._cosigner
        books = self._follower.books
        assert books.chain is not None
        by_key = [
            (signer.key, await asyncio.to_thread(cosigning.sign, books, found, signer)),
            (bytes.fromhex(books.chain.arbiter_key), answer.rungs),
        ]
        rungs = await asyncio.to_thread(cosigning.combine, library, books, found, by_key)
        self._outbox.put(epoch, rungs)
        self._contested = 0
        return rungs

    async def _plan(self, terms: Terms) -> None:
        """Plan the next payout, once it has been due for long enough."""
        books = self._follower.books
        if books.open_payouts:
            return
        rate_msat = min(await self._chain.fee_rate(TARGET_BLOCKS), payout.RATE_MSAT_MAX)
        if self._due is None or self._due.seen != (self._follower.position, rate_msat):
            if books.lapsed:
                await self._tell([ReturnLapsed()])
            self._due = self._look_what_is_due((self._follower.position, rate_msat))
        if self._due.since is None or not self._due.ripe(self._clock.now(), terms, self._contested):
            return
        root = await self._signed_root()
        if await self._tell([PlanPayout(rate_msat, root.size, root.root)]):
            return
        self._due, self.waits_for = None, ""
        self._soon.set()

    def _look_what_is_due(self, seen: tuple[int, int]) -> "_Due":
        """Whether a payout could be planned; the market would find the same."""
        books, now, before = self._follower.books, self._clock.now(), self._due
        try:
            urgent = planning.is_urgent(books, self._commander.market, seen[1])
        except NothingToPay as nothing:
            self.waits_for = str(nothing)
            return _Due(seen, None, now)
        return _Due(seen, before.since if before is not None and before.since else now, now, urgent)


class _Due(NamedTuple):
    """Attributes:
    seen: What it was found in: the books at a position, and a fee rate.
    since: When a payout became due; absent if none is.
    changed: When the books last moved.
    urgent: Whether it saves what an owner can soon take.
    """

    seen: tuple[int, int]
    since: datetime | None
    changed: datetime
    urgent: bool = False

    def ripe(self, now: datetime, terms: Terms, contested: int) -> bool:
        """Whether it has waited for long enough; twice as long after each of ``contested`` payouts in a row."""
        assert self.since is not None
        times = 1 << min(contested, CONTESTED_MAX)
        every = min(terms.every, URGENT) if self.urgent else terms.every
        due, quiet = now - self.since >= every * times, now - self.changed
        return due or (terms.quiet is not None and quiet >= terms.quiet * times)
