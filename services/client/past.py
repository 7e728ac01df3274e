"""The market as it was: what a replay of the log up to a position says."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from domain.errors import UnknownJob
from domain.escrow import Escrow
from domain.events import ProgramAdmitted
from domain.job import Job
from domain.stake import Stake
from domain.worker import Worker
from services.client.cards import Card, Shown
from services.client.words import count
from services.projections.queries import Ambiguous
from services.replay import Replayed


class NotYetPosted(UnknownJob):
    template = "job {job} was not posted yet at position {position}; look at a later one"


class Past(Shown):
    """Folded from the log by the market's own rules, in this process; no read model was asked.

    Attributes:
        position: Of the last event that has happened. at: When that was; absent before the first one.
        root: The log's Merkle root there, 64 hex digits: who has the same root has the same history.
        jobs, workers, escrows, stakes: By id or key, in the states of the market's rules.
        programs: What was admitted, by address.
    """

    def __init__(self, replayed: Replayed) -> None:
        world = replayed.world
        self.position: int = replayed.position
        self.at: datetime | None = replayed.at
        self.root: str = replayed.tree.root.hex()
        self.jobs: Mapping[str, Job] = world.jobs
        self.workers: Mapping[str, Worker] = world.workers
        self.escrows: Mapping[str, Escrow] = world.escrows
        self.stakes: Mapping[str, Stake] = world.stakes
        self.programs: Mapping[str, ProgramAdmitted] = world.programs

    def job(self, id_: str) -> Job:
        """The job whose id begins so.

        Raises:
            NotYetPosted: None did.
            Ambiguous: Several do.
        """
        found = [job for key, job in self.jobs.items() if key.startswith(id_.lower())]
        if len(found) > 1:
            raise Ambiguous(what="job", prefix=id_)
        if not found:
            raise NotYetPosted(job=id_, position=self.position)
        return found[0]

    def card(self) -> Card:
        states = ", ".join(
            f"{number:,} {state}" for state, number in Counter(j.state for j in self.jobs.values()).items()
        )
        when = f", recorded {self.at:%Y-%m-%d %H:%M:%S} UTC" if self.at is not None else ""
        return Card(
            title=f"the market after event {self.position:,}",
            sentence=f"{count(len(self.jobs), 'job')}, {count(len(self.workers), 'worker')}, "
            f"{count(len(self.escrows), 'escrow')}{when}.",
            lines=[("jobs", states)] if states else [],
            more=[("root", self.root)],
        )
