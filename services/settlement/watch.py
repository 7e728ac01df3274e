"""What a block means for the market: deposits, payouts, and outputs that somebody else spent. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from domain import payout
from domain.bitcoin import OutPoint, Tx, parse, reference, txid
from domain.books import Books, State
from domain.money import MSAT_PER_SAT
from domain.settlement import ConfirmDeposit, ReportTaken
from services.ports import Block

#: A smaller output to an account is not counted: spending it costs too much of it. Its owner can take it back alone.
DEPOSIT_MIN_SAT: Final = 1_000


class Found(NamedTuple):
    """Attributes:
    settled: Payouts in the block, with their transaction.
    funding: By deposit: what its transaction spends.
    """

    deposits: list[ConfirmDeposit]
    taken: list[ReportTaken]
    settled: list[tuple[int, str]]
    funding: dict[str, tuple[OutPoint, ...]]


class Rungs:
    """Which transactions are payouts: the ids of every rung, computed once."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._known = 0

    def of(self, books: Books) -> Mapping[str, int]:
        """The payout by transaction id, of all that were planned."""
        for epoch in range(self._known + 1, len(books.payouts) + 1):
            found = books.payouts[epoch]
            for rung in range(len(found.planned.fees_sat)):
                self._epochs[txid(payout.transaction(found.planned, found.allotted, rung))] = epoch
            if found.confirmed is not None:
                self._epochs[found.confirmed.txid] = epoch
            self._known = epoch
        return self._epochs


def look(block: Block, books: Books, payouts: Mapping[str, int]) -> Found:
    """What the block holds for the market.

    Args:
        payouts: See ``Rungs.of``.
    """
    found = Found([], [], [], {})
    for raw in block.transactions:
        tx = parse(raw)
        name = txid(tx)
        epoch = payouts.get(name)
        if epoch is None:
            deposits = _deposits(tx, name, block.id.height, books)
            found.deposits.extend(deposits)
            spent = tuple(one.outpoint for one in tx.inputs)
            found.funding.update({reference(OutPoint(name, one.vout or 0)): spent for one in deposits})
            found.taken.extend(_taken(tx, name, block.id.height, books))
        elif books.payouts[epoch].state in (State.PLANNED, State.SENT):
            found.settled.append((epoch, name))
    return found


def _deposits(tx: Tx, name: str, height: int, books: Books) -> list[ConfirmDeposit]:
    found = []
    for vout, output in enumerate(tx.outputs):
        term = books.by_script.get(output.script)
        if term is None or term.account == "reserve" or output.value_sat < DEPOSIT_MIN_SAT:
            continue
        held = books.coins.get(reference(OutPoint(name, vout)))
        if held is None:
            amount_msat = output.value_sat * MSAT_PER_SAT
            script = output.script.hex()
            found.append(ConfirmDeposit(term.account, term.owner, amount_msat, name, vout, height, script))
    return found


def _taken(tx: Tx, name: str, height: int, books: Books) -> list[ReportTaken]:
    spent = (one.outpoint for one in tx.inputs)
    return [ReportTaken(out.txid, out.vout, name, height) for out in spent if reference(out) in books.coins]
