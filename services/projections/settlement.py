"""Read model ``settlement``: the market's money on a chain. One fold, several tables, always at one position.

``chain``        what settlement saw last          ``terms``     every script that an account ever had
``accounts``     one row an escrow, a stake and the reserve, with its newest term and what payouts did to it
``coins``        outputs of the accounts, and what became of each
``payouts``      one row an epoch   ``payments``   whom it pays   ``draws``   what it takes of each account
``job_payouts``  what an epoch pays for one job

Of a coin the last word stands, whoever says it; what becomes of a payout is in ``settlement_turns``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from domain.bitcoin import OutPoint, escrow_script, p2wsh, reference
from domain.books import RESERVE, State, key_of
from domain.events import (
    Account,
    ChainAdvanced,
    ChainJoined,
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutPlanned,
    PayoutReorged,
    StakeDeposited,
    StakeOpened,
)
from domain.money import MSAT_PER_SAT
from services.projections import settlement_turns as turns
from services.projections.model import Change, Handler, Seen, walk
from services.projections.settlement_rows import (
    Changed,
    CoinRow,
    DrawRow,
    JobPayoutRow,
    PaymentRow,
    Said,
    TermRow,
    Turn,
    write,
)


def script_of(event: EscrowOpened | StakeOpened) -> str:
    """The script that an account's deposits are paid to from here on, in hex."""
    keys = bytes.fromhex(event.release_key), bytes.fromhex(event.market_key), bytes.fromhex(event.arbiter_key)
    return p2wsh(escrow_script(keys, bytes.fromhex(event.refund_key), event.expires_height)).hex()


# ------------------------------------------------------------------------------------------------- chain and accounts
def _joined(changed: Changed, event: ChainJoined, position: int, at: datetime) -> None:
    row = changed.tip(position, at)
    row.network, row.confirmations, row.arbiter = event.network, event.confirmations, event.arbiter
    row.market_key, row.arbiter_key, row.market_script = event.market_key, event.arbiter_key, event.market_script
    row.height, row.block = event.height, event.block
    if row.joined_pos is None:
        row.joined_height, row.joined_pos = event.height, position


def _moved(changed: Changed, event: ChainAdvanced | ChainReorganised, position: int, at: datetime) -> None:
    row = changed.tip(position, at)
    row.height, row.block = event.height, event.block
    row.reorgs += isinstance(event, ChainReorganised)


def _opened(changed: Changed, event: EscrowOpened | StakeOpened, position: int, at: datetime) -> None:
    account: Account = "escrow" if isinstance(event, EscrowOpened) else "stake"
    owner = event.client if isinstance(event, EscrowOpened) else event.worker
    paid_to = event.refund_script if isinstance(event, EscrowOpened) else event.payout_script
    row, script = changed.account(account, owner, position), script_of(event)
    keys = event.release_key, event.refund_key, event.market_key, event.arbiter_key
    row.script, row.expires_height, row.paid_to = script, event.expires_height, paid_to
    row.release_key, row.refund_key, row.market_key, row.arbiter_key = keys
    row.terms += 1
    changed.terms[script] = TermRow(script, row.key, account, owner, event.expires_height, paid_to, *keys, position)


def _deposited(changed: Changed, event: EscrowFunded | StakeDeposited, position: int, at: datetime) -> None:
    if event.vout is None or event.height is None:  # it was not paid on a chain
        return
    account: Account = "escrow" if isinstance(event, EscrowFunded) else "stake"
    row = changed.account(account, event.client if isinstance(event, EscrowFunded) else event.worker, position)
    row.deposited_msat += event.amount_msat
    outpoint, value_sat = reference(OutPoint(event.reference, event.vout)), event.amount_msat // MSAT_PER_SAT
    changed.coins[outpoint] = CoinRow(outpoint, row.key, value_sat, event.height, None, event.term, 0, "held", position)


def _coin(changed: Changed, event: DepositReorged | DepositRestored | CoinTaken, position: int, at: datetime) -> None:
    changed.account(event.account, event.owner, position)
    before = changed.said.get(event.outpoint)
    restored = isinstance(event, DepositRestored)
    height = event.height if isinstance(event, DepositRestored) else before.height if before is not None else None
    changed.said[event.outpoint] = Said(event.outpoint, "held" if restored else "lost", height, position)


# ------------------------------------------------------------------------------------------------------------ payouts
def _planned(changed: Changed, event: PayoutPlanned, position: int, at: datetime) -> None:
    row = changed.payout(event.epoch, position)
    row.state, row.planned_height, row.planned_at, row.planned_pos = State.PLANNED.value, event.height, at, position
    row.rate_msat, row.fees_sat, row.fund_sat = event.rate_msat, event.fees_sat, event.fund_sat
    row.market_sat, row.reserve_sat = event.market_sat, event.reserve_sat
    row.size, row.root, row.receipts = event.size, event.root, event.receipts
    row.anchor, row.previous = event.anchor, event.previous
    draws = tuple(_draws(event))
    row.first_key = draws[0].key if draws else None
    row.inputs, row.input_sat = sum(len(draw.coins) for draw in draws), sum(draw.coins_sat for draw in draws)
    changed.draws[event.epoch] = draws
    for draw in draws:
        account = changed.account(draw.account, draw.owner, position)  # type: ignore[arg-type]  # it came from there
        account.drawing_msat += draw.pool_sat * MSAT_PER_SAT


def _draws(event: PayoutPlanned) -> list[DrawRow]:
    """What it takes of each account; what it puts into the reserve is taken the other way."""
    found: list[DrawRow] = []
    change = int(bool(event.reserve_sat))
    for place, drawn in enumerate(event.drawn):
        coins, held_sat = tuple(coin.outpoint for coin in drawn.coins), sum(coin.value_sat for coin in drawn.coins)
        account = drawn.account, "" if drawn.account == RESERVE else drawn.owner
        amounts = held_sat, drawn.due_sat, drawn.pool_sat, drawn.change_sat
        behind = change if drawn.change_sat else None
        found.append(DrawRow(event.epoch, place, key_of(*account), *account, coins, *amounts, drawn.script, behind))
        change += behind is not None
    if event.reserve_sat:
        kept = 0, 0, -event.reserve_sat, event.reserve_sat
        found.append(DrawRow(event.epoch, len(found), RESERVE, RESERVE, "", (), *kept, event.reserve_script, 0))
    return found


def _allotted(changed: Changed, event: PayoutAllotted, position: int, at: datetime) -> None:
    row = changed.payout(event.epoch, position)
    row.payees += 1
    account = changed.account("escrow" if event.due == "escrow" else "stake", event.owner, position)
    amount_msat = event.amount_sat * MSAT_PER_SAT
    match event.due:
        case "reward":
            row.rewards_sat += event.amount_sat
            account.rewarding_msat += amount_msat
        case "escrow":
            row.refunds_sat += event.amount_sat
            account.returning_msat += amount_msat
        case "stake":
            row.stakes_sat += event.amount_sat
            account.returning_msat += amount_msat
    if event.borne_vb:
        row.borne_vb += (event.borne_vb,)
    amounts = event.amount_sat, event.borne_vb
    payment = PaymentRow(event.epoch, event.due, event.owner, account.key, *amounts, event.script, len(event.paid))
    changed.payments.setdefault(event.epoch, {})[event.due, event.owner] = payment
    for paid in event.paid:
        share = changed.jobs.setdefault((paid.job, event.epoch), JobPayoutRow(paid.job, event.epoch))
        share.amount_msat += paid.amount_msat
        share.workers += 1


def _contested(changed: Changed, event: PayoutContested, position: int, at: datetime) -> None:
    row = changed.payout(event.epoch, position)
    row.state, row.objection = State.CONTESTED.value, event.objection


def _sent(changed: Changed, event: PayoutBroadcast, position: int, at: datetime) -> None:
    row = changed.payout(event.epoch, position)
    row.state, row.txid, row.fee_sat, row.sent_at = State.SENT.value, event.txid, event.fee_sat, at
    row.sendings += 1


def _confirmed(changed: Changed, event: PayoutConfirmed, position: int, at: datetime) -> None:
    row = changed.payout(event.epoch, position)
    row.state, row.txid, row.fee_sat = State.CONFIRMED.value, event.txid, event.fee_sat
    row.height, row.block, row.confirmed_at, row.confirmed_pos = event.height, event.block, at, position
    changed.turns.append(Turn(event.epoch, -1, 1, position, event.txid, event.fee_sat, event.height))


def _reorged(changed: Changed, event: PayoutReorged, position: int, at: datetime) -> None:
    row = changed.payout(event.epoch, position)
    row.state, row.txid = State.SENT.value, event.txid
    row.height = row.block = row.confirmed_at = row.confirmed_pos = None
    changed.turns.append(Turn(event.epoch, 1, -1, position, event.txid))


def _abandoned(changed: Changed, event: PayoutAbandoned, position: int, at: datetime) -> None:
    changed.payout(event.epoch, position).state = State.ABANDONED.value
    changed.turns.append(Turn(event.epoch, -1, 0, position))


_HANDLERS: dict[type, Handler] = {
    ChainJoined: _joined,
    ChainAdvanced: _moved,
    ChainReorganised: _moved,
    EscrowOpened: _opened,
    StakeOpened: _opened,
    EscrowFunded: _deposited,
    StakeDeposited: _deposited,
    DepositReorged: _coin,
    DepositRestored: _coin,
    CoinTaken: _coin,
    PayoutPlanned: _planned,
    PayoutAllotted: _allotted,
    PayoutContested: _contested,
    PayoutBroadcast: _sent,
    PayoutConfirmed: _confirmed,
    PayoutReorged: _reorged,
    PayoutAbandoned: _abandoned,
}


class Settlement:
    name: ClassVar[str] = "settlement"
    revision: ClassVar[int] = 1

    def fold(self, events: Sequence[Seen]) -> list[Change]:
        changed = Changed()
        walk(_HANDLERS, changed, events)
        payments = (one for of in changed.payments.values() for one in of.values())
        return [
            *write("chain", changed.chain.values()),
            *write("term", changed.terms.values()),
            *write("account", changed.accounts.values()),
            *write("deposit", changed.coins.values()),
            *write("payout", changed.payouts.values()),
            *write("payment", payments),
            *write("draw", (one for of in changed.draws.values() for one in of)),
            *write("job", changed.jobs.values()),
            *turns.changes(changed.turns),
            *write("say", changed.said.values()),
        ]


def follow(changed: Changed, events: Sequence[Seen]) -> None:
    """Fold events into what is kept in memory."""
    walk(_HANDLERS, changed, events)
    turns.apply(changed)
