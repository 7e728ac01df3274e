"""Double entry over the log: what moves, what is held, and that it closes."""

import pytest

from services.projections.queries import Escrow
from services.viewing import money
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from tests.simulate import Simulation


def a_view(seed: int, steps: int = 400, upto: int | None = None) -> Past:
    archive = Archive(Simulation(seed).run(steps).records)
    return Past(Folds(archive).at(archive.head() if upto is None else upto), archive)


def all_moves(view: Past) -> list[money.Move]:
    return money.moves(view.events(limit=view.position))


def pots(found: list[money.Move]) -> dict[money.Pot, int]:
    """What the movements leave in each pot; ``outside`` is what is missing there."""
    held: dict[money.Pot, int] = dict.fromkeys((pot for way in money.WAYS.values() for pot in way), 0)
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
