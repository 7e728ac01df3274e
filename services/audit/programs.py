"""What is run was inspected, and what is handed out again was verified."""

from collections import defaultdict
from collections.abc import Mapping

from domain.blobs import is_whole
from domain.events import JobCompleted, JobPosted, JobReused, ProgramAdmitted, ResultVerified
from services.audit.invariant import Check, Invariant, need
from services.ports import Stored


class Inspected(Invariant):
    """A posted job's program was admitted before, all of it, for its platforms and within its memory."""

    name = "inspected"

    def __init__(self) -> None:
        self.admitted: dict[str, ProgramAdmitted] = {}

    def checks(self) -> Mapping[type, Check]:
        return {ProgramAdmitted: self.admit, JobPosted: self.post}

    def admit(self, event: ProgramAdmitted, stored: Stored) -> None:
        need(event.program not in self.admitted, "the program was admitted before")
        self.admitted[event.program] = event

    def post(self, event: JobPosted, stored: Stored) -> None:
        program = self.admitted.get(event.program.address)
        need(program is not None, "the job's program was never admitted")
        assert program is not None
        need(is_whole(event.program), "the job runs a part of the program that was admitted")
        need(set(event.platforms) <= set(program.platforms), "the program is not made for the job's platforms")
        need(program.meter.memory_bytes <= event.memory_mb << 20, "the program needs more memory than the job gives")


class VerifiedBeforeReused(Invariant):
    """Results are handed out again for the same work alone, to their own client or when a referee ran all of it."""

    name = "verified_before_reused"

    def __init__(self) -> None:
        self.posted: dict[str, JobPosted] = {}
        self.replayed: defaultdict[str, set[int]] = defaultdict(set)
        self.verified: set[str] = set()

    def checks(self) -> Mapping[type, Check]:
        return {
            JobPosted: self.post,
            ResultVerified: self.verify,
            JobCompleted: self.complete,
            JobReused: self.reuse,
        }

    def post(self, event: JobPosted, stored: Stored) -> None:
        self.posted[event.job] = event

    def verify(self, event: ResultVerified, stored: Stored) -> None:
        if event.method == "replayed":
            self.replayed[event.job].add(event.task)

    def complete(self, event: JobCompleted, stored: Stored) -> None:
        if not event.failed:
            self.verified.add(event.job)

    def reuse(self, event: JobReused, stored: Stored) -> None:
        posted, original = self.posted[event.job], self.posted.get(event.original)
        need(original is not None and event.original in self.verified, "the original's results were not all verified")
        assert original is not None
        need(original.work_key == posted.work_key, "the original is other work")
        own = original.client == posted.client and original.replicas >= posted.replicas
        need(
            own or len(self.replayed[event.original]) == original.tasks,
            "the original is a stranger's, and nobody ran it again",
        )
