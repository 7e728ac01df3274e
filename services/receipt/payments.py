"""Checks the payouts of a receipt, from what each worker earned to a block's header, by hashes alone.

share of a worker -- tree of shares --\\
job's history -- log's Merkle root -- anchor -- OP_RETURN -- transaction -- Merkle branch -- header with its work
share of a worker <= output that pays the script which the worker named

Neither a node nor a driver is asked. That the block is in the best chain only a node can say: whoever knows that names
the block. Nor does a header tell its height: that is the market's word.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from domain import bitcoin, payout
from domain.bitcoin import BadBranch, BadReference, BadScript, BadTransaction, Network, Tx, TxOut
from domain.books import NO_ANCHOR
from domain.events import ChainJoined, EscrowReleased, LogAnchored, PayoutPlanned, StakeOpened
from domain.money import MSAT_PER_SAT
from services.ledger import merkle
from services.receipt import shares
from services.receipt.claims import Story, Told, told
from services.receipt.form import Payment, Receipt, ReceiptBroken

#: The largest hash that a block of the network may have (``powLimit`` in Bitcoin Core's kernel/chainparams.cpp).
_HASH_MAX: Final[Mapping[Network, int]] = {
    "regtest": 0x7FFFFF << 8 * 29,
    "signet": 0x0377AE << 8 * 27,
    "testnet4": 0x00FFFF << 8 * 26,
    "main": 0x00FFFF << 8 * 26,
}
#: A transaction of so many bytes could be an inner node of a block's tree in disguise (CVE-2017-12842).
_AMBIGUOUS_BYTES: Final = 64
#: What a field that is no hex, no hash or no transaction does to code which expects that it is.
_NONSENSE: Final = (BadBranch, BadReference, BadScript, BadTransaction, ValueError, IndexError)


#: Where each worker wanted to be paid, from which event on.
Openings: TypeAlias = dict[str, list[tuple[int, str]]]


class _Wrong(ValueError):
    """What fails, as a sentence."""


def check_payments(receipt: Receipt, story: Story, blocks: Collection[str] | None) -> None:
    """Check every payout that the receipt tells of.

    Args:
        blocks: Ids of blocks that are known to be in the best chain; each payout must be in one of them. Absent: not
            asked.
    Raises:
        ReceiptBroken: ``payment``, ``anchor`` or ``block`` fails.
    """
    payouts = list(told(story).values())
    epochs, proven = [one.planned.epoch for one in payouts], [one.epoch for one in receipt.payments]
    if epochs != proven:
        what = f"its events tell of payouts {epochs or 'none'} and it proves {proven or 'none'}"
        raise ReceiptBroken(check="payment", what=what)
    pairs = list(zip(payouts, receipt.payments, strict=True))
    transactions, openings = list[Tx](), _openings(story)
    for one, proof in pairs:
        with _named("payment", one):
            transactions.append(_transaction(one, proof))
            _check_shares(receipt.job, one, proof, openings)
    _check_earned(receipt.job, payouts, story)
    for (one, proof), tx in zip(pairs, transactions, strict=True):
        with _named("anchor", one):
            _check_anchor(receipt, one, proof, tx)
            _check_previous(one, story)
    for one, tx in zip(payouts, transactions, strict=True):
        with _named("block", one):
            _check_block(one, tx, story, blocks)


@contextmanager
def _named(check: str, one: Told) -> Iterator[None]:
    try:
        yield
    except _NONSENSE as error:
        said = str(error) if isinstance(error, _Wrong) else f"it cannot be read: {error}"
        raise ReceiptBroken(check=check, what=f"payout {one.planned.epoch}: {said}") from None


# -------------------------------------------------------------------------------------------------------------- payment
def _transaction(one: Told, proof: Payment) -> Tx:
    """The transaction, which is the one that was planned."""
    raw, planned = bytes.fromhex(proof.transaction), one.planned
    if len(raw) == _AMBIGUOUS_BYTES:
        raise _Wrong(f"its transaction has {_AMBIGUOUS_BYTES} bytes, as a node of a block's tree has")
    tx = bitcoin.parse(raw)
    if bitcoin.serialize(tx) != raw:
        raise _Wrong("its transaction is not stripped of its witnesses")
    fee_sat = payout.spent_sat(planned) - sum(output.value_sat for output in tx.outputs)
    if fee_sat != one.confirmed.fee_sat or fee_sat not in planned.fees_sat:
        raise _Wrong(f"its transaction leaves {fee_sat} sat to the miner, which is no fee that was planned")
    wanted = payout.transaction(planned, one.allotted, planned.fees_sat.index(fee_sat))
    if tx != wanted._replace(outputs=tx.outputs):
        raise _Wrong("its transaction does not spend the outputs that were planned")
    rest = wanted.outputs[len(one.allotted) :]
    if len(tx.outputs) < len(wanted.outputs) or not _agree(rest, tx.outputs[-len(rest) :], _changes(planned)):
        raise _Wrong("its transaction's last outputs are not those that were planned")
    _check_outputs(one, tx.outputs[: -len(rest)])
    return tx


def _agree(wanted: Sequence[TxOut], found: Sequence[TxOut], changes: int) -> bool:
    """Whether what follows the payees is as planned: the market's part, the anchor, the reserve and the changes.

    The first change may hold more: there lies what a cheap fee leaves, and only all allotments tell how much that is.
    """
    first = len(wanted) - changes
    return all(
        ours.script == theirs.script
        and (ours.value_sat <= theirs.value_sat if place == first else ours.value_sat == theirs.value_sat)
        for place, (ours, theirs) in enumerate(zip(wanted, found, strict=True))
    )


def _changes(planned: PayoutPlanned) -> int:
    return sum(one.change_sat > 0 for one in planned.drawn)


def _check_outputs(one: Told, outputs: Sequence[TxOut]) -> None:
    """Each worker has an output of its own among those of the payees."""
    wanted = Counter(TxOut(paid.amount_sat, bytes.fromhex(paid.script)) for paid in one.allotted)
    found = Counter(outputs)
    for output, number in wanted.items():
        if found[output] < number:
            raise _Wrong(f"no output of its transaction pays {output.value_sat} sat to {output.script.hex()}")


def _check_shares(job: str, one: Told, proof: Payment, openings: Openings) -> None:
    """What the tree of shares says is what the allotments say, and each is paid where its worker wants it."""
    workers = [share.worker for share in one.shares(job)]
    if one.shares(job) != list(shares.listed(proof.shares)) or len(set(workers)) < len(workers):
        raise _Wrong("the shares that it proves are not those that its events allot")
    if sorted(paid.owner for paid in one.allotted) != workers:
        raise _Wrong("it tells of an allotment that pays nothing for the job")
    for paid in one.allotted:
        if paid.due != "reward" or paid.amount_sat * MSAT_PER_SAT != sum(part.amount_msat for part in paid.paid):
            raise _Wrong(f"the {paid.amount_sat} sat of worker {paid.owner} are not the sum of its shares")
        scripts = [script for position, script in openings.get(paid.owner, ()) if position < one.position]
        if scripts[-1:] != [paid.script]:
            raise _Wrong(f"worker {paid.owner} is not paid where it wants to be")


def _openings(story: Story) -> Openings:
    found: Openings = {}
    for event, stored in story:
        if isinstance(event, StakeOpened):
            found.setdefault(event.worker, []).append((stored.position, event.payout_script))
    return found


def _check_earned(job: str, payouts: Iterable[Told], story: Story) -> None:
    """No worker is paid more than it had earned with the job when the payout was planned."""
    paid_msat: Counter[str] = Counter()
    for one in payouts:
        earned_msat: Counter[str] = Counter()
        for event, stored in story:
            if isinstance(event, EscrowReleased) and event.job == job and stored.position < one.position:
                earned_msat[event.worker] += event.amount_msat
        for share in one.shares(job):
            paid_msat[share.worker] += share.amount_msat
            if paid_msat[share.worker] > earned_msat[share.worker]:
                said = f"{paid_msat[share.worker]} msat of {earned_msat[share.worker]} msat that it had earned"
                what = f"payout {one.planned.epoch} brings what worker {share.worker} is paid to {said}"
                raise ReceiptBroken(check="payment", what=what)


# --------------------------------------------------------------------------------------------------------------- anchor
def _check_anchor(receipt: Receipt, one: Told, proof: Payment, tx: Tx) -> None:
    """The one OP_RETURN commits to the shares and to a log that the signed one begins with."""
    planned = one.planned
    said = (planned.size, planned.root, planned.receipts, planned.previous)
    if payout.anchor(receipt.market, planned.epoch, *said) != planned.anchor:
        raise _Wrong("its anchor is not made of what it is said to commit to")
    if [out.script for out in tx.outputs if out.script[:1] == b"\x6a"] != [_committed(planned.anchor)]:
        raise _Wrong("the OP_RETURN of its transaction is another than its anchor")
    if shares.root(proof.shares, receipt.job).hex() != planned.receipts:
        raise _Wrong("the workers' shares are not under the root that it commits to")
    root, signed = bytes.fromhex(planned.root), receipt.root
    history = (list(proof.history), root, bytes.fromhex(signed.root))
    if planned.size >= one.position or not merkle.verify_consistency(planned.size, signed.size, *history):
        raise _Wrong(f"the log of {planned.size} events that it commits to is not the beginning of the signed one")


def _committed(anchor: str) -> bytes:
    return bitcoin.op_return(bytes.fromhex(anchor))


def _check_previous(one: Told, story: Story) -> None:
    """It follows the anchor that was there before it."""
    anchors = [(event.epoch, event.anchor) for event, _ in story if isinstance(event, LogAnchored)]
    before = [(epoch, anchor) for epoch, anchor in anchors if epoch < one.planned.epoch]
    if max(before, default=(0, NO_ANCHOR))[1] != one.planned.previous:
        raise _Wrong("it does not follow the anchor before it")


# ---------------------------------------------------------------------------------------------------------------- block
def _check_block(one: Told, tx: Tx, story: Story, blocks: Collection[str] | None) -> None:
    """The transaction is in a block that took work."""
    confirmed, planned = one.confirmed, one.planned
    header, txid = bytes.fromhex(confirmed.header), bitcoin.txid(tx)
    if txid != confirmed.txid:
        raise _Wrong(f"its transaction is {txid}, and {confirmed.txid} was confirmed")
    root = bitcoin.merkle_root_from(txid, confirmed.index, tuple(map(bytes.fromhex, confirmed.branch)))
    if root != bitcoin.parse_header(header).merkle_root:
        raise _Wrong("its transaction is not in the block whose header is given")
    block, network = bitcoin.block_hash(header), _network(story)
    if block != confirmed.block:
        raise _Wrong(f"the header is that of block {block}, not of {confirmed.block}")
    if not bitcoin.has_work(header) or int(block, 16) > _HASH_MAX[network]:
        raise _Wrong(f"the block's header has not the work that {network} asks for")
    where = (planned.epoch, planned.size, planned.root, planned.anchor, txid, confirmed.height)
    if one.anchored != LogAnchored(*where):
        raise _Wrong("what is said to be anchored is something else")
    if blocks is not None and block not in blocks:
        raise _Wrong(f"block {block} is none of those that are known to be in the best chain")


def _network(story: Story) -> Network:
    network = next((event.network for event, _ in story if isinstance(event, ChainJoined)), None)
    if network is None:
        raise _Wrong("it does not say on which chain the market settles")
    return network
