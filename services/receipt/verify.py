"""Checks a receipt alone: no server, no database, no network; whoever reads it needs the market's key and nothing else.

form        it is a receipt                         signature   the market signed the root
canonical   written in the one way there is         inclusion   every event is in the log under that root
key         it is of the market that was asked for  order       events follow each other, streams have no gap
events      every event decodes and stands where its fields say
story       what the audit checks on a whole log holds on these events
money       what was reserved is what was earned, charged and freed
payment     each payout's transaction pays each worker the share that it had earned
anchor      its OP_RETURN commits to these shares, and to a log that the signed one begins with
block       it is in the block whose header is given; in one that is known to be in the best chain, if such are given
claims      what is said at the top is what the events say
results     content that is given is what the workers committed to
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from domain.blobs import BlobRef, address_of, commit_to, digest_of
from domain.errors import Corrupt
from domain.events import AnyEvent
from domain.ids import Kind, kind_of
from services.ledger import codec, merkle
from services.ledger.root import NotSigned
from services.ports import Stored
from services.receipt import form
from services.receipt.claims import Story, claims_of
from services.receipt.form import Claims, Receipt, ReceiptBroken
from services.receipt.payments import check_payments
from services.receipt.story import at_home, check_money, check_story

#: Streams of which a receipt has every event up to the last that it has.
_WHOLE: Final = frozenset(set(Kind) - {Kind.escrow, Kind.stake, Kind.worker, Kind.settlement})


class Verified(Struct, frozen=True, kw_only=True):
    """A receipt that holds.

    Attributes:
        size, root: The log that the market vouched for.
        last: Position of the last event.
        given: For each result file that was given, the tasks whose result it is.
    """

    job: str
    market: str
    size: int
    root: str
    events: int
    first: int
    last: int
    bytes: int
    contents: int
    claims: Claims
    given: tuple[tuple[int, ...], ...]


def verify(
    file: bytes,
    *,
    market: str | None = None,
    results: Sequence[bytes] = (),
    blocks: Collection[str] | None = None,
) -> Verified:
    """Check everything that a receipt says.

    Args:
        market: The key that must have signed; the receipt's own word is taken if absent.
        results: Contents of result files; each must be a verified result of the job.
        blocks: Ids of blocks that are in the best chain, from a node that you trust; each payout must be in one of
            them. The receipt's own word is taken if absent.
    Raises:
        ReceiptBroken: A check fails; it is named.
    """
    receipt = form.decode(file)
    if market is not None and receipt.market != market:
        raise ReceiptBroken(check="key", what=f"it is of market {receipt.market}")
    _check_signature(receipt)
    stored = [event.stored for event in receipt.events]
    _check_order(receipt, stored)
    _check_inclusion(receipt, stored)
    story = _read(receipt, stored)
    check_story(receipt.market, receipt.job, story)
    check_money(receipt.job, story)
    check_payments(receipt, story, blocks)
    if form.encode_claims(receipt.claims) != form.encode_claims(claims_of(receipt.job, story)):
        raise ReceiptBroken(check="claims", what="what it says at the top is not what its events say")
    _check_contents(receipt)
    given = tuple(_tasks_of(content, receipt.claims) for content in results)
    return Verified(
        job=receipt.job,
        market=receipt.market,
        size=receipt.root.size,
        root=receipt.root.root,
        events=len(stored),
        first=stored[0].position,
        last=stored[-1].position,
        bytes=len(file),
        contents=len(receipt.contents),
        claims=receipt.claims,
        given=given,
    )


def _check_signature(receipt: Receipt) -> None:
    if receipt.root.market != receipt.market:
        raise ReceiptBroken(check="signature", what=f"the root is signed by {receipt.root.market}")
    try:
        receipt.root.check()
    except NotSigned as error:
        raise ReceiptBroken(check="signature", what=str(error)) from None


def _check_order(receipt: Receipt, events: Sequence[Stored]) -> None:
    """Positions rise and are under the root; versions rise in each stream, by one where all of it is here."""
    if not events:
        raise ReceiptBroken(check="order", what="it holds no event")
    position, versions = 0, dict[bytes, int]()
    for stored in events:
        before = versions.get(stored.stream, 0)
        try:
            gapless = kind_of(stored.stream) in _WHOLE
        except ValueError:
            raise ReceiptBroken(check="order", what=f"event {stored.position} is in a stream of no kind") from None
        if stored.position <= position or stored.version <= before:
            raise ReceiptBroken(check="order", what=f"event {stored.position} stands behind a later one")
        if gapless and stored.version != before + 1:
            missing = f"event {before + 1} of stream {stored.stream.hex()} is missing before event {stored.position}"
            raise ReceiptBroken(check="order", what=missing)
        position, versions[stored.stream] = stored.position, stored.version
    if position > receipt.root.size:
        what = f"event {position} is not under the root of {receipt.root.size} events"
        raise ReceiptBroken(check="order", what=what)


def _check_inclusion(receipt: Receipt, events: Sequence[Stored]) -> None:
    try:
        root = merkle.rebuilt_root(form.leaves(events), receipt.root.size, receipt.nodes)
    except ValueError as error:
        raise ReceiptBroken(check="inclusion", what=str(error)) from None
    if root.hex() != receipt.root.root:
        raise ReceiptBroken(check="inclusion", what="its events are not those of the log that the market signed")


def _read(receipt: Receipt, events: Sequence[Stored]) -> Story:
    """The events with their places, each of which is the one that the event's fields give it."""
    story: list[tuple[AnyEvent, Stored]] = []
    try:
        for stored in events:
            event = codec.decode_stored(stored)
            codec.decode_meta(stored.meta, position=stored.position)
            if not _at_home(event, stored, receipt.market):
                raise Corrupt(f"event {stored.position} is in a stream that it does not belong to")
            story.append((event, stored))
    except Corrupt as error:
        raise ReceiptBroken(check="events", what=str(error)) from None
    return story


def _at_home(event: AnyEvent, stored: Stored, market: str) -> bool:
    try:
        return at_home(event, stored.stream, market)
    except (AttributeError, ValueError):  # the stream is named after what such an event does not have, or not in hex
        return False


def _check_contents(receipt: Receipt) -> None:
    by_address = _by_address(receipt.claims)
    addresses = [content.address for content in receipt.contents]
    if addresses != sorted(set(addresses)) or not set(addresses) <= by_address.keys():
        raise ReceiptBroken(check="results", what="it holds content that is no result of the job")
    for content in receipt.contents:
        if address_of(content.stored) != content.address:
            raise ReceiptBroken(check="results", what=f"the content at {content.address} has another hash")
        for ref in by_address[content.address]:
            if not _opens(ref, content.stored[ref.offset : ref.offset + ref.size]):
                raise ReceiptBroken(check="results", what=f"the content at {content.address} is not what was verified")


def _by_address(claims: Claims) -> Mapping[str, list[BlobRef]]:
    found: dict[str, list[BlobRef]] = {}
    for settled in claims.results:
        found.setdefault(settled.result.address, []).append(settled.result)
    return found


def _opens(ref: BlobRef, content: bytes) -> bool:
    return ref.salt is not None and commit_to(digest_of(content), ref.salt) == ref.commitment


def _tasks_of(content: bytes, claims: Claims) -> tuple[int, ...]:
    """The tasks whose verified result this is.

    Raises:
        ReceiptBroken: None.
    """
    tasks = tuple(settled.task for settled in claims.results if _opens(settled.result, content))
    if not tasks:
        raise ReceiptBroken(check="results", what="the file that was given is no verified result of the job")
    return tasks


def contents_of(receipt: Receipt) -> Iterator[tuple[int, bytes]]:
    """Task and result of everything that a verified receipt keeps itself."""
    stored = {content.address: content.stored for content in receipt.contents}
    for settled in receipt.claims.results:
        ref = settled.result
        if ref.address in stored:
            yield settled.task, stored[ref.address][ref.offset : ref.offset + ref.size]
