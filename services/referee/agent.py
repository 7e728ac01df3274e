"""Referee: replays a disputed task on its own machine and says whose result stands."""

import asyncio
import os
from collections.abc import Sequence

import msgspec
import structlog

from domain.blobs import blob_ref
from domain.dispute import RuleDispute, TakeDisputes
from domain.errors import BlobMissing, Corrupt, Refused
from services.bus.client import Commander
from services.bus.commands import DisputeCase
from services.bus.wire import BusError
from services.market.gateway import PARK
from services.ports import Blobs, Opener
from services.referee.replay import TOLERANCE, agrees, distance
from services.worker.executor import Executor, Failure, Limits, Success

RETRY_S = 0.5
CASES_MAX = 8
#: A referee is patient: a replay may take this many times the worker's limit.
PATIENCE = 3

log = structlog.get_logger()


class Referee:
    """Takes disputes, one job's at a time, and rules on them."""

    def __init__(self, commander: Commander, executor: Executor, blobs: Blobs, opener: Opener) -> None:
        self._commander, self._executor, self._blobs, self._opener = commander, executor, blobs, opener
        self.ruled = self.failed = 0

    def status(self) -> dict[str, object]:
        return {"ruled": self.ruled, "failed": self.failed}

    async def run(self) -> None:
        """Rule for ever."""
        while True:
            try:
                timeout_s = PARK.total_seconds() + 10
                reply = await self._commander.send([TakeDisputes(CASES_MAX)], timeout_s=timeout_s)
                for case in reply.disputes:
                    await self._rule(case)
            except (BusError, TimeoutError, Refused) as error:
                log.info("the market did not answer", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _rule(self, case: DisputeCase) -> None:
        replayed = await self._replay(case)
        if replayed is None:
            self.failed += 1
            return
        upheld: list[str] = []
        rejected: list[str] = []
        distances: dict[str, str] = {}
        for claim in case.claims:
            try:
                apart = distance(await self._opener.open(claim.result), replayed)
            except BlobMissing:
                # no fault is shown: its worker may be away for a moment, so the dispute is taken up again later
                log.warning("a claim is not to be had yet", job=case.terms.job, task=case.task, worker=claim.worker)
                self.failed += 1
                return
            except Corrupt as error:
                log.warning("a claim does not match its commitment", worker=claim.worker, error=str(error))
                rejected.append(claim.worker)
                distances[claim.worker] = "not what was committed to"
                continue
            (upheld if agrees(apart, TOLERANCE) else rejected).append(claim.worker)
            distances[claim.worker] = repr(apart)
        evidence = msgspec.json.encode(
            {
                "job": case.terms.job,
                "task": case.task,
                "tolerance": TOLERANCE,
                "distances": distances,
                "replayed": await self._blobs.put(replayed),
            }
        )
        await self._blobs.put(evidence)
        ref = blob_ref(evidence, os.urandom(16).hex())
        ruling = RuleDispute(case.terms.job, case.task, tuple(upheld), tuple(rejected), ref)
        try:
            await self._commander.send([ruling])
        except Refused as refusal:
            log.info("a ruling was refused", job=case.terms.job, task=case.task, reason=str(refusal))
            return
        self.ruled += 1
        log.info("ruled", job=case.terms.job, task=case.task, rejected=rejected, distances=distances)

    async def _replay(self, case: DisputeCase) -> bytes | None:
        terms = case.terms
        refs = (terms.program, terms.shared, terms.mapped)
        try:
            program, shared, mapped = [await self._opener.open(ref) if ref else None for ref in refs]
        except (BlobMissing, Corrupt) as error:
            log.warning("a dispute's inputs are missing", job=terms.job, error=str(error))
            return None
        assert program is not None, "every job has a program"
        limits = Limits(wall_s=terms.timeout_s * PATIENCE, memory_mb=terms.memory_mb * PATIENCE)
        outcomes: Sequence[Success | Failure] = [
            outcome async for outcome in self._executor.run(program, shared, mapped, [case.task], limits)
        ]
        if isinstance(outcomes[0], Failure):
            log.warning("a replay failed", job=terms.job, task=case.task, reason=outcomes[0].reason)
            return None
        return outcomes[0].result
