"""How a page acts: through the gateway like everybody, signed with the key of one of this machine's parties.

One session of a party serves all viewers; it is opened when it is first needed and lives in the process's loop, as the
database's connections do. Where others may reach the page nothing is signed here, unless its owner says so
(``PASAR_PAGE_SPEND``).
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar, Final, Protocol, TypeVar

from domain.blobs import address_of
from domain.errors import Refused, UnknownEscrow, UnknownJob
from domain.ids import escrow_id, job_id
from services.bus.client import RefusedByMarket
from services.bus.inspection import Finding
from services.bus.wire import BusError
from services.client import names as parties
from services.client import pricing
from services.client.bill import Quote
from services.client.goods import Goods
from services.client.session import Session, Work, session
from services.client.terms import Terms
from services.config import Settings
from services.keys import party
from services.projections.queries import Escrow
from services.stack.page import Options
from services.viewing.view import View
from ui.page import process
from ui.page.context import Context

T = TypeVar("T")
PARTY: Final = "client"
#: Findings of the inspector that are kept.
FINDINGS_MAX: Final = 256
#: Refusals that say that the very same command was carried out before.
_DONE: Final = ("Replayed", "AlreadyCredited")


class NoAnswer(Refused):
    template: ClassVar[str] = (
        "the market does not answer ({reason}); whether it was done is not known: press the button again, it is done "
        "once at most, or see `pasar status`"
    )


class OpenToOthers(Refused):
    template: ClassVar[str] = (
        "this page is open to others, so it spends nobody's money; use the command line on your own machine"
    )


class NothingCame(Refused):
    template: ClassVar[str] = "the market took the command before and no job came of it; nothing is reserved, try again"


class Client(Protocol):
    """What a page may do in the name of this machine's client."""

    @property
    def key(self) -> str: ...
    @property
    def escrow(self) -> str: ...
    def quote(self, goods: Goods, terms: Terms) -> Quote:
        """What it would cost now; it reserves nothing."""
        ...

    def fund(self, amount_msat: int, once: str) -> None:
        """Put play money into the escrow; the same ``once`` is funded once."""
        ...

    def refund(self, amount_msat: int, once: str) -> None:
        """Take free money out of the escrow."""
        ...

    def post(self, work: Work, once: str) -> str:
        """Post a job, which is seen on every page afterwards; its id."""
        ...

    def cancel(self, job: str, once: str) -> None:
        """Have no further task of a job given out."""
        ...


def hindrance(context: Context) -> str:
    """Why nothing can be done on this page; empty if something can."""
    if not context.present:
        return "This is the market as it was; go back to now to act on it."
    if process.market().settings is None:
        return "This market was recorded; nothing can be done on it."
    if not spends():
        why = str(OpenToOthers())
        return f"{why[0].upper()}{why[1:]}."
    return ""


def spends() -> bool:
    """Whether keys of this machine sign for whoever looks."""
    return Options.from_environment(os.environ).spend


def names() -> Mapping[str, str]:
    """What parties are called on this machine, by key; told on a page of its own only."""
    settings = process.market().settings
    if settings is None or not spends():
        return {}
    return parties.known(settings)


def client(name: str = PARTY) -> Client:
    """This machine's party of that name as a client; ask ``hindrance`` before."""
    market = process.market()
    assert isinstance(market, process.Running), "without a market that runs there is a hindrance"
    with _lock:
        found = _kept.get(name)
        if found is None or found.market is not market:
            found = _kept[name] = Acting(market, name)
        return found


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Around every command: whether there may be one, whatever was drawn, and what it means if no answer comes.

    Raises:
        OpenToOthers: There may be none.
        NoAnswer: The market did not answer.
    """
    if not spends():
        raise OpenToOthers
    try:
        yield
    except (BusError, TimeoutError, OSError) as error:
        raise NoAnswer(reason=str(error) or "no reply in time") from error


def account(view: View, id_: str) -> Escrow:
    """An escrow, empty if it was never funded."""
    try:
        return view.escrow(id_)
    except UnknownEscrow:
        return Escrow(
            escrow=id_, client="", funded_msat=0, free_msat=0, reserved_msat=0, released_msat=0, charged_msat=0,
            refunded_msat=0, last_pos=0,
        )  # fmt: skip


async def close() -> None:
    """Leave the market, when the process ends."""
    for one in list(_kept.values()):
        await one.leave()


class Acting:
    """A party of this machine on the market that is shown."""

    def __init__(self, market: process.Running, name: str) -> None:
        assert market.settings is not None, "a market that runs has settings"
        self.market, self._name = market, name
        self._settings: Settings = market.settings
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._opening = asyncio.Lock()
        self._findings: dict[str, Finding] = {}

    @property
    def key(self) -> str:
        return party(self._settings, self._name).key

    @property
    def escrow(self) -> str:
        return escrow_id(self.key)

    def quote(self, goods: Goods, terms: Terms) -> Quote:
        return self.market.ask(self._quote(goods, terms))

    def fund(self, amount_msat: int, once: str) -> None:
        self.market.ask(self._once(lambda client: client.fund(amount_msat, request=once)))

    def refund(self, amount_msat: int, once: str) -> None:
        self.market.ask(self._once(lambda client: client.refund(amount_msat, nonce=once)))

    def post(self, work: Work, once: str) -> str:
        job = job_id(self.key, once, 0)
        self.market.ask(self._once(lambda client: client.post(work, nonce=once)))
        try:
            self.market.ask(self.market.reader.job(job))
        except UnknownJob:
            raise NothingCame from None
        return job

    def cancel(self, job: str, once: str) -> None:
        self.market.ask(self._once(lambda client: client.cancel(job, nonce=once)))

    async def leave(self) -> None:
        """End the session; the next one who acts opens another."""
        stack, self._stack, self._session = self._stack, AsyncExitStack(), None
        await stack.aclose()

    async def _quote(self, goods: Goods, terms: Terms) -> Quote:
        address = address_of(goods.program)
        finding = self._findings.get(address)
        if finding is None:
            finding = await self._with(lambda client: client.inspect(goods.program))
            self._findings[address] = finding
            while len(self._findings) > FINDINGS_MAX:
                del self._findings[next(iter(self._findings))]
        return await pricing.quote(self.market.reader, self.key, goods.name, goods, terms, finding)

    async def _once(self, work: Callable[[Session], Awaitable[object]]) -> None:
        """Do what is done once at most, and wait until the read models show it."""
        try:
            await self._with(work)
        except RefusedByMarket as refused:
            if refused.name not in _DONE:
                raise
        if self._session is not None:
            await self.market.reader.wait_for(max(self._session.position, await self.market.reader.log.head()))

    async def _with(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Do it in the session; one that lost the market is left, so that the next try opens another.

        Raises:
            OpenToOthers: Nothing may be done here.
            NoAnswer: The market did not answer.
        """
        async with _answering():
            async with self._opening:
                if self._session is None:
                    self._session = await self._stack.enter_async_context(session(self._settings, self._name))
            try:
                return await work(self._session)
            except (BusError, TimeoutError, OSError):
                await self.leave()
                raise


_lock = threading.Lock()
_kept: dict[str, Acting] = {}
