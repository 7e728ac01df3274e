"""The market at any position or time is the one that was then."""

from datetime import timedelta

import pytest

from domain.errors import Corrupt
from domain.market import World
from services.replay import Replayed, replay
from tests.history import MemoryLog, tree_of
from tests.simulate import OPERATOR, START, Simulation


def states(world: World) -> tuple[object, ...]:
    """Everything that a world knows."""
    holdings = {key: (found.tasks, found.locked_msat) for key, found in world.holdings.items() if found.tasks}
    money = (world.stakes, world.escrows, world.references)
    return (world.operator, world.roles, world.jobs, world.tasks_of, world.disputes, world.workers, holdings, *money)


async def at(game: Simulation, position: int) -> Replayed:
    return await replay(MemoryLog(game.records), position)


async def test_replay_makes_the_market_that_wrote_the_log() -> None:
    game = Simulation(5).run(400)
    found = await replay(MemoryLog(game.records))
    assert states(found.world) == states(game.world)
    assert found.position == len(game.records)
    assert found.tree == tree_of(game.records)
    assert found.world.operator == OPERATOR


async def test_replay_ends_at_a_position() -> None:
    game, earlier = Simulation(5).run(400), Simulation(5).run(100)
    assert game.records[: len(earlier.records)] == earlier.records
    found = await at(game, len(earlier.records))
    assert states(found.world) == states(earlier.world)
    assert found.tree == tree_of(earlier.records)
    assert found.at == earlier.records[-1].recorded_at


async def test_replay_ends_at_a_time() -> None:
    game = Simulation(5).run(400)
    for moment in (START + timedelta(seconds=200), game.records[300].recorded_at, game.now + timedelta(days=1)):
        found = await replay(MemoryLog(game.records), moment)
        assert found.position == sum(record.recorded_at <= moment for record in game.records)
        assert states(found.world) == states((await at(game, found.position)).world)


async def test_replay_of_nothing_is_an_empty_market() -> None:
    game = Simulation(5)
    found = await replay(MemoryLog(game.records), START - timedelta(seconds=1))
    assert (found.position, found.at, found.world.jobs) == (0, None, {})


async def test_replay_stops_at_an_event_in_the_wrong_place() -> None:
    records = list(Simulation(5).run(50).records)
    records[39] = records[39]._replace(version=99)
    with pytest.raises(Corrupt, match="event 40"):
        await replay(MemoryLog(records))
