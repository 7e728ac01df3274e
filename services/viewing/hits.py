"""What begins as was asked, in rows and events that are held in memory; the database is asked for the same."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, Protocol

from domain.events import EscrowFunded, RoleGranted, StakeDeposited
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.projections.queries import HITS_MAX, Hit
from services.viewing.rows import Rows

#: In what order kinds are shown.
KINDS: Final = (
    "job", "escrow", "client", "worker", "program", "identity", "party", "work", "commitment", "result", "content",
    "equality", "deposit",
)  # fmt: skip
_PAGE: Final = 10_000


class Events(Protocol):
    def events(self, key: str | None = None, *, after: int = 0, limit: int = 1_000) -> Sequence[Stored]: ...


def hits_in(rows: Rows, log: Events, beginning: str) -> list[Hit]:
    """The first few hits of each kind."""
    digest = beginning.lower().removeprefix("sha256:")
    found = [*_named(rows, digest, beginning.upper()), *_digests(rows, digest), *_told(log, digest, beginning.upper())]
    known = {hit.id for hit in found if hit.kind in ("client", "worker")}
    found = list(dict.fromkeys(hit for hit in found if hit.kind != "party" or hit.id not in known))
    found.sort(key=lambda hit: KINDS.index(hit.kind))
    return [hit for _, of in groupby(found, attrgetter("kind")) for hit in islice(of, HITS_MAX)]


def _named(rows: Rows, digest: str, key: str) -> Iterator[Hit]:
    yield from (Hit(kind="job", id=one.job, job=one.job) for one in rows.jobs if one.job.startswith(digest))
    for escrow in rows.escrows:
        if escrow.escrow.startswith(digest):
            yield Hit(kind="escrow", id=escrow.escrow)
        if escrow.client.startswith(key):
            yield Hit(kind="client", id=escrow.client)
    yield from (Hit(kind="worker", id=one.worker) for one in rows.workers if one.worker.startswith(key))
    for program in rows.programs:
        if program.program.startswith(f"sha256:{digest}"):
            yield Hit(kind="program", id=program.program)
        if program.identity.startswith(digest):
            yield Hit(kind="identity", id=program.identity)


def _digests(rows: Rows, digest: str) -> Iterator[Hit]:
    for job in rows.jobs:
        if job.work_key.startswith(digest):
            yield Hit(kind="work", id=job.work_key, job=job.job)
    for run in rows.runs:
        names = (
            ("commitment", run.commitment, digest),
            ("result", run.result_address, f"sha256:{digest}"),
            ("content", run.result_commitment, digest),
            ("equality", run.equality, digest),
        )
        for kind, name, beginning in names:
            if name is not None and name.startswith(beginning):
                yield Hit(kind=kind, id=name, job=run.job, task=run.task)
                break


def _told(log: Events, digest: str, key: str) -> Iterator[Hit]:
    """What no row has: references of deposits, and keys of parties that neither work nor buy."""
    for kind in (EscrowFunded, StakeDeposited):
        for stored in log.events(kind.__name__, limit=_PAGE):
            event = decode_stored(stored)
            assert isinstance(event, EscrowFunded | StakeDeposited)
            if event.reference.startswith(digest):
                yield Hit(kind="deposit", id=event.reference, position=stored.position)
    for stored in log.events(RoleGranted.__name__, limit=_PAGE):
        granted = decode_stored(stored)
        assert isinstance(granted, RoleGranted)
        if granted.party.startswith(key):
            yield Hit(kind="party", id=granted.party)
