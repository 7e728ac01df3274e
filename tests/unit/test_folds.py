"""Folds for many viewers: one at a time, and no more kept than fits."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.ports import Stored
from services.viewing import past
from services.viewing.archive import Archive
from services.viewing.past import Folds
from tests.benchmarks.history import plain_history
from ui.page.turns import Turns

HISTORY = plain_history(500, job_tasks=250)


class Counted(Archive):
    """Notes how many read it at once."""

    def __init__(self, events: Sequence[Stored]) -> None:
        super().__init__(events)
        self.readers = self.most = 0
        self._counting = threading.Lock()

    def page(self, after: int, limit: int) -> Sequence[Stored]:
        with self._counting:
            self.readers += 1
            self.most = max(self.most, self.readers)
        try:
            threading.Event().wait(0.002)  # as a database makes its reader wait, so that others come
            return super().page(after, limit)
        finally:
            with self._counting:
                self.readers -= 1


def test_one_position_is_folded_at_a_time_and_nobody_waits_for_ever_for_a_turn() -> None:
    facts, turns = Counted(HISTORY), Turns(2)
    folds = Folds(facts, turns.waiting)

    def look(position: int) -> int:
        with turns.take():
            return folds.at(position, lambda done, all_: _asks(turns)).position

    with ThreadPoolExecutor(16) as viewers:
        wanted = [(position * 97) % len(HISTORY) + 1 for position in range(40)]
        assert list(viewers.map(look, wanted, timeout=30)) == wanted
    assert facts.most == 1


def _asks(turns: Turns) -> None:
    with turns.waiting():
        pass


def test_folds_are_kept_only_as_long_as_their_rows_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "ROWS_MAX", 600)
    folds = Folds(Archive(HISTORY))
    last = [folds.at(position) for position in (len(HISTORY), len(HISTORY) - 1, len(HISTORY) - 2)][-1]
    assert last.count > 300
    assert folds.at(len(HISTORY) - 2) is last
    assert len(folds._kept) == 1
