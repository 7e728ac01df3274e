"""A market that signs, mines and anchors a lie about a payout is caught, and the link that is false is named."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from domain import bitcoin, payout
from domain.events import (
    ChainJoined,
    Event,
    LogAnchored,
    PayoutAllotted,
    PayoutConfirmed,
    PayoutPlanned,
    StakeOpened,
)
from services.ledger import codec, merkle
from services.receipt import form
from services.receipt.form import ReceiptBroken
from services.receipt.verify import verify
from tests.payroll import EASY, mine, played, script, txid
from tests.receipts import MARKET, receipt_of

GAME = played(MARKET.key)
RECORDS = GAME.records
WORKERS = GAME.market.workers
#: One payout paid for it, so that no later anchor gives the lie away as well.
JOB = GAME.stranger


class Lie:
    """The log with another first payout, of which every hash is made anew: only the lie itself can give it away."""

    def __init__(self) -> None:
        self.job = JOB
        self.records = list(RECORDS)
        self.events: list[Any] = [codec.decode_stored(one) for one in self.records]

    def place(self, kind: type[Event]) -> int:
        return next(place for place, event in enumerate(self.events) if type(event) is kind)

    def tell(self, kind: type[Event], **fields: Any) -> None:
        """Change the first event of a kind."""
        self.put(self.place(kind), replace(self.events[self.place(kind)], **fields))

    def put(self, place: int, event: Any) -> None:
        self.events[place] = event
        self.records[place] = self.records[place]._replace(data=codec.encode(event))

    @property
    def allotted(self) -> list[int]:
        """Places of the allotments."""
        found = enumerate(self.events)
        return [place for place, event in found if isinstance(event, PayoutAllotted) and event.epoch == 1]

    def anchor(self) -> None:
        """The anchor of what the plan says now."""
        planned = self.events[self.place(PayoutPlanned)]
        receipts = payout.receipts_root(self.events[place] for place in self.allotted)
        said = payout.anchor(MARKET.key, 1, planned.size, planned.root, receipts, planned.previous)
        self.tell(PayoutPlanned, receipts=receipts, anchor=said)

    def mine(self, *, bits: int = EASY, worked: bool = True) -> None:
        """Put what is planned now into a block, alone beside a coinbase."""
        planned, confirmed = self.events[self.place(PayoutPlanned)], self.events[self.place(PayoutConfirmed)]
        tx = payout.transaction(planned, [self.events[place] for place in self.allotted], 0)
        txids = [txid("coinbase"), bitcoin.txid(tx)]
        header = mine(txids, 1_893_456_000, bits=bits, worked=worked)
        branch = tuple(beside.hex() for beside in bitcoin.merkle_branch(txids, 1))
        where = {"block": bitcoin.block_hash(header), "header": header.hex(), "index": 1, "branch": branch}
        self.tell(PayoutConfirmed, txid=txids[1], **where)
        at_height = (confirmed.height,)
        anchored = LogAnchored(1, planned.size, planned.root, planned.anchor, txids[1], *at_height)
        self.put(self.place(LogAnchored), anchored)


def retold(lie: Lie, **options: Any) -> None:
    lie.anchor()
    lie.mine(**options)


def planned(**fields: Any) -> Callable[[Lie], None]:
    def tell(lie: Lie) -> None:
        lie.tell(PayoutPlanned, **fields)
        retold(lie)

    return tell


def richer(lie: Lie) -> None:
    """A worker gets a satoshi more than it had earned with the job, out of the first change."""
    place = lie.allotted[0]
    one = lie.events[place]
    paid = tuple(replace(part, amount_msat=part.amount_msat + 1_000 * (part.job == JOB)) for part in one.paid)
    lie.put(place, replace(one, amount_sat=one.amount_sat + 1, paid=paid))
    plan = lie.events[lie.place(PayoutPlanned)]
    first, *rest = plan.drawn
    lie.tell(PayoutPlanned, drawn=(replace(first, change_sat=first.change_sat - 1), *rest))
    retold(lie)


def diverted(lie: Lie) -> None:
    """A worker's output pays the market."""
    for place in lie.allotted:
        lie.put(place, replace(lie.events[place], script=script("market")))
    retold(lie)


def renamed(lie: Lie) -> None:
    """What one worker earned is allotted to another, and paid where that wants it."""
    lie.job = GAME.paid
    place = next(place for place in lie.allotted if any(part.job == lie.job for part in lie.events[place].paid))
    lie.put(place, replace(lie.events[place], owner=WORKERS[2], script=script(WORKERS[2])))
    retold(lie)


def unsummed(lie: Lie) -> None:
    """It says that it paid for less than it paid."""
    place = next(place for place in lie.allotted if len(lie.events[place].paid) > 1)
    one = lie.events[place]
    lie.put(place, replace(one, paid=tuple(part for part in one.paid if part.job == JOB)))
    retold(lie)


def told(kind: type[Event], **fields: Any) -> Callable[[Lie], None]:
    def tell(lie: Lie) -> None:
        lie.tell(kind, **fields)

    return tell


def by_a_stranger(lie: Lie) -> None:
    place = lie.place(PayoutConfirmed)
    meta = replace(codec.decode_meta(lie.records[place].meta), actor=WORKERS[0])
    lie.records[place] = lie.records[place]._replace(meta=codec.encode_meta(meta))


def on_main(lie: Lie) -> None:
    """A header that took no work to speak of, on a chain that asks for it."""
    lie.tell(ChainJoined, network="main")
    at_plan = lie.records[: lie.events[lie.place(PayoutPlanned)].size]
    planned(root=merkle.Tree(map(merkle.leaf, at_plan)).root().hex())(lie)


HEADER: str = next(one for one in map(codec.decode_stored, RECORDS) if isinstance(one, PayoutConfirmed)).header
BRANCH = next(one for one in map(codec.decode_stored, RECORDS) if isinstance(one, PayoutConfirmed)).branch


@pytest.mark.parametrize(
    ("lie", "fails"),
    [
        (retold, None),
        (planned(height=109), None),
        (richer, "payment"),
        (diverted, "payment"),
        (renamed, "payment"),
        (unsummed, "payment"),
        (told(StakeOpened, payout_script=script("market")), "payment"),
        (told(PayoutConfirmed, fee_sat=464), "payment"),
        (planned(previous=txid("no anchor")), "anchor"),
        (planned(root=txid("no root")), "anchor"),
        (planned(size=109), "anchor"),
        (planned(size=111), "anchor"),
        (told(PayoutPlanned, root=txid("no root")), "anchor"),
        (told(PayoutPlanned, receipts=txid("no receipts")), "anchor"),
        (told(PayoutPlanned, previous=txid("no anchor")), "anchor"),
        (lambda lie: retold(lie, worked=False), "block"),
        (lambda lie: retold(lie, bits=0x2100FFFF), "block"),
        (on_main, "block"),
        (told(PayoutConfirmed, branch=BRANCH[::-1]), "block"),
        (told(PayoutConfirmed, branch=BRANCH[1:]), "block"),
        (told(PayoutConfirmed, branch=()), "block"),
        (told(PayoutConfirmed, index=3), "block"),
        (told(PayoutConfirmed, block=txid("no block")), "block"),
        (told(PayoutConfirmed, header=f"{HEADER[:-2]}{'00' if HEADER[-2:] != '00' else '01'}"), "block"),
        (told(PayoutConfirmed, header="zz" * 80), "story"),
        (told(PayoutConfirmed, height=3), "block"),
        (told(LogAnchored, size=3), "block"),
        (told(LogAnchored, height=3), "block"),
        (by_a_stranger, "story"),
    ],
)
async def test_market_that_lies_about_a_payout_is_caught(lie: Callable[[Lie], None], fails: str | None) -> None:
    made = Lie()
    lie(made)
    if fails is None:
        found = await receipt_of(made.records, made.job)
        assert verify(form.encode(found), market=MARKET.key).claims.settled_msat == 60_000_000
        return
    with pytest.raises(ReceiptBroken) as refused:  # what makes no sense at all cannot be made a receipt of
        verify(form.encode(await receipt_of(made.records, made.job)), market=MARKET.key)
    assert refused.value.check == fails
