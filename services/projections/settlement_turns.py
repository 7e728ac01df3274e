"""What becomes of payouts, in the rows of read model ``settlement``.

Once it is planned a payout is told of by its number alone. What becomes of it (a ``Turn``) therefore changes other rows
by what they hold of it already, in SQL and in memory alike: as often as it is confirmed its amounts are added, as often
as it is undone they are taken off again. It comes out the same for any cut of the history into batches, because a
payout's plan is before its turns and nothing else depends on their order.
"""

from collections.abc import Sequence
from typing import Any

from domain.bitcoin import OutPoint, reference
from domain.books import State
from domain.money import MSAT_PER_SAT
from domain.payout import LADDER, fee_sat
from services.projections.model import Change
from services.projections.settlement_rows import Changed, CoinRow, PayoutRow, Turn


def changes(turns: Sequence[Turn]) -> list[Change]:
    """What they change of accounts, of what was saved, and of coins that are made and spent."""
    settled: dict[int, tuple[int, int, int]] = {}
    made: dict[tuple[int, str], tuple[int | None, int | None, str, int]] = {}
    spent: dict[int, tuple[str, int]] = {}
    for turn in turns:
        open_, done, _ = settled.get(turn.epoch, (0, 0, 0))
        settled[turn.epoch] = open_ + turn.open, done + turn.done, turn.position
        if turn.txid is not None:
            paid_sat, height, _, _ = made.get((turn.epoch, turn.txid), (None, None, "", 0))
            paid_sat = paid_sat if turn.fee_sat is None else turn.fee_sat
            height = height if turn.height is None else turn.height
            made[turn.epoch, turn.txid] = paid_sat, height, _made(turn), turn.position
            spent[turn.epoch] = _spent(turn), turn.position
    return [
        *_change("settle", [(epoch, *counts) for epoch, counts in settled.items()]),
        *_change("save", [(epoch,) for epoch in spent], LADDER),
        *_change("make", [(*of, *found) for of, found in made.items()], LADDER),
        *_change("spend", [(epoch, *found) for epoch, found in spent.items()]),
    ]


def _made(turn: Turn) -> str:
    return "held" if turn.done > 0 else "gone"


def _spent(turn: Turn) -> str:
    return "spent" if turn.done > 0 else "held"


def _change(statement: str, rows: Sequence[tuple[Any, ...]], *rest: Sequence[int]) -> list[Change]:
    return [Change(statement, (*zip(*rows, strict=True), *rest))] if rows else []


def apply(changed: Changed) -> None:
    """The same in rows that are kept in memory, then what was said of coins; both are done with."""
    for turn in changed.turns:
        _settle(changed, turn)
        if turn.txid is not None:
            _move(changed, turn, turn.txid)
    for epoch in sorted({turn.epoch for turn in changed.turns if turn.txid is not None}):
        _save(changed, epoch)
    for said in changed.said.values():
        coin = changed.coins.get(said.outpoint)
        if coin is not None:
            coin.height = coin.height if said.height is None else said.height
            _say(coin, said.state, said.position)
    changed.turns.clear()
    changed.said.clear()


def _settle(changed: Changed, turn: Turn) -> None:
    """What is drawn from accounts, and what workers and owners are paid."""
    for draw in changed.draws[turn.epoch]:
        account, amount_msat = changed.accounts[draw.key], draw.pool_sat * MSAT_PER_SAT
        account.drawing_msat += turn.open * amount_msat
        account.drawn_msat += turn.done * amount_msat
        account.last_pos = max(account.last_pos, turn.position)
    for payment in changed.payments.get(turn.epoch, {}).values():
        account, amount_msat = changed.accounts[payment.key], payment.amount_sat * MSAT_PER_SAT
        if payment.due == "reward":
            account.rewarding_msat += turn.open * amount_msat
            account.rewarded_msat += turn.done * amount_msat
        else:
            account.returning_msat += turn.open * amount_msat
            account.returned_msat += turn.done * amount_msat
        account.last_pos = max(account.last_pos, turn.position)


def _save(changed: Changed, epoch: int) -> None:
    """What the fund does not pay at a rung below the dearest is left to the first account."""
    row = changed.payouts[epoch]
    before_sat, row.saved_sat = row.saved_sat, 0
    if row.state == State.CONFIRMED and row.fee_sat is not None:
        row.saved_sat = _saved_sat(row, row.fee_sat)
    if row.first_key is not None:
        changed.accounts[row.first_key].drawn_msat -= (row.saved_sat - before_sat) * MSAT_PER_SAT


def _saved_sat(row: PayoutRow, paid_sat: int) -> int:
    """See ``domain.payout.saved``, of which this is what the row knows."""
    assert row.fees_sat is not None, "it was planned"
    rate_msat = (row.rate_msat or 0) * LADDER[row.fees_sat.index(paid_sat)]
    return (row.fund_sat or 0) - paid_sat + sum(fee_sat(vb, rate_msat) for vb in row.borne_vb)


def _move(changed: Changed, turn: Turn, txid: str) -> None:
    """Coins that its transaction makes and spends, or does not any more."""
    row, draws = changed.payouts[turn.epoch], changed.draws[turn.epoch]
    behind = row.payees + bool(row.market_sat) + 1
    saved_sat = 0 if turn.fee_sat is None else _saved_sat(row, turn.fee_sat)
    for draw in draws:
        if draw.change is None:
            continue
        outpoint = reference(OutPoint(txid, behind + draw.change))
        coin = changed.coins.get(outpoint)
        if coin is None:
            value_sat, height, last = draw.change_sat + saved_sat, turn.height or 0, (_made(turn), turn.position)
            made = CoinRow(outpoint, draw.key, value_sat, height, draw.script, None, turn.epoch, *last)
            changed.coins[outpoint] = made
        else:
            coin.height = coin.height if turn.height is None else turn.height
            _say(coin, _made(turn), turn.position)
        saved_sat = 0
    spent = (changed.coins.get(outpoint) for draw in draws for outpoint in draw.coins)
    for coin in spent:
        if coin is not None:
            _say(coin, _spent(turn), turn.position)


def _say(coin: CoinRow, state: str, position: int) -> None:
    if coin.said_pos < position:
        coin.state, coin.said_pos = state, position
