"""The chain and its payouts as a notebook shows them."""

from collections.abc import Mapping

from domain.bitcoin import Network, address
from domain.events import RoleGranted
from services.client import sentences
from services.client.cards import Card, Line, Shown
from services.client.words import count, short
from services.ledger.proofs import Proofs
from services.projections.queries import Reader
from services.projections.settled import Chain as Row
from services.projections.settled import Payout as PayoutRow
from services.viewing import payouts
from services.viewing.payouts import Detail, Input, Output, Rung

#: Columns of a table of payouts.
COLUMNS = ("epoch", "state", "paid_sat", "payees", "cost_sat", "txid", "height", "size")


class Chain(Shown):
    """The chain that the market settles on, as it was when it was asked for.

    Attributes:
        network: ``regtest``, ``signet``, ``testnet4`` or ``main``.
        height, block: Of the last block that was seen.
        confirmations: Blocks after which a transaction counts.
        row: All that is known of it.
    """

    def __init__(self, row: Row) -> None:
        self.row, self.network, self.height, self.block = row, row.network, row.height, row.block
        self.confirmations = row.confirmations

    def card(self) -> Card:
        row = self.row
        return Card(
            title=f"{row.network}, block {row.height:,}",
            sentence=f"{sentences.NETWORKS[row.network].capitalize()}.",
            lines=[
                ("block", row.block),
                ("counts", f"{count(row.confirmations, 'block')} deep"),
                ("joined", f"at block {row.joined_height:,}, event {row.joined_pos:,}"),
            ],
            more=[
                ("market's key", row.market_key),
                ("arbiter's key", row.arbiter_key),
                ("arbiter", row.arbiter),
                ("fees go to", address(bytes.fromhex(row.market_script), row.network)),
                ("reorganisations", f"{row.reorgs:,}"),
            ],
        )


class Payout(Shown):
    """One payout, as it was when it was asked for; its transaction and its anchor are computed again from the log.

    Attributes:
        epoch, state, txid, fee_sat, paid_sat: Of the transaction that was sent last, or of the first rung.
        outputs, inputs, ladder: Whom it pays for what, what it spends, and its rungs.
        raw: The transaction without its witnesses, in hex: what its id is the hash of.
        holds: Whether anchor, receipts' root and the log's root are what they have to be, each by name.
        row: All that the read model has of it.
    """

    def __init__(self, row: PayoutRow, detail: Detail, height: int, *, logged: bool) -> None:
        self.row, self.epoch, self.state = row, row.epoch, row.state
        self.txid, self.fee_sat, self.paid_sat = detail.txid, row.cost_sat, row.paid_sat
        self.outputs: tuple[Output, ...] = detail.outputs
        self.inputs: tuple[Input, ...] = detail.inputs
        self.ladder: tuple[Rung, ...] = detail.ladder
        self.raw = detail.raw
        self.holds: Mapping[str, bool] = {"anchor": detail.binds, "receipts": detail.pays, "root": logged}
        self._height = height

    def card(self) -> Card:
        row = self.row
        wrong = [name for name, right in self.holds.items() if not right]
        lines: list[Line] = [
            ("transaction", self.txid),
            ("block", f"{row.height:,}" if row.height is not None else "none"),
            ("fee", f"{self.fee_sat:,} sat, {payouts.share_ppm(row) / 10_000:.2f} % of what it pays"),
            ("binds", f"{count(row.size, 'event')} of the log"),
        ]
        if wrong:
            lines.append(("WRONG", f"{', '.join(wrong)}: not what it has to be"))
        paid = [
            (short(out.owner) or out.what, f"{out.value_sat:,} sat") for out in self.outputs if out.what != "anchor"
        ]
        return Card(
            title=f"payout {self.epoch} of {self.paid_sat:,} sat to {count(row.payees, 'payee')}",
            sentence=sentences.of_payout(row, self._height),
            lines=lines,
            more=[("anchor", row.anchor), ("root", row.root), ("receipts", row.receipts), *paid],
        )


async def payout_of(reader: Reader, epoch: int) -> Payout:
    """One payout in full, out of the read models and the log.

    Raises:
        UnknownPayout: There is none.
    """
    row, chain = await reader.settled.payout(epoch), await reader.settled.chain()
    events = await reader.events(after=row.planned_pos - 1, limit=row.payees + 1)
    market = payouts.operator(await reader.events(RoleGranted.__name__, limit=1))
    network: Network = "regtest" if chain is None else chain.network
    detail = payouts.detail(row, *payouts.planned_in(events, epoch), network=network, market=market)
    logged = (await Proofs(reader.log).root(row.size)).hex() == row.root
    return Payout(row, detail, 0 if chain is None else chain.height, logged=logged)
