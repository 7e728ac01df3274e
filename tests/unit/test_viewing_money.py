"""Double entry over the log: what moves, what is held, and that it closes."""

from collections import Counter
from typing import get_args

import pytest
from msgspec.structs import replace

from services.projections.queries import Escrow
from services.viewing import money
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from services.viewing.rows import Rows
from tests.payouts import Payday, told
from tests.simulate import Simulation


def a_view(seed: int, steps: int = 400, upto: int | None = None) -> Past:
    archive = Archive(Simulation(seed, on_chain=False).run(steps).records)
    return Past(Folds(archive).at(archive.head() if upto is None else upto), archive)


def all_moves(view: Past) -> list[money.Move]:
    return money.moves(view, view.events(limit=view.position))


def pots(found: list[money.Move]) -> dict[money.Pot, int]:
    """What the movements leave in each pot; ``outside`` is what is missing there."""
    held: dict[money.Pot, int] = dict.fromkeys(get_args(money.Pot), 0)
    for one in found:
        held[one.source] -= one.amount_msat
        held[one.target] += one.amount_msat
    return held


SEEDS = pytest.mark.parametrize("seed", range(4))


@SEEDS
def test_pots_of_any_history_are_what_the_read_models_show(seed: int) -> None:
    view = a_view(seed)
    held, totals = pots(all_moves(view)), view.totals()
    assert held["free"] == totals.free_msat
    assert held["reserved"] == totals.reserved_msat
    assert held["workers"] == totals.paid_msat > 0
    assert held["market"] == totals.charged_msat > 0
    assert held["stake"] == totals.stake_msat
    assert held["slashed"] == totals.slashed_msat > 0
    assert sum(held.values()) == 0


@SEEDS
def test_sums_close_for_every_account_at_any_position(seed: int) -> None:
    for upto in (0, 40, 500, None):
        view = a_view(seed, upto=upto)
        assert money.of_escrows(view.totals()).closes
        assert money.of_stakes(view.totals()).closes
        assert all(money.of_escrows(one).closes for one in view.escrows())
        assert all(money.of_stakes(one).closes for one in view.workers())


def test_sum_that_misses_a_msat_says_so() -> None:
    row = Escrow(
        escrow="1" * 24, client="U", funded_msat=10, free_msat=4, reserved_msat=1, released_msat=2, charged_msat=1,
        refunded_msat=1, last_pos=1,
    )  # fmt: skip
    found = money.of_escrows(row)
    assert (found.closes, found.rest_msat) == (False, 1)


@SEEDS
def test_running_balance_of_every_account_begins_at_nothing(seed: int) -> None:
    view = a_view(seed)
    for escrow in view.escrows():
        page = money.of_escrow(view, escrow, 10_000)
        assert (page.older, page.opened_msat) == (None, 0)
        assert all(line.free_msat >= 0 and line.reserved_msat >= 0 for line in page.lines)
        assert (page.lines[0].free_msat, page.lines[0].reserved_msat) == (escrow.free_msat, escrow.reserved_msat)
    for worker in view.workers():
        assert money.of_worker(view, worker, 10_000).opened_msat == 0


def test_pages_of_an_account_follow_one_another_and_hold_everything() -> None:
    view = a_view(1)
    escrow = max(view.escrows(), key=lambda one: one.last_pos)
    whole = money.of_escrow(view, escrow, 10_000).lines
    before, found = None, []
    while True:
        page = money.of_escrow(view, escrow, 7, before=before)
        found += page.lines
        assert page.opened_msat == (page.lines[-1].free_msat + page.lines[-1].reserved_msat) - _held(page.lines[-1])
        if page.older is None:
            break
        before = page.older
    assert found == list(whole)
    assert len(whole) > 14


def _held(line: money.Line) -> int:
    """What a movement added to the account."""
    one = line.move
    return one.amount_msat * ((one.target in money.HELD) - (one.source in money.HELD))


def test_ledger_of_all_accounts_pages_through_every_movement_newest_first() -> None:
    view = a_view(2, steps=150)
    before, found = None, []
    while True:
        page = money.ledger(view, 50, before=before)
        found += [line.move for line in page.lines]
        if page.older is None:
            break
        before = page.older
    assert found == list(reversed(all_moves(view)))


def test_ledger_of_one_kind_holds_no_other() -> None:
    page = money.ledger(a_view(0), 20, names=("FeeCharged",))
    assert {line.move.name for line in page.lines} == {"FeeCharged"}


# -------------------------------------------------------------------------------------------------------- on a chain
PAYDAYS = pytest.mark.parametrize("seed", [None, *range(4)])


def a_payday(seed: int | None, upto: int | None = None) -> Past:
    archive = Archive((told() if seed is None else Payday(seed).run(250)).records)
    return Past(Folds(archive).at(archive.head() if upto is None else upto), archive)


@PAYDAYS
def test_sums_of_the_chain_close_at_every_position(seed: int | None) -> None:
    archive = Archive((told() if seed is None else Payday(seed).run(250)).records)
    rows = Rows()
    for position in range(1, archive.head() + 1):
        rows.extend(archive.page(position - 1, 1))
        view = Past(rows, archive)
        totals, found = view.totals(), view.settled.on_chain()
        assert money.of_chain(found).closes, position
        assert money.of_holdings(totals, found).closes, position
        for account in view.settled.accounts():
            assert money.of_account(account).closes, (position, account)


@PAYDAYS
def test_pots_of_a_history_with_payouts_are_what_the_read_models_show(seed: int | None) -> None:
    view = a_payday(seed)
    held, totals, found = pots(all_moves(view)), view.totals(), view.settled.on_chain()
    workers, escrows = view.workers(), view.escrows()
    assert held["paid"] == found.paid_msat == sum(one.paid_msat for one in workers) > 0
    assert held["workers"] == sum(one.due_msat for one in workers)
    assert held["leaving"] == sum(one.leaving_msat for one in (*workers, *escrows))
    assert held["fees"] == found.market_msat
    assert held["miners"] == found.miners_msat > 0
    assert held["fund"] == found.fund_msat - found.miners_msat + found.borne_msat
    assert -held["missing"] == found.missing_msat
    assert (held["free"], held["reserved"], held["stake"]) == (
        totals.free_msat,
        totals.reserved_msat,
        totals.stake_msat,
    )
    assert sum(held.values()) == 0
    inside = set(held) - {"outside", "paid", "fees", "miners"}
    assert sum(held[pot] for pot in inside) == found.live_msat


@PAYDAYS
def test_ledgers_of_accounts_with_payouts_page_through_every_movement(seed: int | None) -> None:
    view = a_payday(seed)
    mine = Counter(one.account for one in all_moves(view) if one.account)
    for escrow in view.escrows():
        before, found = None, []
        while True:
            page = money.of_escrow(view, escrow, 3, before=before)
            found += page.lines
            if page.older is None:
                break
            before = page.older
        assert len(found) == mine[escrow.escrow]
        assert page.opened_msat == 0
    for worker in view.workers():
        page = money.of_worker(view, worker, 10_000)
        assert (len(page.lines), page.opened_msat) == (mine[worker.worker], 0)


def test_payout_that_was_undone_moves_back_what_it_moved() -> None:
    day = Payday(2)
    day.job(8, 9_000_000)
    day.pay(rung=1)
    day.reorganise()
    archive = Archive(day.records)
    view = Past(Folds(archive).at(archive.head()), archive)
    there = [one for one in all_moves(view) if one.name == "PayoutConfirmed"]
    back = [one for one in all_moves(view) if one.name == "PayoutReorged"]
    assert [(one.amount_msat, one.source, one.target) for one in there] == [
        (one.amount_msat, one.target, one.source) for one in back
    ]
    assert len(there) > 1


def test_sum_of_the_chain_that_misses_a_satoshi_says_so() -> None:
    found = a_payday(None).settled.on_chain()
    assert money.of_chain(replace(found, live_msat=found.live_msat - 1000)).rest_msat == 1000
