import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from services.projections.queries import Position
from services.viewing.pulse import RECENT, Pulse
from tests.page.recorded import Moment, demo

NOW = datetime(2026, 11, 22, tzinfo=UTC)
EVENTS = demo().log.page(0, 1_000)
JOB = "e4b882443771a945508903e8"


class Log:
    def __init__(self, head: int) -> None:
        self.head = head

    async def read(self, after: int, limit: int) -> Sequence[Any]:
        return EVENTS[after : min(after + limit, self.head)]


class Reader:
    """The read models at ``position``; stopped there if ``poison`` says why."""

    def __init__(self, position: int, head: int) -> None:
        self.position, self.poison = position, None
        self.log = Log(head)

    async def positions(self) -> list[Position]:
        at = {"generation": 1, "revision": 1, "live": True, "poison_pos": None, "moved_at": NOW}
        return [Position(name=name, position=self.position, poison=self.poison, **at) for name in ("jobs", "tasks")]  # type: ignore[arg-type]


async def unreachable() -> Any:
    raise OSError("nobody listens")


async def pulse_at(position: int, *, head: int | None = None) -> tuple[Pulse, Reader]:
    reader = Reader(position, head or position)
    pulse = Pulse(unreachable, reader, Moment(NOW))  # type: ignore[arg-type]
    await pulse.start()
    return pulse, reader


async def test_pulse_knows_what_happened_before_it_was_there() -> None:
    pulse, _ = await pulse_at(300)
    assert (pulse.beat().position, pulse.beat().heard) == (300, 300)
    assert [stored.position for stored in pulse.recent(3)] == [298, 299, 300]


async def test_pulse_that_starts_before_the_read_models_are_there_misses_nothing() -> None:
    pulse, _ = await pulse_at(300, head=305)
    assert (pulse.beat().position, pulse.beat().heard) == (300, 305)
    await pulse._offer(list(EVENTS[303:307]))
    assert [stored.position for stored in pulse.recent(4)] == [304, 305, 306, 307]


async def test_page_is_drawn_again_only_when_something_concerns_it() -> None:
    pulse, _ = await pulse_at(348)
    assert pulse.moved(348, ()) is None
    assert pulse.moved(340, ()) == 348
    assert pulse.moved(340, [JOB]) == 348
    assert pulse.moved(340, ["f" * 24]) is None
    assert pulse.moved(340, ["JobCompleted"]) == 347
    assert pulse.moved(347, ["JobCompleted"]) is None


async def test_page_is_drawn_again_when_it_is_further_behind_than_is_known() -> None:
    events = len(EVENTS)
    assert events < RECENT
    pulse, _ = await pulse_at(events)
    pulse._recent.popleft()
    assert pulse.moved(0, ["f" * 24]) == events


async def test_event_moves_pages_when_the_read_models_show_it_not_when_it_is_heard() -> None:
    pulse, reader = await pulse_at(300)
    await pulse._offer(list(EVENTS[300:310]))
    assert (pulse.beat().heard, pulse.beat().position) == (310, 300)
    assert pulse.moved(300, ()) is None
    reader.position = 310
    await pulse._look()
    assert pulse.moved(300, ()) == 310


async def test_time_of_the_page_is_that_of_the_event_it_shows() -> None:
    pulse, reader = await pulse_at(300)
    await pulse._offer(list(EVENTS[300:310]))
    assert pulse.beat().at == EVENTS[299].recorded_at
    reader.position = 305
    await pulse._look()
    assert pulse.beat().at == EVENTS[304].recorded_at


async def test_event_that_is_delivered_twice_is_heard_once() -> None:
    pulse, _ = await pulse_at(300)
    for _ in range(2):
        await pulse._offer(list(EVENTS[295:305]))
    assert [stored.position for stored in pulse.recent(6)] == [300, 301, 302, 303, 304, 305]


async def test_stopped_read_model_is_told_with_its_name() -> None:
    pulse, reader = await pulse_at(300)
    reader.poison = "event 301 is no JobPosted.v1"  # type: ignore[assignment]
    await pulse._look()
    assert "read model jobs stopped at event 300" in pulse.beat().why


async def test_pulse_without_a_broker_says_that_it_tries_again() -> None:
    pulse, _ = await pulse_at(300)
    running = asyncio.get_running_loop().create_task(pulse.run())
    try:
        await pulse.changed(1)
        assert pulse.beat().state == "interrupted"
        assert "tries again" in pulse.beat().why
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
