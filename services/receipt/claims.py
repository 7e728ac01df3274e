"""What a job's events say of it: its terms, its results, its money, and which payouts paid for it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from domain import bitcoin
from domain.bitcoin import BadBranch
from domain.events import (
    AnyEvent,
    ChainJoined,
    EscrowFreed,
    EscrowReleased,
    EscrowReserved,
    JobCompleted,
    JobPosted,
    JobReused,
    LogAnchored,
    PayoutAllotted,
    PayoutConfirmed,
    PayoutEvent,
    PayoutPlanned,
    ResultSubmitted,
    ResultVerified,
)
from services.ports import Stored
from services.receipt.form import Claims, Payout, ReceiptBroken, Settled
from services.receipt.shares import Share

Story = Sequence[tuple[AnyEvent, Stored]]


class Told(NamedTuple):
    """A payout as the receipt's events tell of it; ``position`` is that of its plan."""

    planned: PayoutPlanned
    position: int
    allotted: Sequence[PayoutAllotted]
    confirmed: PayoutConfirmed
    anchored: LogAnchored

    def shares(self, job: str) -> list[Share]:
        """What it pays for the job, by worker."""
        found = [Share(one.owner, paid.amount_msat) for one in self.allotted for paid in one.paid if paid.job == job]
        return sorted(found, key=lambda share: share.worker)


def original_of(job: str, events: Sequence[AnyEvent]) -> str | None:
    """The job whose results this one was given."""
    return next((event.original for event in events if isinstance(event, JobReused) and event.job == job), None)


def told(story: Story) -> Mapping[int, Told]:
    """The payouts that the events tell of, by epoch.

    Each is told of from its plan, by the allotments that concern the job, to its confirmation and anchor. Of a payout
    before them the anchor stands alone, because the next one follows it.

    Raises:
        ReceiptBroken: One is told of in another way.
    """
    by_epoch: dict[int, list[tuple[PayoutEvent, int]]] = {}
    for event, stored in story:
        if isinstance(event, PayoutEvent):
            by_epoch.setdefault(event.epoch, []).append((event, stored.position))
    found: dict[int, Told] = {}
    for epoch, events in sorted(by_epoch.items()):
        match [event for event, _ in events]:
            case [LogAnchored()]:
                continue
            case [PayoutPlanned() as planned, *allotted, PayoutConfirmed() as confirmed, LogAnchored() as anchored]:
                payees = [one for one in allotted if isinstance(one, PayoutAllotted)]
                if payees and len(payees) == len(allotted):
                    found[epoch] = Told(planned, events[0][1], payees, confirmed, anchored)
                    continue
        raise ReceiptBroken(check="story", what=f"it does not tell of payout {epoch} from its plan to its anchor")
    return found


def claims_of(job: str, story: Story) -> Claims:
    """What the events say of the job.

    Raises:
        ReceiptBroken: It was not posted, or is not over.
    """
    mine = [(event, stored) for event, stored in story if getattr(event, "job", None) == job]
    posted = next(((event, stored.recorded_at) for event, stored in mine if isinstance(event, JobPosted)), None)
    ended = next(((event, stored.recorded_at) for event, stored in mine if isinstance(event, JobCompleted)), None)
    if posted is None or ended is None:
        raise ReceiptBroken(check="story", what="its events do not tell of the job from JobPosted to JobCompleted")
    terms, over = posted[0], ended[0]
    reserved, paid, freed = (
        sum(event.amount_msat for event, _ in mine if isinstance(event, kind))
        for kind in (EscrowReserved, EscrowReleased, EscrowFreed)
    )
    original = original_of(job, [event for event, _ in mine])
    payouts = tuple(_payout(one, job) for one in told(story).values())
    return Claims(
        client=terms.client,
        escrow=terms.escrow,
        tasks=terms.tasks,
        replicas=terms.replicas,
        price_msat=terms.price_msat,
        verified=over.verified,
        failed=over.failed,
        reserved_msat=reserved,
        paid_msat=paid,
        charged_msat=reserved - paid - freed,
        freed_msat=freed,
        posted_at=posted[1],
        completed_at=ended[1],
        program=terms.program,
        shared=terms.shared,
        mapped=terms.mapped,
        original=original,
        results=_results(original or job, [event for event, _ in story]),
        network=next((event.network for event, _ in story if isinstance(event, ChainJoined)), None),
        settled_msat=sum(one.paid_msat for one in payouts),
        payouts=payouts,
    )


def _payout(one: Told, job: str) -> Payout:
    confirmed = one.confirmed
    try:
        mined_s = bitcoin.parse_header(bytes.fromhex(confirmed.header)).time
    except (BadBranch, ValueError):
        raise ReceiptBroken(check="story", what=f"payout {confirmed.epoch} names no header of a block") from None
    return Payout(
        epoch=confirmed.epoch,
        txid=confirmed.txid,
        height=confirmed.height,
        block=confirmed.block,
        mined_at=datetime.fromtimestamp(mined_s, UTC),
        anchored=one.planned.size,
        paid=tuple(one.shares(job)),
    )


def _results(job: str, events: Sequence[AnyEvent]) -> tuple[Settled, ...]:
    """The result of each settled task: that of the worker whose verification settled it."""
    shown = {(e.task, e.replica, e.worker): e.result for e in events if isinstance(e, ResultSubmitted) and e.job == job}
    settled = [event for event in events if isinstance(event, ResultVerified) and event.job == job and event.settles]
    found = [
        Settled(event.task, shown[place], event.worker, event.method)
        for event in settled
        if (place := (event.task, event.replica, event.worker)) in shown
    ]
    return tuple(sorted(found, key=lambda one: one.task))
