"""One payout in full, out of the events that planned it: the transaction, whom it pays for what, and what it binds.

Nothing here is taken on trust: the transaction, its ids, the anchor and the receipts' root are computed again.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from domain import bitcoin, payout
from domain.books import State, key_of
from domain.events import Account, Paid, PayoutAllotted, PayoutPlanned, RoleGranted
from domain.money import PPM
from services.ledger.codec import decode_meta, decode_stored
from services.ports import Stored
from services.projections.settled import Payout
from services.viewing.view import View

What = Literal["reward", "escrow", "stake", "market", "anchor", "reserve", "change"]
_ANCHOR: Final = "anchor"


class Input(NamedTuple):
    """An output of an account that the payout spends."""

    number: int
    outpoint: str
    value_sat: int
    account: Account
    owner: str
    key: str


class Output(NamedTuple):
    """Attributes:
    address: Empty of the anchor, which nobody can spend.
    owner: Whose it is; empty of the market's, the anchor and the reserve. key: Of the account that changes go to.
    borne_sat: What its owner bears of the fee. paid: What work it is for.
    """

    number: int
    what: What
    value_sat: int
    script: str
    address: str
    owner: str = ""
    key: str = ""
    borne_sat: int = 0
    paid: tuple[Paid, ...] = ()


class Rung(NamedTuple):
    """One of the transactions that were signed at once; all of them spend the same outputs.

    Attributes:
        rate_msat: For a virtual byte. chosen: Whether it was sent last, or confirmed.
    """

    fee_sat: int
    rate_msat: int
    txid: str
    chosen: bool


class Detail(NamedTuple):
    """Attributes:
    inputs, outputs: Of the rung that was sent last or confirmed, of the first one before that.
    raw: That transaction without its witnesses, in hex: what its id is the hash of.
    binds, pays: Whether the anchor, and the receipts' root, are those of what it says and pays.
    """

    txid: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    ladder: tuple[Rung, ...]
    raw: str
    binds: bool
    pays: bool


def planned_in(events: Sequence[Stored], epoch: int) -> tuple[PayoutPlanned, list[PayoutAllotted]]:
    """What was planned, among the events from its first one on.

    Raises:
        ValueError: It is not among them.
    """
    found = [decode_stored(stored) for stored in events]
    planned = next((one for one in found if isinstance(one, PayoutPlanned) and one.epoch == epoch), None)
    if planned is None:
        raise ValueError(f"payout {epoch} was not planned there")
    return planned, [one for one in found if isinstance(one, PayoutAllotted) and one.epoch == epoch]


def read(view: View, row: Payout) -> tuple[PayoutPlanned, list[PayoutAllotted]]:
    """What was planned: an event, and one for each payee behind it."""
    return planned_in(view.events(after=row.planned_pos - 1, limit=row.payees + 1), row.epoch)


def operator(first_granted: Sequence[Stored]) -> str:
    """The market's key, which its anchors name: whoever granted the first role."""
    return decode_meta(first_granted[0].meta).actor if first_granted else ""


def of(view: View, row: Payout) -> Detail:
    """A payout of a view in full."""
    chain = view.settled.chain()
    network: bitcoin.Network = "regtest" if chain is None else chain.network
    market = operator(view.events(RoleGranted.__name__, limit=1))
    return detail(row, *read(view, row), network=network, market=market)


def detail(
    row: Payout, planned: PayoutPlanned, allotted: Sequence[PayoutAllotted], *, network: bitcoin.Network, market: str
) -> Detail:
    """A payout in full.

    Args:
        market: The operator's key.
    """
    built = [payout.transaction(planned, allotted, rung) for rung in range(len(planned.fees_sat))]
    ids = [bitcoin.txid(tx) for tx in built]
    tx, receipts = built[row.rung], payout.receipts_root(allotted)
    said = planned.size, planned.root, receipts, planned.previous
    ladder = tuple(
        Rung(fee_sat, planned.rate_msat * payout.LADDER[rung], ids[rung], ids[rung] == row.txid)
        for rung, fee_sat in enumerate(planned.fees_sat)
    )
    return Detail(
        ids[row.rung],
        tuple(_inputs(planned)),
        tuple(_outputs(planned, payout.in_order(allotted), tx, row.rung, network)),
        ladder,
        bitcoin.serialize(tx).hex(),
        payout.anchor(market, planned.epoch, *said) == planned.anchor,
        receipts == planned.receipts,
    )


def _inputs(planned: PayoutPlanned) -> list[Input]:
    spent = [(coin, drawn) for drawn in planned.drawn for coin in drawn.coins]
    return [
        Input(number, coin.outpoint, coin.value_sat, drawn.account, drawn.owner, key_of(drawn.account, drawn.owner))
        for number, (coin, drawn) in enumerate(spent)
    ]


def _outputs(
    planned: PayoutPlanned, allotted: Sequence[PayoutAllotted], tx: bitcoin.Tx, rung: int, network: bitcoin.Network
) -> list[Output]:
    """Its outputs in order; see ``domain.payout.transaction``."""
    told: list[tuple[What, str, str, int, tuple[Paid, ...]]] = [
        (one.due, one.owner, "", payout.borne_sat(one, planned.rate_msat, rung), one.paid) for one in allotted
    ]
    if planned.market_sat:
        told.append(("market", "", "", 0, ()))
    told.append((_ANCHOR, "", "", 0, ()))
    if planned.reserve_sat:
        told.append(("reserve", "", "", 0, ()))
    changed = (drawn for drawn in planned.drawn if drawn.change_sat)
    told += [("change", drawn.owner, key_of(drawn.account, drawn.owner), 0, ()) for drawn in changed]
    found = []
    for number, (said, out) in enumerate(zip(told, tx.outputs, strict=True)):
        what, owner, key, borne_sat, paid = said
        address = "" if what == _ANCHOR else bitcoin.address(out.script, network)
        found.append(Output(number, what, out.value_sat, out.script.hex(), address, owner, key, borne_sat, paid))
    return found


def share_ppm(row: Payout) -> int:
    """Its fee, in parts per million of what it pays."""
    return row.cost_sat * PPM // row.paid_sat if row.paid_sat else 0


def depth(row: Payout, height: int) -> int:
    """Blocks that confirm it, its own among them, when the chain ends at ``height``."""
    return 0 if row.state is not State.CONFIRMED or row.height is None else max(0, height - row.height + 1)
