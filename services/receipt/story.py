"""The job's story as a receipt tells it: the audit's invariants on its events, and that nothing of it is left out."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from domain.errors import Corrupt
from domain.events import (
    AnyEvent,
    AssignmentExpired,
    AssignmentFailed,
    AssignmentReturned,
    ChainEvent,
    CoinEvent,
    EscrowReserved,
    JobPosted,
    MarketEvent,
    PayoutEvent,
    ResultRejected,
    ResultVerified,
    RoleGranted,
    RoleRevoked,
    StakeSlashed,
    TaskAssigned,
)
from domain.ids import Kind, kind_of, program_stream, short_id, stream_of
from services.audit import INVARIANTS
from services.audit.invariant import Broken, Check
from services.ledger.codec import decode_meta
from services.receipt.claims import Story, claims_of, original_of
from services.receipt.form import ReceiptBroken

#: What events that make no sense do to code which expects that they do.
_NONSENSE: Final = (Broken, Corrupt, KeyError, IndexError, AssertionError, AttributeError, ValueError)
_ENDINGS: Final = (ResultVerified, ResultRejected, AssignmentExpired, AssignmentReturned, AssignmentFailed)


def at_home(event: Any, stream: bytes, market: str) -> bool:
    """Whether the event is in the stream that its fields name."""
    kind = kind_of(stream)
    match kind:
        case Kind.job:
            return stream == stream_of(kind, event.job)
        case Kind.task | Kind.dispute:
            return stream == stream_of(kind, event.job, event.task)
        case Kind.stake | Kind.worker:
            return stream == stream_of(kind, short_id(event.worker))
        case Kind.escrow:
            return stream == stream_of(kind, event.escrow)
        case Kind.market:
            return isinstance(event, MarketEvent) and stream == stream_of(kind, short_id(market))
        case Kind.settlement:
            epoch = event.epoch if isinstance(event, PayoutEvent) else 0
            settles = isinstance(event, PayoutEvent | ChainEvent | CoinEvent)
            return settles and stream == stream_of(kind, short_id(market), epoch)
        case Kind.program:
            return stream == program_stream(event.program)
    return True


def check_story(market: str, job: str, story: Story) -> None:
    """Check that the events are the whole story of one job, and one that can have happened.

    Raises:
        ReceiptBroken: They are not.
    """
    try:
        _check_invariants(story)
        _check_roles(market, story)
        _check_jobs(job, story)
        _check_endings([event for event, _ in story])
    except Broken as error:
        raise ReceiptBroken(check="story", what=str(error)) from None


def _check_invariants(story: Story) -> None:
    """Of payouts a receipt has a part each, which can not add up: they are checked by ``payments``."""
    routes: dict[type, list[Check]] = {}
    invariants = [invariant() for invariant in INVARIANTS]
    for invariant in invariants:
        for kind, look in invariant.checks().items():
            routes.setdefault(kind, []).append(look)
    for event, stored in story:
        if kind_of(stored.stream) is Kind.settlement:
            continue
        for look in routes.get(type(event), ()):
            try:
                look(event, stored)
            except _NONSENSE as error:
                raise Broken(f"event {stored.position} {stored.name}: {_said(error)}") from None
    for invariant in invariants:
        try:
            invariant.finish()
        except _NONSENSE as error:
            raise Broken(f"at event {story[-1][1].position}: {_said(error)}") from None


def _check_roles(market: str, story: Story) -> None:
    """Who acts for the market was appointed by the key that signed the root."""
    settling = set[str]()
    for event, stored in story:
        kind, actor = kind_of(stored.stream), decode_meta(stored.meta).actor
        if kind is Kind.market and actor != market:
            raise Broken(f"event {stored.position} {stored.name} is not by the market")
        if kind is Kind.settlement and actor not in settling:
            raise Broken(f"event {stored.position} {stored.name} is not by the market's settlement")
        if isinstance(event, RoleGranted) and event.role == "settlement":
            settling.add(event.party)
        elif isinstance(event, RoleRevoked) and event.role == "settlement":
            settling.discard(event.party)


def _check_jobs(job: str, story: Story) -> None:
    """They are of this job and of the one whose results it was given, and say of every task how it ended."""
    original = original_of(job, [event for event, _ in story])
    spoken_of = {event.job for event, _ in story if hasattr(event, "job")}
    if spoken_of != {job, original or job}:
        raise Broken("it holds events of other jobs, or none of its own")
    for one in sorted(spoken_of):
        claims = claims_of(one, story)
        shown = len(claims.results)
        if claims.verified != shown or claims.verified + claims.failed != claims.tasks:
            raise Broken(f"of {claims.tasks} tasks {claims.verified} are said to be verified, {shown} have a result")


def _check_endings(events: Sequence[AnyEvent]) -> None:
    """Nothing is left out at the end of a stream."""
    assigned = Counter(_hold(event) for event in events if isinstance(event, TaskAssigned))
    if assigned != Counter(_hold(event) for event in events if isinstance(event, _ENDINGS)):
        raise Broken("an assignment has no ending")
    stakes = {event.job: event.stake_msat for event in events if isinstance(event, JobPosted)}
    rejected = {_run(event) for event in events if isinstance(event, ResultRejected) and stakes[event.job]}
    if rejected != {_run(event) for event in events if isinstance(event, StakeSlashed)}:
        raise Broken("a worker whose result was rejected was not slashed")


def _hold(event: Any) -> tuple[str, int, int, str]:
    return event.job, event.task, event.replica, event.worker


def _run(event: ResultRejected | StakeSlashed) -> tuple[str, int, str]:
    return event.job, event.task, event.worker


def check_money(job: str, story: Story) -> None:
    """Check that of each job everything that was reserved came out again.

    Raises:
        ReceiptBroken: Something did not.
    """
    left: Counter[str] = Counter()
    for event, stored in story:
        if kind_of(stored.stream) is Kind.escrow and (named := getattr(event, "job", None)):
            amount_msat: int = getattr(event, "amount_msat", 0)
            left[named] += amount_msat if isinstance(event, EscrowReserved) else -amount_msat
    if any(left.values()) or job not in left:
        what = f"of what was reserved for the job {left[job]} msat are neither paid nor free again"
        raise ReceiptBroken(check="money", what=what)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, Broken | Corrupt) else f"{type(error).__name__}: {error}"
