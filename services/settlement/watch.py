"""What a block means for the market: deposits, payouts, and outputs that somebody else spent. Pure."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from domain.bitcoin import OutPoint, Tx, parse, reference, txid
from domain.bitcoin import outpoint as place_of
from domain.books import Books
from domain.deposits import DEPOSIT_MIN_SAT
from domain.money import MSAT_PER_SAT
from domain.settlement import ConfirmDeposit, ReportTaken
from services.ports import Block


class Settled(NamedTuple):
    """A payout that is in the block, and by which transaction."""

    epoch: int
    txid: str


class Found(NamedTuple):
    """Attributes:
    told: What the market is to be told, in the order in which it stands in the block.
    funding: By output to an account: what its transaction spends.
    """

    told: list[ConfirmDeposit | ReportTaken | Settled]
    funding: dict[str, tuple[OutPoint, ...]]


class Rungs:
    """Which transactions are payouts: the ids of every rung, computed once."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._known = 0

    def of(self, books: Books) -> Mapping[str, int]:
        """The payout by transaction id, of all that were planned."""
        for epoch in range(self._known + 1, len(books.payouts) + 1):
            self._epochs.update(dict.fromkeys(books.payouts[epoch].txids, epoch))
            self._known = epoch
        return self._epochs


def look(
    block: Block, books: Books, payouts: Mapping[str, int], funding: Mapping[str, Collection[OutPoint]] | None = None
) -> Found:
    """What the block holds for the market: a payout that was given up is a stranger's transaction.

    Args:
        payouts: See ``Rungs.of``.
        funding: What deposits spent that were seen before; a deposit that left the chain is gone for good when one of
            these is spent by something else.
    """
    found, fresh = Found([], {}), set[str]()
    for raw in block.transactions:
        tx = parse(raw)
        name = txid(tx)
        payout = books.payouts.get(payouts.get(name, 0))
        if payout is not None and not books.is_abandoned(payout.planned.epoch):
            if payout.open:
                found.told.append(Settled(payout.planned.epoch, name))
            fresh |= _to_accounts(tx, name, books, payout.planned.reserve_script)
            continue
        found.told.extend(_taken(tx, name, block.id.height, books, fresh))
        found.told.extend(_never_back(tx, name, block.id.height, books, funding or {}))
        found.told.extend(_deposits(tx, name, block.id.height, books))
        paid_in = _to_accounts(tx, name, books)
        found.funding.update(dict.fromkeys(paid_in, tuple(one.outpoint for one in tx.inputs)))
        fresh |= paid_in
    return found


def _to_accounts(tx: Tx, name: str, books: Books, reserve_script: str = "") -> set[str]:
    """Outputs that hold money of the market once the market was told of the transaction."""
    return {
        reference(OutPoint(name, vout))
        for vout, output in enumerate(tx.outputs)
        if output.script in books.by_script or output.script.hex() == reserve_script
    }


def _deposits(tx: Tx, name: str, height: int, books: Books) -> list[ConfirmDeposit]:
    found = []
    for vout, output in enumerate(tx.outputs):
        term = books.by_script.get(output.script)
        if term is None or term.account == "reserve" or output.value_sat < DEPOSIT_MIN_SAT:
            continue
        if reference(OutPoint(name, vout)) not in books.coins:
            amount_msat = output.value_sat * MSAT_PER_SAT
            script = output.script.hex()
            found.append(ConfirmDeposit(term.account, term.owner, amount_msat, name, vout, height, script))
    return found


def _taken(tx: Tx, name: str, height: int, books: Books, fresh: Collection[str]) -> list[ReportTaken]:
    """Outputs of the market that the transaction spends; ``fresh`` are those of the same block."""
    spent = (one.outpoint for one in tx.inputs)
    return [
        ReportTaken(out.txid, out.vout, name, height)
        for out in spent
        if reference(out) in books.coins or reference(out) in fresh
    ]


def _never_back(
    tx: Tx, name: str, height: int, books: Books, funding: Mapping[str, Collection[OutPoint]]
) -> list[ReportTaken]:
    """Deposits that left the chain, and of which the transaction spends what they would have to spend."""
    spent = {one.outpoint for one in tx.inputs}
    lost = [place_of(one) for one in books.reorged if spent.intersection(funding.get(one, ()))]
    return [ReportTaken(one.txid, one.vout, name, height) for one in lost if one.txid != name]
