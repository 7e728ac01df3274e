"""``connect``: a market in a notebook, with everything that a client does on it."""

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from domain.blobs import BlobRef
from domain.errors import Refused
from domain.events import Platform
from domain.ids import job_id
from services import logs
from services.bus.commands import new_nonce
from services.bus.wire import BusError
from services.client import embedded
from services.client.background import Background
from services.client.bill import Quote
from services.client.buying import Desk
from services.client.calls import Call
from services.client.cards import Card, Shown
from services.client.embedded import Place
from services.client.errors import NoAnswer
from services.client.events import Events
from services.client.functions import Function, P, R
from services.client.jobs import Job, Made
from services.client.listing import Listing
from services.client.money import Amount, checked
from services.client.past import Past
from services.client.payouts import COLUMNS, Chain, Payout, payout_of
from services.client.receipt import JobReceipt
from services.client.session import follow
from services.client.terms import Terms
from services.client.words import count, sat
from services.config import Settings
from services.keys import market_key
from services.ledger.errors import LogLost
from services.projections import queries, settled
from services.projections.queries import Reader
from services.replay import replay

T = TypeVar("T")
#: Workers that a market gets which is started here.
WORKERS: Final = 2
NO_STAKE: Final = Amount(0)


def connect(
    *, name: str = "client", home: str | Path | None = None, workers: int = WORKERS, ephemeral: bool = False
) -> "Market":
    """The market that PASAR_DATABASE_URL and PASAR_NATS_URL name, the one that runs here, or one that is started here.

    Args:
        name: Party of this machine that acts; its key is made on first use.
        home: Directory of the embedded market instead of PASAR_HOME.
        workers: Started beside a new market, on this machine.
        ephemeral: A market of its own in a temporary directory, gone when it is closed.
    Raises:
        StartFailed, Unavailable: It does not start or does not answer.
    """
    place = embedded.find(None if home is None else Path(home), workers, ephemeral=ephemeral)
    try:
        return Market(place, name)
    except BaseException:
        if place.started:
            embedded.stop(place)
        raise


class Market(Shown):
    """A client's way to a market; see ``connect``. It may be used from any thread, and its handles in any loop."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._page = embedded.page_url(place)
        logs.quietly(place.settings, "client")
        self._background = Background()
        opened: Future[Desk] = Future()
        self._closing: asyncio.Event | None = None
        self._living = self._background.start(self._live(opened))
        try:
            self._desk = opened.result()
        except BaseException:
            self._background.stop()
            raise
        atexit.register(self.close)

    async def _live(self, opened: "Future[Desk]") -> None:
        """Hold what is open until ``close``."""
        self._closing = asyncio.Event()
        try:
            async with Desk.open(self._place.settings, self._name) as desk:
                opened.set_result(desk)
                await self._closing.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    # ------------------------------------------------------------------------------------------------------------ money
    @property
    def key(self) -> str:
        """The public key that acts here."""
        return self._desk.session.key

    @property
    def settings(self) -> Settings:
        """Where the market is: its addresses and its home on this machine."""
        return self._place.settings

    @property
    def balance(self) -> Amount:
        """What is free in the escrow, after all that this client did."""
        return Amount(self.escrow().usable_msat)

    def fund(self, amount: Amount) -> Amount:
        """Put money into the escrow, from the faucet of an embedded chain.

        Args:
            amount: As ``pasar.sats(10_000)``.
        Returns:
            What is free then.
        Raises:
            TypeError: It is a bare number.
        """
        self._do(self._desk.session.fund(int(checked(amount, "what is funded"))))
        return self.balance

    def refund(self, amount: Amount) -> Amount:
        """Take free money out of the escrow again; what is free then."""
        self._do(self._desk.session.refund(int(checked(amount, "what is refunded"))))
        return self.balance

    def escrow(self) -> queries.Escrow:
        """The escrow, with where its money went."""
        return self._do(self._desk.escrow())

    # ---------------------------------------------------------------------------------------------------------- buying
    @overload
    def job(self, function: Callable[P, R], /) -> Function[P, R]: ...
    @overload
    def job(
        self,
        *,
        budget: Amount | None = None,
        price: Amount | None = None,
        stake: Amount = NO_STAKE,
        replicas: int = 1,
        timeout_s: int | None = None,
        memory_mb: int | None = None,
        reuse: bool = True,
        platforms: Sequence[Platform] = ("cpu",),
        deadline: timedelta | float = timedelta(hours=1),
        static_argnames: Sequence[str] | str = (),
    ) -> Callable[[Callable[P, R]], Function[P, R]]: ...
    def job(self, *functions: Any, **terms: Any) -> Any:
        """Decorate a function that the market is to run.

        Args:
            budget: The most that a job may cost, fee included, as ``pasar.sats(2_000)``; absent: no bound.
            price: Paid for one run of one task, an amount; absent: what the quote says.
            stake: What a worker risks on each run, an amount.
            replicas: Different workers that run each task. With 1 the result is opened and nobody runs it again: you
                trust that worker. With 2 the results are compared, neither worker sees the other's before it is bound,
                and a referee runs the task again where they differ; it costs twice as much.
            timeout_s, memory_mb: For one run; absent: from what the program takes by its meter.
            reuse: Take the results of the same work, if it was verified before, for a tenth of the price.
            platforms: Where it may run.
            deadline: For the whole job; a number is in seconds.
            static_argnames: Arguments that are part of the program and no arrays, as of ``jax.jit``.
        """
        static = terms.pop("static_argnames", ())
        made = _terms(**terms)

        def decorate(function: Callable[P, R]) -> Function[P, R]:
            return Function(self, function, made, (static,) if isinstance(static, str) else tuple(static))

        return decorate(*functions) if functions else decorate

    def job_by_id(self, id_: str) -> Job:
        """A job that was posted before, here or elsewhere, by its id or the beginning of it.

        A program that this party exported on this machine is known by its address in a list of the machine's own, and
        opened for the form of its results; the results of any other are arrays by name.

        Raises:
            UnknownJob, Ambiguous: None or several begin so.
        """
        return self._do(self._find(id_))

    # ---------------------------------------------------------------------------------------------------------- looking
    def jobs(self, limit: int = 100, state: str | None = None) -> "Listing[queries.Job]":
        """The latest jobs of the market, newest first."""
        return Listing(self._ask(lambda reader: reader.jobs(limit, state)), _JOB_COLUMNS)

    def workers(self) -> "Listing[queries.Worker]":
        """Every worker, in the order of registration."""
        return Listing(self._ask(lambda reader: reader.workers()), _WORKER_COLUMNS)

    @property
    def chain(self) -> Chain | None:
        """The chain that the market settles on; absent while it has joined none."""
        row = self._ask(lambda reader: reader.settled.chain())
        return None if row is None else Chain(row)

    def payouts(self, limit: int = 100) -> "Listing[settled.Payout]":
        """The latest payouts on the chain, newest first."""
        return Listing(self._ask(lambda reader: reader.settled.payouts(limit)), COLUMNS)

    def payout(self, epoch: int) -> Payout:
        """One payout in full: whom it pays for which jobs, its transaction, and what it binds.

        Raises:
            UnknownPayout: There is none.
        """
        return self._ask(lambda reader: payout_of(reader, epoch))

    def events(self, *, after: int = 0, upto: int | None = None, limit: int | None = None) -> Events:
        """The market's events behind a position.

        ``async for`` goes on with what happens, ``for`` ends where the log ends now.

        Args:
            upto: The last position. limit: The most events.
        """
        settings = self._place.settings
        return Events(
            self._background,
            lambda position: self._desk.kept(None, position),
            lambda position: follow(settings, after=position),
            after=after,
            upto=upto,
            limit=limit,
        )

    def content(self, of: BlobRef | str) -> bytes:
        """What an event refers to, or the stored bytes at an address; checked against the one or the other.

        Raises:
            BlobMissing: Nobody holds it.
            Corrupt: It is not what the event is bound to.
        """
        return self._do(self._desk.session.fetch(of) if isinstance(of, str) else self._desk.session.opener.open(of))

    def replay(self, upto: int | None = None, *, at: datetime | None = None) -> Past:
        """The market as it was after the event at ``upto``, or at a time; as it is now if neither is given.

        Raises:
            ValueError: Both are given.
        """
        if upto is not None and at is not None:
            raise ValueError("give upto= or at=, not both: each names a place in the log")
        url = self._place.settings.database_url
        assert url is not None, "a market that is open has a database"

        async def fold() -> Past:
            async with await Reader.open(url, connections_max=1) as reader:
                return Past(await replay(reader.log, at if at is not None else upto))

        return self._do(asyncio.to_thread(lambda: asyncio.run(fold())))

    def card(self) -> Card:
        place = self._place
        where = place.settings.nats_url if place.external else place.settings.home
        title = f"market of {self._name} ({self.key[:12]}…) on {where}"
        try:
            escrow, workers = self.escrow(), self.workers()
        except Refused as refused:
            return Card(title=title, sentence=str(refused))
        asking = [one for one in workers if one.asking and one.state == "active"]
        cheapest = f", from {sat(min(one.ask_msat or 0 for one in asking))} a task" if asking else ""
        hint = "" if escrow.usable_msat else " Fund it with m.fund(pasar.sats(10_000))."
        return Card(
            title=title,
            sentence=f"{sat(escrow.usable_msat)} free, {count(len(asking), 'worker')} at work{cheapest}.{hint}",
            lines=[
                ("balance", f"{sat(escrow.usable_msat)} free, {sat(escrow.reserved_msat)} reserved"),
                ("workers", f"{len(asking)} of {len(workers)} take work"),
                ("look", self._page or "pasar status, pasar job list, pasar events --follow"),
            ],
            more=[("events", place.settings.nats_url or ""), ("key", self.key), ("home", str(place.settings.home))],
        )

    # ------------------------------------------------------------------------------------------------------------ close
    def close(self, *, stop: bool = False) -> None:
        """Let go of the market; jobs go on without.

        Args:
            stop: Stop the market too, if it was started here. An ephemeral one always stops.
        """
        atexit.unregister(self.close)
        if self._background.alive:
            assert self._closing is not None
            self._background.call(self._closing.set)
            with suppress(Exception):  # what was lost on the way is said where it was asked for
                self._living.result()
            self._background.stop()
        if self._place.temporary is not None or (stop and self._place.started):
            place, self._place = self._place, self._place._replace(started=False, temporary=None)
            embedded.stop(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------------------------- what functions and handles use
    def _quote(self, function: str, call: Call, terms: Terms) -> Quote:
        return self._do(self._desk.quote(function, call, terms))

    def _submit(self, function: str, call: Call, terms: Terms, *, mapped: bool) -> Job:
        self._desk.check()
        nonce = new_nonce()
        made = Made(function, call.form, mapped)
        job = Job(self, job_id(self.key, nonce, 0), call.tasks, made)
        self._background.call(self._desk.begin, job, call, terms, nonce)
        return job

    def _cancel(self, job: Job) -> bool:
        return self._do(self._desk.cancel(job))

    def _events_of(self, job: str, *, after: int) -> Events:
        return Events(
            self._background,
            lambda position: self._desk.kept(job, position),
            lambda position: self._desk.until_completed(job, position),
            after=after,
            upto=None,
            limit=None,
        )

    def _receipt(self, job: str) -> JobReceipt:
        return JobReceipt(self._do(self._desk.receipt(job)), market_key(self._place.settings))

    async def _find(self, id_: str) -> Job:
        row = await self._desk.row(id_)
        made = await self._desk.made(row)
        job = Job(self, row.job, row.tasks, made)
        await self._desk.attend(job, row)
        return job

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        self._background.later(seconds, function)

    def _ask(self, question: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        return self._do(self._desk.ask(question))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the market's thread, and say what to do when nobody answers.

        Raises:
            NoAnswer: Nobody does.
            Closed, ConnectionLost: Nothing can be done here any more.
        """
        try:
            self._desk.check()
        except Refused:
            work.close()
            raise
        try:
            return self._background.run(work)
        except (BusError, TimeoutError, LogLost) as error:
            raise NoAnswer(reason=str(error) or "no reply in time") from error


def _terms(
    *,
    budget: Amount | None = None,
    price: Amount | None = None,
    stake: Amount = NO_STAKE,
    replicas: int = 1,
    timeout_s: int | None = None,
    memory_mb: int | None = None,
    reuse: bool = True,
    platforms: Sequence[Platform] = ("cpu",),
    deadline: timedelta | float = timedelta(hours=1),
) -> Terms:
    return Terms(
        budget_msat=None if budget is None else int(checked(budget, "budget=")),
        price_msat=None if price is None else int(checked(price, "price=")),
        stake_msat=int(checked(stake, "stake=")),
        replicas=replicas,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        reuse=reuse,
        platforms=tuple(platforms),
        deadline=deadline if isinstance(deadline, timedelta) else timedelta(seconds=deadline),
    )


_JOB_COLUMNS: Final = ("job", "state", "verified", "tasks", "price_msat", "paid_msat", "posted_at")
_WORKER_COLUMNS: Final = ("worker", "state", "asking", "platform", "ask_msat", "verified", "earned_msat")
