"""The read side: what the command line, notebooks and dashboards ask, answered from the read models and the log.

A reader cannot write. What it shows may be a moment old: wait for the position of your own command before you look.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar

import asyncpg
import msgspec
from msgspec import Struct

from domain.errors import Refused, Unavailable, UnknownEscrow, UnknownJob, UnknownWorker
from domain.events import FeeSet
from domain.meter import Meter
from services.ledger.codec import decode_stored
from services.ledger.errors import LogLost
from services.ledger.reader import PAGE_EVENTS, LogReader
from services.ledger.schema import SCHEMA
from services.ports import Stored
from services.projections.model import FOLDER
from services.projections.settled_reader import Settled
from services.sql import load_queries

_SQL = load_queries(FOLDER / "queries.sql")
_LOOK_EVERY_S: Final = 0.02
#: How often a watched job is looked at, in seconds.
WATCH_S: Final = 0.2
QUIET_S: Final = 2.0
#: Hits of each kind, and how long the database may look for what has no index, in seconds.
HITS_MAX: Final = 12
SEARCH_S: Final = 2.0
#: What the server itself, or the way to it, does; everything else that a query raises is a bug.
_UNREACHABLE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
_NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


class NoReadModels(Refused):
    template: ClassVar[str] = "the read models are not there yet; look with `pasar status` whether the projector runs"


class NotShownYet(Refused):
    template: ClassVar[str] = (
        "the read models are at position {position} and do not show {wanted} yet; try again, or see `pasar status`"
    )


class ReadModelStopped(Refused):
    template: ClassVar[str] = "read model {name} stopped at position {position}; see why with `pasar projection list`"


class Ambiguous(Refused):
    template: ClassVar[str] = "several {what}s begin with {prefix}; type more of the id"


class Job(Struct, frozen=True, kw_only=True):
    """One job: its terms, its progress and its money.

    Attributes:
        state: ``cancelled`` and ``expired`` until what is assigned is settled too, then ``completed``.
        accepted: Verified results. verified: Settled tasks. given_up: Tasks that too many workers could not run.
        failed: Tasks without a verified result; known at the end.
        original: The earlier job whose results this one was given, if it was.
        chain_msat: What is set aside of a run's price for those who mine payouts, besides the fee.
    """

    job: str
    client: str
    escrow: str
    state: str
    tasks: int
    replicas: int
    price_msat: int
    fee_msat: int
    chain_msat: int
    stake_msat: int
    timeout_s: int
    memory_mb: int
    platforms: str
    execution: str
    program: str
    work_key: str
    original: str | None
    posted_at: datetime
    expires_at: datetime
    completed_at: datetime | None
    failed: int | None
    assigned: int
    committed: int
    submitted: int
    accepted: int
    verified: int
    rejected: int
    expired: int
    given_up: int
    disputes: int
    reserved_msat: int
    paid_msat: int
    charged_msat: int
    freed_msat: int
    last_pos: int


class Task(Struct, frozen=True, kw_only=True):
    """One replica of a task that was ever assigned, at its latest attempt; ``closed``: it is assigned no more."""

    job: str
    task: int
    replica: int
    state: str
    worker: str
    price_msat: int
    expires_at: datetime
    reveal_by: datetime | None
    commitment: str | None
    result_address: str | None
    result_offset: int | None
    result_size: int | None
    result_commitment: str | None
    result_salt: str | None
    equality: str | None
    method: str | None
    reason: str | None
    attempts: int
    paid_msat: int
    closed: bool
    last_pos: int


class Worker(Struct, frozen=True, kw_only=True):
    """One worker; ``ask_msat``, ``slots`` and ``ask_memory_mb`` are those of its last ask, which stands while asking.

    Attributes:
        open: Tasks in its hands. stake_msat: What it has at stake now.
        paid_msat: Of what it earned, what confirmed payouts paid. due_msat: The rest. paying_msat: Of that, what a
            payout under way pays. leaving_msat: Stake that it took back and was not paid yet.
        on_chain_msat: What its account's outputs hold. missing_msat: What was spent of them without the market.
        payout_script: Where it is paid; absent until it has opened an account.
    """

    worker: str
    state: str
    platform: str
    cores: int
    memory_mb: int
    jax_version: str
    asking: bool
    ask_msat: int | None
    slots: int | None
    ask_memory_mb: int | None
    tflop_msat: int | None
    gb_msat: int | None
    flops_per_s: int | None
    bytes_per_s: int | None
    registered_at: datetime
    assigned: int
    open: int
    verified: int
    rejected: int
    failed: int
    expired: int
    returned: int
    earned_msat: int
    deposited_msat: int
    slashed_msat: int
    withdrawn_msat: int
    stake_msat: int
    last_pos: int
    paid_msat: int = 0
    due_msat: int = 0
    paying_msat: int = 0
    leaving_msat: int = 0
    missing_msat: int = 0
    on_chain_msat: int = 0
    payout_script: str | None = None


class Escrow(Struct, frozen=True, kw_only=True):
    """One client's money: what it funded is what is free, reserved, released, charged and refunded together.

    Attributes:
        fund_msat: Of what was charged, what is for those who mine payouts.
        drawn_msat: Of what was released and charged, what confirmed payouts took out of its outputs; ``undrawn_msat``
            still lies there. leaving_msat: What was refunded and is not paid yet.
        on_chain_msat: What its outputs hold. missing_msat: What was spent of them without the market.
    """

    escrow: str
    client: str
    funded_msat: int
    free_msat: int
    reserved_msat: int
    released_msat: int
    charged_msat: int
    refunded_msat: int
    last_pos: int
    fund_msat: int = 0
    drawn_msat: int = 0
    undrawn_msat: int = 0
    leaving_msat: int = 0
    missing_msat: int = 0
    on_chain_msat: int = 0

    @property
    def usable_msat(self) -> int:
        """Free money that its outputs hold."""
        return max(0, self.free_msat - self.missing_msat)


class Program(Struct, frozen=True, kw_only=True):
    """One admitted program: what a task of it takes, and how often it was posted."""

    program: str
    identity: str
    platforms: str
    jax_version: str
    flops: int
    transcendentals: int
    bytes_moved: int
    memory_bytes: int
    input_bytes: int
    output_bytes: int
    admitted_at: datetime
    jobs: int
    last_pos: int

    @property
    def meter(self) -> Meter:
        return Meter(
            self.flops,
            self.transcendentals,
            self.bytes_moved,
            self.memory_bytes,
            self.input_bytes,
            self.output_bytes,
        )


class Hit(Struct, frozen=True, kw_only=True):
    """Something whose name begins as was asked.

    Attributes:
        kind: ``job``, ``escrow``, ``client``, ``worker``, ``party`` (any key), ``program``, ``identity``, ``work``,
            ``commitment``, ``result`` (address), ``content`` (commitment to it), ``equality`` or ``deposit``.
        id: All of the name. job, task: Where it is found. position: Of the event that says it.
    """

    kind: str
    id: str
    job: str | None = None
    task: int | None = None
    position: int | None = None


class Position(Struct, frozen=True, kw_only=True):
    """Where a read model is; ``poison`` says why it stopped, if it did."""

    name: str
    generation: int
    revision: int
    live: bool
    position: int
    poison_pos: int | None
    poison: str | None
    moved_at: datetime


Row = TypeVar("Row", bound=Struct)


class Reader:
    """Everything that can be asked; ``async with await Reader.open(database_url) as reader``.

    Attributes:
        log: The events. settled: The money on the chain.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.log = LogReader(pool)
        self.settled = Settled(self._fetch)

    @classmethod
    async def open(cls, database_url: str, *, connections_max: int = 4) -> Self:
        """Connect to the database of a market.

        Raises:
            Unavailable: It does not answer.
        """
        settings = {
            "search_path": SCHEMA,
            "default_transaction_read_only": "on",
            "application_name": "pasar queries",
        }
        with _translated():
            return cls(
                await asyncpg.create_pool(database_url, min_size=1, max_size=connections_max, server_settings=settings)
            )

    async def close(self) -> None:
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ----------------------------------------------------------------------------------------------------------- rows
    async def jobs(self, limit: int = 100, state: str | None = None) -> list[Job]:
        """The latest jobs, newest first; only those in ``state`` if given."""
        return await self._rows(Job, "jobs", limit, state)

    async def job(self, id_: str) -> Job:
        """The job whose id begins so.

        Raises:
            UnknownJob, Ambiguous: None or several do.
        """
        found = await self._rows(Job, "jobs_starting", id_)
        return only(found, "job", id_, UnknownJob(job=id_))

    async def verified(self, client: str, work_key: str, replicas: int) -> Job | None:
        """The client's own job of this work whose every result was verified, by so many replicas at least."""
        found = await self._rows(Job, "jobs_verified", client, work_key, replicas)
        return found[0] if found else None

    async def tasks(self, job: str, limit: int | None = None) -> list[Task]:
        """The replicas of a job's tasks that were ever assigned, in order."""
        return await self._rows(Task, "tasks", job, limit)

    async def workers(self) -> list[Worker]:
        """Every worker, in the order of registration."""
        return await self._rows(Worker, "workers", None, None)

    async def worker(self, key: str) -> Worker:
        """The worker whose key begins so.

        Raises:
            UnknownWorker, Ambiguous: None or several do.
        """
        return only(await self._rows(Worker, "workers", key, 2), "worker", key, UnknownWorker(worker=key))

    async def escrows(self) -> list[Escrow]:
        """Every escrow."""
        return await self._rows(Escrow, "escrows", None, None)

    async def escrow(self, id_: str) -> Escrow:
        """The escrow whose id begins so.

        Raises:
            UnknownEscrow, Ambiguous: None or several do.
        """
        return only(await self._rows(Escrow, "escrows", id_, 2), "escrow", id_, UnknownEscrow(escrow=id_))

    async def totals(self) -> dict[str, int | None]:
        """What all rows of the market add up to, by name; see ``viewing.view.Totals``."""
        with _translated():
            (row,) = await self._pool.fetch(_SQL["totals"])
            return dict(row)

    async def program(self, address: str) -> Program | None:
        """The program at this address, if it was admitted."""
        found = await self._rows(Program, "programs_starting", address)
        return found[0] if found else None

    async def hits(self, beginning: str, limit: int = HITS_MAX) -> tuple[list[Hit], bool]:
        """What has a name that begins so, the first few of each kind; and whether digests were all looked through.

        Args:
            beginning: Letters and digits; an address may have the algorithm's name before it.
        """
        lower = beginning.lower()
        digest = lower.removeprefix("sha256:")
        address = f"sha256:{digest}"
        with _translated():
            async with self._pool.acquire() as connection, connection.transaction(readonly=True):
                await connection.execute(f"SET LOCAL statement_timeout = {round(SEARCH_S * 1000)}")
                found = await connection.fetch(_SQL["hits_named"], digest, beginning.upper(), address, limit)
                try:
                    async with connection.transaction():
                        found += await connection.fetch(_SQL["hits_digests"], digest, address, limit)
                except asyncpg.QueryCanceledError:
                    return [msgspec.convert(dict(row), Hit) for row in found], False
        return [msgspec.convert(dict(row), Hit) for row in found], True

    async def fees(self) -> FeeSet:
        """The shares of a price that a job which is posted now pays."""
        with _translated():
            found = await self.latest(FeeSet.__name__, 1)
        event = decode_stored(found[-1]) if found else None
        return event if isinstance(event, FeeSet) else FeeSet(0)

    async def positions(self, *, kept: bool = False) -> list[Position]:
        """Where each live read model is, and with ``kept`` those from before the last rebuild."""
        return await self._rows(Position, "positions", kept)

    # --------------------------------------------------------------------------------------------------------- events
    async def events(self, key: str | None = None, *, after: int = 0, limit: int = PAGE_EVENTS) -> list[Stored]:
        """Up to ``limit`` events behind ``after``, in order.

        Args:
            key: A job, party, escrow or name of an event (``JobPosted``) that they speak of; all events if absent.
        """
        with _translated():
            if key is None:
                return await self.log.read(after, limit)
            found = await self._pool.fetch(_SQL["positions_of"], key, after, limit)
            return await self.log.at([row["position"] for row in found])

    async def latest_position(self) -> int:
        """Of the last event of the log; 0 when it is empty."""
        with _translated():
            return await self.log.head()

    async def latest(self, key: str | None = None, limit: int = 20, *, upto: int | None = None) -> list[Stored]:
        """The last events, in order; of those up to a position if given."""
        with _translated():
            if key is None:
                last = await self.log.head() if upto is None else upto
                return await self.log.read(max(0, last - limit), min(limit, last))
            found = await self._pool.fetch(_SQL["latest_of"], key, limit, upto)
            return await self.log.at([row["position"] for row in found])

    # -------------------------------------------------------------------------------------------------------- waiting
    async def wait_for(self, position: int, *, timeout_s: float = 10) -> None:
        """Return when every read model shows the event at ``position``: then you read your own writes.

        Raises:
            NotShownYet: They did not come so far in time.
            ReadModelStopped: One never will.
        """
        reached = 0
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self.positions()
                    reached = min((one.position for one in found), default=0)
                    if found and reached >= position:
                        return
                    _refuse_stopped(found)
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise NotShownYet(position=reached, wanted=position) from None

    async def watch(self, job: str, *, every_s: float = WATCH_S, quiet_s: float = QUIET_S) -> AsyncIterator[Job]:
        """The job now, again whenever it has changed, and in a silence every ``quiet_s``, until it is completed.

        Raises:
            UnknownJob: There is no such job.
            ReadModelStopped: Nothing would change any more.
        """
        seen: Job | None = None
        quiet = 0
        while seen is None or seen.state != "completed":
            now = await self.job(job)
            quiet = 0 if now != seen else quiet + 1
            if quiet * every_s >= quiet_s:
                _refuse_stopped([one for one in await self.positions() if one.name == "jobs"])
                quiet = 0
            if not quiet:
                yield now
            seen = now
            if now.state != "completed":
                await asyncio.sleep(every_s)

    async def _rows(self, kind: type[Row], query: str, *arguments: Any) -> list[Row]:
        return [msgspec.convert(dict(row), kind) for row in await self._fetch(_SQL[query], *arguments)]

    async def _fetch(self, sql: str, *arguments: Any) -> Sequence[Any]:
        with _translated():
            found: Sequence[Any] = await self._pool.fetch(sql, *arguments)
            return found


def only(found: Sequence[Row], what: str, prefix: str, unknown: Refused) -> Row:
    """The only row.

    Raises:
        Refused: There is none, or there are several.
    """
    if not found or not prefix:
        raise unknown
    if len(found) > 1:
        raise Ambiguous(what=what, prefix=prefix)
    return found[0]


def _refuse_stopped(found: Sequence[Position]) -> None:
    stopped = next((one for one in found if one.poison is not None), None)
    if stopped is not None:
        raise ReadModelStopped(name=stopped.name, position=stopped.poison_pos)


@contextmanager
def _translated() -> Generator[None, None, None]:
    """The driver's errors as refusals."""
    try:
        yield
    except _NOT_THERE:
        raise NoReadModels from None
    except (*_UNREACHABLE, LogLost) as error:
        raise Unavailable(reason=f"the database does not answer: {error or type(error).__name__}") from error
