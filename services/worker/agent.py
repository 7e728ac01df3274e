"""Worker agent: takes leases, runs them in the executor, commits, and submits what it committed to.

Two lanes share one executor, so that the next lease is on its way while the last one runs. What finishes within a
quarter of a second is delivered together: one blob, one commitment batch, one submission. Where replicas compete, a
result stays on this machine until the market says that all of them are bound. What is not delivered is limited: a
sandbox whose results nobody takes stops.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress

import structlog

from domain.blobs import BlobRef
from domain.commands import Command
from domain.errors import BlobMissing, Corrupt, NotYetRevealable, Refused, Unavailable
from domain.events import FailureReason, JobPosted
from domain.task import FailTask, ReturnTasks, SubmitResult, TakeTasks
from domain.worker import WithdrawAsk
from services.bus.client import Commander, RefusedByMarket
from services.bus.commands import Lease, Reply
from services.bus.wire import BusError
from services.market.gateway import PARK
from services.ports import Blobs, Opener, SystemClock
from services.worker.backlog import Backlog, Sealed
from services.worker.executor import Executor, Failure, Success
from services.worker.packing import Packer, Result, bound, commitment
from services.worker.runner import Inputs, Runner

LANES = 2
#: What finishes within this time is delivered together, in seconds.
GATHER_S = 0.25
RETRY_S = 0.3
TAKE_TIMEOUT_S = PARK.total_seconds() + 10

_UNKNOWN_OUTCOME = (BusError, TimeoutError)

log = structlog.get_logger()


class Agent:
    """One worker's life on the market.

    Args:
        sealed: Keeps what competitors must not see yet.
        backlog: Limits what is computed and not delivered.
        slots: Tasks of one lease.
        lanes: Leases in work at a time.
        substitutes: Programs that are run instead of others, by address: how a dishonest worker is played.
    """

    def __init__(
        self,
        commander: Commander,
        executor: Executor,
        blobs: Blobs,
        opener: Opener,
        sealed: Sealed,
        backlog: Backlog | None = None,
        *,
        slots: int,
        lanes: int = LANES,
        substitutes: Mapping[str, bytes] | None = None,
    ) -> None:
        self._commander, self._executor, self._blobs, self._opener = commander, executor, blobs, opener
        self._sealed, self._backlog = sealed, backlog or Backlog()
        self._runner = Runner(executor, SystemClock(), self._backlog, gather_s=GATHER_S)
        self._packer = Packer(blobs)
        self._slots, self._lanes, self._substitutes = slots, lanes, substitutes or {}
        self._in_hand: set[tuple[str, int]] = set()
        self._revealing = asyncio.Lock()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._starts = 0
        self.done = self.failed = 0

    @property
    def key(self) -> str:
        return self._commander.party.key

    def status(self) -> dict[str, object]:
        counts = {"done": self.done, "failed": self.failed, "in_hand": len(self._in_hand), "bound": len(self._sealed)}
        return {**counts, "worker": self.key, "limits": dict(self._executor.applied)}

    async def run(self) -> None:
        """Work until ``stop``; then hand back what is not done, and ask for no more."""
        await self._hand_back()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self._lane()) for _ in range(self._lanes)]
            running.append(group.create_task(self._runner.run()))
            await self._stopping.wait()
            for one in running:
                one.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        self._sealed.clear()
        self._in_hand.clear()
        with suppress(*_UNKNOWN_OUTCOME, Refused):
            async with asyncio.timeout(5):
                await self._commander.send([ReturnTasks(), WithdrawAsk()])

    def stop(self) -> None:
        """Finish what is being delivered, hand the rest back."""
        self._stopping.set()

    # ------------------------------------------------------------------------------------------------------- the lanes
    async def _lane(self) -> None:
        leases: list[Lease] = []
        while True:
            try:
                if not leases:
                    starts = self._starts
                    reply = await self._commander.send([TakeTasks(self._slots)], timeout_s=TAKE_TIMEOUT_S)
                    leases = self._accept(reply, starts)
                while leases:
                    leases += await self._work(leases.pop(0))
            except (*_UNKNOWN_OUTCOME, Unavailable, RefusedByMarket) as error:
                log.info("the market did not answer", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)
                await self._hand_back()

    async def _hand_back(self) -> None:
        """Tell the market what we know to hold: whatever else it gave us went lost on the way.

        It ends our earlier requests for work with this; what they brought and we do not name is no longer ours.
        """
        while not self._stopping.is_set():
            self._starts += 1
            try:
                keep = tuple(sorted({*self._in_hand, *self._sealed})[:2048])
                await self._commander.send([ReturnTasks(keep)])
                return
            except (*_UNKNOWN_OUTCOME, RefusedByMarket) as error:
                log.info("cannot hand back yet", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)

    def _accept(self, reply: Reply, starts: int) -> list[Lease]:
        """New work, unless it was asked for before we last handed back."""
        if reply.reveal:
            self._spawn(self._reveal(reply.reveal))
        if starts != self._starts:
            return []
        for lease in reply.leases:
            self._in_hand.update((lease.terms.job, index) for index in lease.tasks)
        return list(reply.leases)

    async def _work(self, lease: Lease) -> list[Lease]:
        """Run a lease; what it brings last may come with the next."""
        terms = lease.terms
        try:
            inputs = await self._inputs(terms)
        except (BlobMissing, Corrupt, Unavailable) as error:
            log.warning("inputs are missing", job=terms.job, error=str(error))
            await self._fail(terms, lease.tasks, "blob_missing")
            return []
        last: list[Success | Failure] = []
        async for group in self._runner.outcomes(terms, inputs, lease.tasks, lease.expires_at):
            if last:
                self._spawn(self._deliver_quietly(terms, last))
            last = group
            if self._backlog.full:  # nothing more comes before something is delivered
                self._spawn(self._deliver_quietly(terms, last))
                last = []
        return await self._deliver(terms, last, more=True)

    async def _inputs(self, terms: JobPosted) -> Inputs:
        substitute = self._substitutes.get(terms.program.address)
        program = substitute or await self._opener.open(terms.program)
        shared = await self._opener.open(terms.shared) if terms.shared else None
        mapped = await self._opener.open(terms.mapped) if terms.mapped else None
        named = (_name(terms.program), _name(terms.shared), _name(terms.mapped))
        return Inputs(program, shared, mapped, None if substitute else named)

    # ---------------------------------------------------------------------------------------------- commit and submit
    async def _deliver(self, terms: JobPosted, outcomes: Sequence[Success | Failure], *, more: bool) -> list[Lease]:
        """Commit outcomes of one job and, where nobody competes, submit them; ``more`` asks for the next lease."""
        results = [Result(terms.job, one.task, one.result) for one in outcomes if isinstance(one, Success)]
        failures = [one for one in outcomes if isinstance(one, Failure)]
        for failure in failures:
            log.warning("task failed", job=terms.job, task=failure.task, reason=failure.reason, detail=failure.detail)
        self.failed += len(failures)
        try:
            if terms.replicas == 1 or not outcomes:
                return await self._commit_and_submit(terms, results, failures, more=more)
            await self._commit_blindly(terms, results, failures)
            return await self._submit([], more=more)
        finally:  # not before the submission: what is not in hand is handed back when an answer went lost
            self._in_hand.difference_update((terms.job, outcome.task) for outcome in outcomes)
            self._backlog.drop(sum(len(result.data) for result in results))

    async def _commit_and_submit(
        self, terms: JobPosted, results: Sequence[Result], failures: Sequence[Failure], *, more: bool
    ) -> list[Lease]:
        """Nobody competes for these tasks: one command binds us and shows the results, once their blobs are up."""
        bound = await self._packer.upload(results) if results else []
        shown = [one.submission for one in bound]
        first = [*_failed(terms, failures), *(commitment(self.key, one) for one in shown)]
        return await self._submit(shown, after=first, more=more)

    async def _commit_blindly(self, terms: JobPosted, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Others run these tasks too: what we found stays here until all are bound."""
        stands = set[tuple[str, int]]()
        try:
            kept = await self._sealed.keep(await bound(results)) if results else []
            reply = await self._send([*(commitment(self.key, one) for one in kept), *_failed(terms, failures)])
            stands = {(one.job, one.task) for one in _accepted(kept, reply)}
        finally:
            self._sealed.forget({(one.job, one.task) for one in results} - stands)
        if self._sealed.shrink():
            log.warning("too many results wait for their competitors; the oldest are handed back", job=terms.job)
            await self._hand_back()

    async def _deliver_quietly(self, terms: JobPosted, outcomes: Sequence[Success | Failure]) -> None:
        try:
            await self._deliver(terms, outcomes, more=False)
        except (*_UNKNOWN_OUTCOME, Refused) as error:
            log.info("a delivery was lost; its tasks are handed back", error=str(error) or type(error).__name__)
            await self._hand_back()

    async def _reveal(self, due: Sequence[tuple[str, int]]) -> None:
        """Show results whose competitors are bound: first their blobs, then the openings.

        A competitor may have left meanwhile; its replica runs again, and until then the result stays here.
        """
        kept = [found for key in due if (found := self._sealed.get(key)) is not None]
        lost, shown = len(kept) < len(due), kept
        try:
            async with self._revealing:  # one blob in memory at a time
                for address in {one.result.address: None for one in kept}:
                    await self._blobs.put(await self._sealed.open(address))
            reply = await self._send(kept) if kept else Reply()
            early = {refusal.item for refusal in reply.refused if refusal.name == NotYetRevealable.__name__}
            shown = [one for number, one in enumerate(kept) if number not in early]
            self.done += len(kept) - len(reply.refused)
        except (*_UNKNOWN_OUTCOME, Refused) as error:
            log.info("a reveal was lost; its tasks are handed back", error=str(error) or type(error).__name__)
            lost = True
        finally:
            self._sealed.forget([(one.job, one.task) for one in shown])
        if lost:
            await self._hand_back()

    async def _submit(
        self, submissions: Sequence[SubmitResult], *, after: Sequence[Command] = (), more: bool
    ) -> list[Lease]:
        take = [TakeTasks(self._slots)] if more and not self._stopping.is_set() else []
        items: list[Command] = [*after, *submissions, *take]
        if not items:
            return []
        starts = self._starts
        reply = await self._send(items, timeout_s=TAKE_TIMEOUT_S)
        self.done += len(submissions) - sum(refusal.item >= len(after) for refusal in reply.refused)
        return self._accept(reply, starts)

    async def _fail(self, terms: JobPosted, tasks: Sequence[int], reason: FailureReason) -> None:
        self._in_hand.difference_update((terms.job, index) for index in tasks)
        await self._send([FailTask(terms.job, index, reason) for index in tasks])

    async def _send(self, items: Sequence[Command], *, timeout_s: float = 10) -> Reply:
        reply = await self._commander.send(items, timeout_s=timeout_s, strict=False)
        for refusal in reply.refused:
            log.info("refused", item=refusal.item, name=refusal.name, reason=refusal.message)
        return reply

    def _spawn(self, delivery: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)


def _name(ref: BlobRef | None) -> bytes | None:
    """A name for what the opener has checked."""
    return None if ref is None else f"{ref.address} {ref.offset} {ref.size}".encode()


def _failed(terms: JobPosted, failures: Sequence[Failure]) -> list[Command]:
    return [FailTask(terms.job, failure.task, failure.reason) for failure in failures]


def _accepted(kept: Sequence[SubmitResult], reply: Reply) -> list[SubmitResult]:
    """Those whose commitment stands; one that stood already was recorded by a send whose answer was lost."""
    refused = {refusal.item for refusal in reply.refused if refusal.name != "AlreadyCommitted"}
    return [one for number, one in enumerate(kept) if number not in refused]
