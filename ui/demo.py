"""``pasar demo``: a market on this machine, a real job on it, a cheat who is caught, and the books afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from domain.blobs import BlobRef
from domain.books import Books
from domain.events import (
    AnyEvent,
    EscrowFunded,
    EscrowReleased,
    JobCompleted,
    PayoutConfirmed,
    ResultRejected,
    ResultSubmitted,
    ResultVerified,
    StakeSlashed,
    TaskAssigned,
)
from domain.money import MSAT_PER_SAT
from domain.payees import minimum_sat
from services import audit
from services.client.session import Session, follow, read, session
from services.config import Settings
from services.keys import party
from services.settlement.follower import fold
from services.settlement.policy import FLOOR_MSAT as RATE_MSAT
from services.stack import daemon, state
from services.stack.roles import market_services, worker
from services.stack.supervisor import Stack
from services.worker.options import WorkerOptions
from ui import sweep

#: How the demo's three workers are called; the last one cuts corners.
WORKERS = ("anna", "ben", "hasty")
FUNDS_MSAT = 100_000_000
WORKER_STAKE_MSAT = 48_000_000
LEASE = 4
#: How long the job and its payment may take.
TRADE_S = 300


class Progress(Struct):
    """How far the job is."""

    tasks: int
    assigned: int = 0
    verified: int = 0
    rejected: int = 0


class Worker(Struct, frozen=True):
    """What one worker got out of it."""

    name: str
    worker: str
    verified: int
    rejected: int
    earned_msat: int
    slashed_msat: int


class Report(Struct, frozen=True):
    """The demo's result; the JSON that it prints.

    Attributes:
        escrow_txid: The transaction that funded the escrow.
        payouts: Those that paid the workers, on the chain; payout_txid: the last of them.
        anchor_height: Of the block that binds the log.
        fees_sat: What all of them paid the miners.
    """

    job: str
    tasks: int
    verified: int
    rejected: int
    best: dict[str, float]
    accuracy: float
    validation_accuracy: float
    paid_msat: int
    slashed_msat: int
    escrow_txid: str
    payout_txid: str
    payouts: list[str]
    anchor_height: int
    fees_sat: int
    workers: list[Worker]
    events: int
    audit: dict[str, object]
    seconds: float
    home: str
    page_url: str

    @property
    def good(self) -> bool:
        return self.verified == self.tasks and bool(self.audit["ok"]) and bool(self.payout_txid)


class Tally:
    """What the events of the job say, as they come."""

    def __init__(self, tasks: int) -> None:
        self.progress = Progress(tasks)
        self.results: dict[int, BlobRef] = {}
        self.verified: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.earned_msat: Counter[str] = Counter()
        self.slashed_msat: Counter[str] = Counter()
        self.over = False
        self._submitted: dict[tuple[int, str], BlobRef] = {}

    def see(self, event: object) -> None:
        """Count one event of the job."""
        match event:
            case TaskAssigned():
                self.progress.assigned += 1
            case ResultSubmitted():
                self._submitted[event.task, event.worker] = event.result
            case ResultVerified():
                self.verified[event.worker] += 1
                self.progress.verified += event.settles
                self.results[event.task] = self._submitted[event.task, event.worker]
            case ResultRejected():
                self.rejected[event.worker] += 1
                self.progress.rejected += 1
            case EscrowReleased():
                self.earned_msat[event.worker] += event.amount_msat
            case StakeSlashed():
                self.slashed_msat[event.worker] += event.amount_msat
            case JobCompleted():
                self.over = True


class Money:
    """What the events say of the chain: the books that everybody can keep."""

    def __init__(self) -> None:
        self.books = Books()
        self.escrow_txid = ""
        self.confirmed: dict[int, PayoutConfirmed] = {}

    def see(self, event: AnyEvent) -> None:
        """Follow one event."""
        fold(self.books, event)
        match event:
            case EscrowFunded():
                self.escrow_txid = event.reference
            case PayoutConfirmed():
                self.confirmed[event.epoch] = event

    @property
    def settled(self) -> bool:
        """Whether every worker was paid what is worth an output."""
        least_msat = minimum_sat(RATE_MSAT) * MSAT_PER_SAT
        due = (self.books.due_msat(worker) for worker in self.books.earned_msat)
        return not self.books.open_payouts and all(msat < least_msat for msat in due)


async def run(settings: Settings, say: Callable[[str], None], show: Callable[[Progress], None]) -> Report:
    """Run the demo on a stack of its own, and stop it."""
    began = time.monotonic()
    say("starting PostgreSQL, nats-server, the market and three workers")
    exported = Exported(settings)
    async with asyncio.TaskGroup() as group:
        exporting = group.create_task(exported.export())

        async def ready() -> None:
            await asyncio.shield(exporting)

        workers = [worker(name, exported.options(name), prepare=ready) for name in WORKERS]
        async with Stack(settings, (*market_services(), *workers)) as stack:
            return await trade(stack.settings, await exporting, say, show, began)


async def keep(settings: Settings, say: Callable[[str], None], show: Callable[[Progress], None]) -> Report:
    """Run the demo on a stack that stays up afterwards."""
    began = time.monotonic()
    exported = Exported(settings)
    program = await exported.export()
    say(f"starting PostgreSQL, nats-server, the market and three workers in {settings.home}")
    workers = {name: exported.options(name) for name in WORKERS}
    await asyncio.to_thread(daemon.spawn, settings, workers=workers)
    return await trade(state.attach(settings), program, say, show, began)


async def trade(
    settings: Settings, program: bytes, say: Callable[[str], None], show: Callable[[Progress], None], began: float
) -> Report:
    """Post the sweep on a running stack, wait for its end, and look at the books."""
    async with session(settings, "demo-client") as client:
        await client.fund(FUNDS_MSAT)
        job = await client.post(sweep.work(program))
        say(f"posted job {job}: {len(sweep.POINTS)} points, each run by two workers")
        tally, money = Tally(len(sweep.POINTS)), Money()
        async with asyncio.timeout(TRADE_S):
            await _follow(settings, job, tally, money, say, show)
        outcomes = await _outcomes(client, tally)
    say("auditing the log")
    verdict = await audit.of_market(settings)
    found, payouts = sweep.best(outcomes), list(money.confirmed.values())
    return Report(
        job=job,
        tasks=tally.progress.tasks,
        verified=tally.progress.verified,
        rejected=tally.progress.rejected,
        best={name: round(value, 6) for name, value in found.point._asdict().items()},
        accuracy=round(found.test_accuracy, 4),
        validation_accuracy=round(found.validation_accuracy, 4),
        paid_msat=tally.earned_msat.total(),
        slashed_msat=tally.slashed_msat.total(),
        escrow_txid=money.escrow_txid,
        payout_txid=payouts[-1].txid if payouts else "",
        payouts=[one.txid for one in payouts],
        anchor_height=payouts[-1].height if payouts else 0,
        fees_sat=sum(one.fee_sat for one in payouts),
        workers=[_worker(settings, name, tally) for name in WORKERS],
        events=verdict.checked,
        audit={"ok": verdict.ok, "checked": verdict.checked},
        seconds=round(time.monotonic() - began, 1),
        home=str(settings.home),
        page_url=stack.page_url if (stack := state.read(settings)) is not None else "",
    )


async def _follow(
    settings: Settings,
    job: str,
    tally: Tally,
    money: Money,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
) -> None:
    """Count the job's events and follow its money, until it is over and its workers are paid on the chain."""
    async for stored in follow(settings):
        event = read(stored)
        money.see(event)
        if getattr(event, "job", None) == job:
            tally.see(event)
            show(tally.progress)
            if isinstance(event, JobCompleted):
                say("the job is over; its workers are paid on the chain")
        if tally.over and money.settled:
            return


async def _outcomes(client: Session, tally: Tally) -> list[sweep.Outcome]:
    return [sweep.outcome(index, await client.opener.open(ref)) for index, ref in sorted(tally.results.items())]


def _worker(settings: Settings, name: str, tally: Tally) -> Worker:
    key = party(settings, name).key
    return Worker(name, key, tally.verified[key], tally.rejected[key], tally.earned_msat[key], tally.slashed_msat[key])


class Exported:
    """The two programs, exported in the background while the market starts."""

    def __init__(self, settings: Settings) -> None:
        folder = settings.home / "demo"
        self.honest, self.hasty = folder / "sweep.program", folder / "hasty.program"

    async def export(self) -> bytes:
        """Write both; the honest one."""
        honest, hasty = await asyncio.to_thread(sweep.programs)
        self.honest.parent.mkdir(parents=True, exist_ok=True)
        self.honest.write_bytes(honest)
        self.hasty.write_bytes(hasty)
        return honest

    def options(self, name: str) -> WorkerOptions:
        """How the worker of this name works."""
        substitutes = {str(self.honest): str(self.hasty)} if name == WORKERS[-1] else {}
        return WorkerOptions(
            price_msat=sweep.PRICE_MSAT, slots=LEASE, stake_msat=WORKER_STAKE_MSAT, substitutes=substitutes
        )
