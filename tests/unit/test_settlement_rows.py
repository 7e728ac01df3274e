"""The read model of money on a chain is what the market's own books say, at any position and for any cut."""

import random
from collections.abc import Iterator

import pytest

from domain.books import RESERVE, Books, State
from domain.market import World
from services.ledger import codec
from services.ports import Stored
from services.projections import settlement
from services.projections.escrows import Rows as EscrowRows
from services.projections.settlement_rows import AccountRow, Changed
from services.projections.store import see
from services.viewing.settled import Folded
from tests.payouts import Payday, told
from tests.simulate import OPERATOR


def history(seed: int | None) -> Payday:
    return told() if seed is None else Payday(seed).run(250)


def worlds(records: list[Stored]) -> Iterator[World]:
    """The same world, one event later each time."""
    world = World(OPERATOR)
    for stored in records:
        world.apply(codec.decode_stored(stored))
        yield world


def due_msat(row: AccountRow, world: World) -> tuple[int, int]:
    """What others are still to get out of an account, and its owner, by its row and by the rules' other states."""
    if row.account == "escrow":
        escrow = world.escrows[row.key]
        out_msat, taken_msat = escrow.released_msat + escrow.charged_msat, escrow.refunded_msat
    else:
        stake = world.stake_of(row.key)
        out_msat, taken_msat = stake.slashed_msat, stake.withdrawn_msat
    return out_msat - row.drawn_msat - row.drawing_msat, taken_msat - row.returned_msat - row.returning_msat


def by_books(key: str, books: Books) -> tuple[int, int]:
    pool = books.undrawn_msat if key in books.undrawn_msat else books.slashed_msat
    return pool.get(key, 0), books.leaving_msat.get(key, 0)


@pytest.mark.parametrize("seed", [None, *range(6)])
def test_rows_are_what_the_books_say_for_any_cut_into_batches(seed: int | None) -> None:
    day, chance, rows, batch = history(seed), random.Random(seed), Changed(), []
    for stored, world in zip(day.records, worlds(day.records), strict=True):
        batch.append(stored)
        if chance.random() < 0.6 and stored is not day.records[-1]:
            continue
        settlement.follow(rows, see(batch, codec.decode))
        batch, books = [], world.books
        coins = {
            one.outpoint: (one.key, one.value_sat, one.height) for one in rows.coins.values() if one.state == "held"
        }
        assert coins == {one.outpoint: (one.key, one.value_sat, one.height) for one in books.coins.values()}
        accounts = Folded(rows, EscrowRows()).accounts()
        assert {one.key: one.missing_msat for one in accounts if one.missing_msat} == {
            key: amount for key, amount in books.missing_msat.items() if amount
        }
        for key, row in rows.accounts.items():
            if key == RESERVE:
                assert -row.drawn_msat - row.drawing_msat == books.reserve_sat * 1000
            else:
                assert due_msat(row, world) == by_books(key, books)
        assert {epoch: row.state for epoch, row in rows.payouts.items()} == {
            epoch: found.state for epoch, found in books.payouts.items()
        }


def test_histories_here_hold_what_the_tests_are_about() -> None:
    """One of every event of the chain, and a payout in each state, or nothing here could fail for it."""
    seen = {stored.name for seed in (None, *range(6)) for stored in history(seed).records}
    assert {f"{kind.__name__}.v1" for kind in settlement._HANDLERS} <= seen
    states = {found.state for seed in (None, *range(6)) for found in history(seed).books.payouts.values()}
    assert states >= {State.CONFIRMED, State.SENT, State.ABANDONED}


def test_scripts_of_every_term_are_kept_with_the_newest_on_the_account() -> None:
    day, rows = told(), Changed()
    settlement.follow(rows, see(day.records, codec.decode))
    folded = Folded(rows, EscrowRows())
    for key, terms in day.books.terms.items():
        assert [one.script for one in folded.terms(key)] == [term.script.hex() for term in terms]
        account = folded.account(key)
        assert account is not None
        assert (account.script, account.terms) == (terms[-1].script.hex(), len(terms))
        assert account.paid_to == terms[-1].payout_script.hex()
    coins = {coin.outpoint: coin.term.script.hex() for coin in day.books.coins.values()}
    assert {one.outpoint: one.script for key in rows.accounts for one in folded.coins(key)} == coins


def test_payout_that_was_undone_is_in_no_block_and_has_the_fee_of_the_rung_that_was() -> None:
    day = Payday(3)
    day.job(8, 9_000_000)
    epoch = day.pay(rung=1)
    day.reorganise()
    rows = Changed()
    settlement.follow(rows, see(day.records, codec.decode))
    payout = Folded(rows, EscrowRows()).payout(epoch)
    assert (payout.state, payout.height, payout.block, payout.confirmed_at) == (State.SENT, None, None, None)
    assert (payout.txid, payout.rung, payout.saved_sat) == (day.txid(epoch, 1), 1, 0)
