"""What the tests of a whole market share: small programs, its services, and what its log and its stream say."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import asyncpg
import jax
import numpy as np
import psutil

from domain.bitcoin import parse
from domain.books import Books
from domain.events import AnyEvent, EscrowReleased, JobCompleted, PayoutAllotted, PayoutConfirmed, ResultVerified
from domain.money import MSAT_PER_SAT
from domain.payees import minimum_sat
from services import arrays, audit
from services.bus.connect import connect
from services.client.session import Session, Work
from services.config import Settings
from services.ledger import codec
from services.ledger.reader import LogReader
from services.ports import Stored, SystemClock
from services.programs.bounded import loop_bound
from services.programs.export import export_program
from services.settlement.follower import fold
from services.settlement.policy import FLOOR_MSAT
from services.settlement.regtest import RegtestChain
from services.stack import roles
from services.stack.supervisor import Stack
from services.worker.options import WorkerOptions
from tests.system.embedded import eventually

T = TypeVar("T")
PRICE_MSAT = 1_000
WORKERS = ("anna", "ben", "carla")
#: Turns of an empty loop that take a core a few hundredths of a second.
SLOW = 5_000_000


@loop_bound(SLOW)
def _square(shared: dict[str, jax.Array], row: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """``x * x + 1``, after as many turns of a loop as ``turns`` says."""
    chaos = jax.lax.fori_loop(0, row["turns"], lambda _, v: 3.7 * v * (1 - v), jax.numpy.float32(0.3))
    return {"y": row["x"] * row["x"] + 1, "chaos": chaos}


@cache
def program() -> bytes:
    return export_program(_square, None, {"x": np.float32(1), "turns": np.int32(1)})


def squares(tasks: int, *, turns: int = 1, **terms: Any) -> Work:
    """A job of so many squares; change what the test is about."""
    mapped = {"x": np.arange(tasks, dtype=np.float32), "turns": np.full(tasks, turns, np.int32)}
    usual: dict[str, Any] = {"price_msat": PRICE_MSAT, "timeout_s": 2, "memory_mb": 256}
    return Work(program=program(), shared=None, mapped=arrays.pack(mapped), tasks=tasks, **{**usual, **terms})


def a_worker(**options: Any) -> WorkerOptions:
    usual: dict[str, Any] = {"price_msat": PRICE_MSAT, "slots": 4, "measure": False, "stake_msat": 1_000_000}
    return WorkerOptions(**{**usual, **options})


def a_market(settings: Settings, *workers: str, **options: Any) -> Stack:
    """A stack with the market's services and these workers."""
    return Stack(settings, roles.market_services({name: a_worker(**options) for name in workers}))


# ------------------------------------------------------------------------------------------------------- what happened
@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[LogReader]:
    assert settings.database_url is not None
    reader = await LogReader.open(settings.database_url, connections_max=1)
    try:
        yield reader
    finally:
        await reader.close()


async def head(settings: Settings) -> int:
    """Where the log ends."""
    async with reading(settings) as reader:
        return await reader.head()


async def history(settings: Settings) -> list[Stored]:
    async with reading(settings) as reader:
        return [stored async for page in reader.iterate(0, await reader.head()) for stored in page]


async def facts(settings: Settings) -> list[AnyEvent]:
    """Every event of the log."""
    return [codec.decode_stored(stored) for stored in await history(settings)]


async def until(
    truth: Callable[[], Coroutine[Any, Any, T]], *, timeout_s: float = 30, every_s: float = 0.05, what: str = ""
) -> T:
    """What ``truth()`` returns once that is true; a part of the stack that is down meanwhile counts as false."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = await truth()
            if found:
                return found
        except (AssertionError, NameError, TypeError):
            raise
        except Exception as error:  # whatever is down says so in its own way
            found = error  # type: ignore[assignment]
        assert time.monotonic() < deadline, f"{what or truth} did not come true in time: {found!r}"
        await asyncio.sleep(every_s)


async def completed(settings: Settings, *jobs: str) -> bool:
    """Whether all these jobs have ended."""
    return {event.job for event in await facts(settings) if isinstance(event, JobCompleted)} >= set(jobs)


async def stream_end(settings: Settings) -> tuple[int, int, int]:
    """First and last sequence and number of the messages in the stream."""
    client = await connect(settings, "reader", name="test")
    try:
        state = (await client.jetstream().stream_info("EVENTS")).state
        return state.first_seq, state.last_seq, state.messages
    finally:
        await client.close()


async def projected(settings: Settings) -> int:
    """The position that every live read model has reached."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        return int(await connection.fetchval("SELECT min(pos) FROM read.track WHERE live"))
    finally:
        await connection.close()


async def settle_down(settings: Settings, *, timeout_s: float = 30) -> int:
    """Wait until stream and read models have reached the end of the log, and that is no longer moving."""

    async def caught_up() -> int:
        end = await head(settings)
        same = end == (await stream_end(settings))[1] == await projected(settings)
        return end if same and end == await head(settings) else 0

    return await until(caught_up, timeout_s=timeout_s, what="stream and read models at the end of the log")


async def assert_consistent(settings: Settings) -> None:
    """The stream is the log to the byte, the read models are its replay, and every invariant holds."""
    from services.client.session import follow

    end = await settle_down(settings)
    assert await stream_end(settings) == (1, end, end)
    streamed: list[Stored] = []
    async with asyncio.timeout(20):
        async for stored in follow(settings):
            streamed.append(stored)
            if stored.position == end:
                break
    assert streamed == await history(settings)
    verdict = await audit.of_market(settings)
    assert verdict.ok, [found for found in verdict.invariants if not found.ok]
    assert verdict.checked == end


def assert_settled_once(
    events: list[AnyEvent], job: str, tasks: int, replicas: int, price_msat: int = PRICE_MSAT
) -> None:
    """Every task of the job was settled once, and every replica of it paid once."""
    verified = [event for event in events if isinstance(event, ResultVerified) and event.job == job]
    released = [event for event in events if isinstance(event, EscrowReleased) and event.job == job]
    once = Counter(range(tasks))
    each = Counter((task, replica) for task in range(tasks) for replica in range(replicas))
    assert Counter(event.task for event in verified if event.settles) == once
    assert Counter((event.task, event.replica) for event in verified) == each
    assert Counter((event.task, event.replica) for event in released) == each
    assert sum(event.amount_msat for event in released) == tasks * replicas * price_msat
    (ended,) = [event for event in events if isinstance(event, JobCompleted) and event.job == job]
    assert (ended.verified, ended.failed) == (tasks, 0)


async def paid_out(settings: Settings) -> bool:
    """Whether every worker was paid on the chain what is worth an output."""
    books = Books()
    for event in await facts(settings):
        fold(books, event)
    due = (books.due_msat(worker) for worker in books.earned_msat)
    return not books.open_payouts and all(msat < minimum_sat(FLOOR_MSAT) * MSAT_PER_SAT for msat in due)


async def assert_paid_once(settings: Settings, events: list[AnyEvent]) -> int:
    """The chain of a stopped market paid each worker exactly what its log says; how much to all, in satoshi."""
    scripts, counted = Counter[bytes](), Counter[bytes]()
    settled = {event.epoch for event in events if isinstance(event, PayoutConfirmed)}
    for event in events:
        if isinstance(event, PayoutAllotted) and event.due == "reward" and event.epoch in settled:
            scripts[bytes.fromhex(event.script)] += event.amount_sat
    chain = await RegtestChain.open(settings.home / "chain", clock=SystemClock())
    try:
        for block in await chain.blocks(0, (await chain.tip()).height + 1):
            for raw in block.transactions:
                for output in parse(raw).outputs:
                    counted[output.script] += output.value_sat
    finally:
        await chain.close()
    assert {script: counted[script] for script in scripts} == dict(scripts)
    return scripts.total()


async def results(session: Session, events: list[AnyEvent], job: str) -> dict[int, float]:
    """What the verified results of the job say, by task."""
    from domain.events import ResultSubmitted

    shown = {(e.task, e.worker): e.result for e in events if isinstance(e, ResultSubmitted) and e.job == job}
    found: dict[int, float] = {}
    for event in events:
        if isinstance(event, ResultVerified) and event.job == job:
            opened = arrays.unpack(await session.opener.open(shown[event.task, event.worker]))
            found[event.task] = float(opened["y"])
    return found


# ----------------------------------------------------------------------------------------------------------- processes
def processes_of(settings: Settings) -> list[psutil.Process]:
    """Every living process that was told of this PASAR_HOME, or stands below one that was."""
    mark, found = str(settings.home), []
    for process in psutil.process_iter():
        try:
            told = process.environ().get("PASAR_HOME") == mark or any(mark in word for word in process.cmdline())
            if told and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found += [process, *process.children(recursive=True)]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def ready(stack: Stack, name: str) -> int:
    """The pid of a service that serves now, or 0."""
    return next((s.pid or 0 for s in stack.status().services if s.name == name and s.state == "ready"), 0)


async def kill(stack: Stack, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to a service as soon as it serves; the pid that got it."""
    await eventually(lambda: ready(stack, name), timeout_s=40)
    pid = ready(stack, name)
    os.kill(pid, number)
    return pid


async def back(stack: Stack, name: str, than: int) -> None:
    """Until another process serves in the place of ``than``."""
    await eventually(lambda: ready(stack, name) not in (0, than), timeout_s=40)
