"""Makes a job's receipt from the log."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from domain.events import (
    AnyEvent,
    EscrowFunded,
    EscrowOpened,
    JobCompleted,
    JobPosted,
    PayoutAllotted,
    StakeDeposited,
    StakeOpened,
)
from domain.ids import Kind, kind_of, program_stream, short_id, stream_of
from services.ledger.codec import NAMES, decode_stored
from services.ledger.proofs import Proofs, Shelves
from services.ledger.root import SignedRoot
from services.ports import Stored
from services.receipt import form, payouts
from services.receipt.claims import claims_of, original_of
from services.receipt.form import Content, NoReceiptYet, Payment, Receipt
from services.receipt.payouts import Found, Streams

_DEPOSITS: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.escrow: (EscrowOpened, EscrowFunded),
    Kind.stake: (StakeOpened, StakeDeposited),
}


class Log(Shelves, Streams, Protocol):
    pass


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
    stored, found = await collect(source, market, job)
    story = [(decode_stored(one), one) for one in stored]
    if not any(isinstance(event, JobCompleted) and event.job == job for event, _ in story):
        raise NoReceiptYet(job=job)
    claims = claims_of(job, story)
    root, proofs = await signed_root(stored[-1].position), Proofs(source.log)
    nodes = await proofs.cover([one.position for one in stored], root.size)
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
        payments=tuple([await _payment(proofs, one, root.size) for one in found]),
    )


async def _payment(proofs: Proofs, one: Found, size: int) -> Payment:
    history = await proofs.consistency(one.size, size) if one.size else []
    return Payment(one.epoch, one.transaction.hex(), one.shares, tuple(history))


class Collected(NamedTuple):
    """The events of a receipt, in order, and the payouts among them."""

    events: list[Stored]
    payouts: list[Found]


async def collect(source: Source, market: str, job: str) -> Collected:
    """The job's events and those that they hang on.

    These are all of the job, and of the job whose results it was given; who had which role; the program's admission;
    openings and deposits of the accounts that were moved; on which chain the market settles; and of the confirmed
    payouts that paid for the job itself their plan, what they allot for it, and where they are.
    """
    spoken = await _speaking(source, job)
    found = _of(spoken, job)
    original = original_of(job, _events(found))
    if original is not None:
        found += _of(await _speaking(source, original), original)
    over = max((one.position for one in found), default=0)
    for account in {one.stream for one in found}:
        for kind in _DEPOSITS.get(kind_of(account), ()):
            found += [one for one in await source.log.stream_named(account, NAMES[kind]) if one.position <= over]
    for program in {event.program.address for event in _events(found) if isinstance(event, JobPosted)}:
        found += await source.log.stream(program_stream(program))
    if not found:
        return Collected([], [])
    epochs = [event.epoch for event in _events(spoken) if isinstance(event, PayoutAllotted)]
    paid = await payouts.find(source.log, market, job, epochs)
    found += [event for one in paid for event in one.events]
    last = max(one.position for one in found)
    found += await source.log.stream(stream_of(Kind.market, short_id(market)))
    found += await payouts.joined(source.log, market)
    by_position = {one.position: one for one in found if one.position <= last}
    return Collected([by_position[position] for position in sorted(by_position)], paid)


async def _speaking(source: Source, key: str) -> list[Stored]:
    """Every event that names a job."""
    found: list[Stored] = []
    while page := await source.events(key, after=found[-1].position if found else 0):
        found += page
    return found


def _of(stored: Iterable[Stored], job: str) -> list[Stored]:
    """The events of a job; one that names it as another's original, or pays for it, is none of them."""
    return [one for one in stored if getattr(decode_stored(one), "job", None) == job]


def _events(stored: Iterable[Stored]) -> Sequence[AnyEvent]:
    return [decode_stored(one) for one in stored]
