"""Why nobody takes a job's tasks, and the one thing that would change it; the same words wherever it is asked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from domain.events import Platform
from domain.meter import Meter
from domain.quote import Needs, Reason, quote
from services.client.quotes import offer_of
from services.client.sentences import AGAIN, Run
from services.client.words import count, in_sat, sat, span
from services.projections.queries import Job, Worker

#: How long tasks lie before one asks why.
PATIENCE: Final = timedelta(seconds=10)


class Waiting(Struct, frozen=True, kw_only=True):
    """Attributes:
    since: When something happened to the job last.
    able: Workers that would run it at its terms. busy: Those of them whose places are all in use.
    reasons: Why the others would not, most frequent first. fix: What to do.
    """

    since: datetime
    able: int
    busy: int
    workers: int
    reasons: tuple[str, ...]
    fix: str

    @property
    def because(self) -> str:
        """Why, without how long."""
        who = (
            f"{self.able} of {count(self.workers, 'worker')} would take its tasks"
            if self.workers
            else "no worker is there"
        )
        full = f", {self.busy} with no free place" if self.busy else ""
        why = "".join(f"; {one}" for one in self.reasons)
        return f"{who}{full}{why}"

    def sentence(self, now: datetime) -> str:
        """How long it has waited and why, in one sentence."""
        return f"Nothing has happened for {span(now - self.since)}: {self.because}."


def waits(job: Job, runs: Sequence[Run], *, since: datetime, now: datetime) -> bool:
    """Whether some of an open job's runs lie there for nobody to take.

    Args:
        runs: The latest attempt at each replica that was ever given out. since: When something happened to it last.
    """
    if job.state != "open" or now - since < PATIENCE or now >= job.expires_at:
        return False
    again = sum(run.state in AGAIN and not run.closed for run in runs)
    return job.tasks * job.replicas - len(runs) + again > 0


def why(job: Job, meter: Meter | None, workers: Sequence[Worker], *, fee_ppm: int, since: datetime) -> Waiting:
    """Why nobody takes the tasks of a job that ``waits``.

    Args:
        meter: Of its program.
    """
    platforms: tuple[Platform, ...] = tuple(job.platforms.split(","))  # type: ignore[arg-type]  # the log holds no others
    needs = Needs(
        tasks=job.tasks,
        replicas=job.replicas,
        platforms=platforms,
        memory_mb=job.memory_mb,
        stake_msat=job.stake_msat,
        price_msat=job.price_msat,
    )
    taken = meter or Meter(0, 0, 0, 0, 0, 0)
    found = quote(taken, list(map(offer_of, workers)), needs, fee_ppm=fee_ppm)
    alone = replace(needs, replicas=1)  # whether one worker takes it, however many it needs
    able = [one for one in workers if quote(taken, [offer_of(one)], alone, fee_ppm=fee_ppm).eligible]
    busy = sum(one.open >= (one.slots or 0) for one in able)
    return Waiting(
        since=since,
        able=len(able),
        busy=busy,
        workers=len(workers),
        reasons=tuple(in_sat(str(one)) for one in found.reasons),
        fix=_fix(job, len(able), busy, found.reasons),
    )


def _fix(job: Job, able: int, busy: int, reasons: Sequence[Reason]) -> str:
    if able >= job.replicas:
        if busy == able:
            return "Wait: its tasks are given out as soon as one of these workers has a free place."
        return (
            "Look with `pasar worker status` whether these workers run; one that could not run a task is not given it "
            "again, so start a further one with `pasar worker run`."
        )
    again = f"Cancel it with `pasar job cancel {job.job[:8]}` and post it again"
    for reason in reasons:
        match reason.hindrance:
            case "price":
                return f"{again} for {sat(int(reason.nearest))} a run."
            case "memory":
                return f"{again} with at most {int(reason.nearest):,} MB a run."
            case "stake":
                return f"{again} with at most {sat(int(reason.nearest))} at stake."
    if able:
        needed = count(job.replicas - able, "further worker")
        return f"Each task needs {job.replicas} workers: start {needed} with `pasar worker run`."
    return "Start a worker that fits with `pasar worker run`."
