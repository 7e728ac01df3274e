"""Makes a job's receipt from the log."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from domain.events import AnyEvent, EscrowFunded, JobCompleted, JobPosted, StakeDeposited
from domain.ids import Kind, kind_of, program_stream, short_id, stream_of
from services.ledger.codec import NAMES, decode_stored
from services.ledger.proofs import Proofs, Shelves
from services.ledger.root import SignedRoot
from services.ports import Stored
from services.receipt import form
from services.receipt.form import Content, NoReceiptYet, Receipt

_DEPOSITS: Final[Mapping[Kind, type]] = {Kind.escrow: EscrowFunded, Kind.stake: StakeDeposited}


class Log(Shelves, Protocol):
    async def stream(self, stream: bytes) -> list[Stored]: ...
    async def stream_named(self, stream: bytes, name: str) -> list[Stored]: ...


class Source(Protocol):
    """Where a receipt's events are found; ``services.projections.queries.Reader`` is one."""

    @property
    def log(self) -> Log: ...
    async def events(self, key: str, *, after: int = 0) -> list[Stored]: ...


async def make(
    source: Source,
    market: str,
    job: str,
    signed_root: Callable[[int], Awaitable[SignedRoot]],
    *,
    content: Callable[[str], Awaitable[bytes]] | None = None,
) -> Receipt:
    """The receipt of a completed job.

    Args:
        market: The operator's key.
        signed_root: Asks the market for a root that covers a position.
        content: Fetches stored bytes by address, if the receipt is to hold the results themselves.
    Raises:
        NoReceiptYet: The job is not over.
    """
    stored = await collect(source, market, job)
    story = [(decode_stored(one), one) for one in stored]
    if not any(isinstance(event, JobCompleted) and event.job == job for event, _ in story):
        raise NoReceiptYet(job=job)
    claims = form.claims_of(job, story)
    root = await signed_root(stored[-1].position)
    nodes = await Proofs(source.log).cover([one.position for one in stored], root.size)
    addresses = sorted({settled.result.address for settled in claims.results}) if content is not None else []
    contents = [Content(address, await content(address)) for address in addresses] if content is not None else []
    return Receipt(
        market=market,
        job=job,
        claims=claims,
        root=root,
        events=tuple(map(form.logged, stored)),
        nodes=tuple(nodes),
        contents=tuple(contents),
    )


async def collect(source: Source, market: str, job: str) -> list[Stored]:
    """The job's events and those that they hang on, in order.

    These are all of the job, and of the job whose results it was given; who had which role; the program's admission;
    and the deposits of the accounts that were moved.
    """
    found = await _of(source, job)
    original = form.original_of(job, _events(found))
    if original is not None:
        found += await _of(source, original)
    last = max((one.position for one in found), default=0)
    for account in {one.stream for one in found}:
        deposit = _DEPOSITS.get(kind_of(account))
        if deposit is not None:
            found += await source.log.stream_named(account, NAMES[deposit])
    for program in {event.program.address for event in _events(found) if isinstance(event, JobPosted)}:
        found += await source.log.stream(program_stream(program))
    found += await source.log.stream(stream_of(Kind.market, short_id(market)))
    by_position = {one.position: one for one in found if one.position <= last}
    return [by_position[position] for position in sorted(by_position)]


async def _of(source: Source, job: str) -> list[Stored]:
    """The events of a job; one that names it only as another's original is none of them."""
    found: list[Stored] = []
    while page := await source.events(job, after=found[-1].position if found else 0):
        found += page
    return [one for one in found if getattr(decode_stored(one), "job", None) == job]


def _events(stored: Iterable[Stored]) -> Sequence[AnyEvent]:
    return [decode_stored(one) for one in stored]
