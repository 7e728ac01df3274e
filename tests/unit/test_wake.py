"""A wake counts if the market signed it, of late, and once."""

from datetime import UTC, datetime, timedelta

from services.bus.wake import Wakes, wake
from tests.unit.test_commands import ANNA, MALLORY

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_wake_of_the_market_counts_once() -> None:
    wakes, said = Wakes(ANNA.key), wake(ANNA, NOW)
    assert wakes.is_new(said, NOW)
    assert not wakes.is_new(said, NOW)
    assert not wakes.is_new(wake(ANNA, NOW - timedelta(seconds=1)), NOW)
    assert wakes.is_new(wake(ANNA, NOW + timedelta(seconds=1)), NOW)


def test_wake_of_another_or_of_long_ago_does_not_count() -> None:
    wakes = Wakes(ANNA.key)
    for said in (wake(MALLORY, NOW), b"", bytes(64), wake(ANNA, NOW)[:-1], wake(ANNA, NOW - timedelta(minutes=2))):
        assert not wakes.is_new(said, NOW)
