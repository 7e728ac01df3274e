"""``?upto=N`` is the market as it was: rows folded up to any position are what ``m.replay(upto=N)`` says."""

import random
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from domain.events import ChainEvent, CoinEvent, PayoutEvent
from services.ports import Stored
from services.replay import replay
from services.viewing import archive
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from tests.asof import as_shown, by_rules, differ
from tests.history import MemoryLog
from tests.simulate import Simulation

DEMO = Path(__file__).parents[1] / "golden" / "logs" / "demo.jsonl.gz"
#: Positions that each of the logs is looked at; hundreds of them lie within one command's events.
POSITIONS = 100


@cache
def records(log: str) -> list[Stored]:
    if log == "demo":
        return list(archive.read(DEMO.read_bytes()).page(0, 10_000))
    seed = int(log.removeprefix("simulated "))
    game = Simulation(seed).run(500)
    return (game.play_out() if seed % 2 else game).records


@pytest.mark.parametrize("log", ["demo", "simulated 7", "simulated 8", "simulated 11", "simulated 12"])
async def test_market_as_of_an_event_is_the_replay_of_the_log_up_to_there(log: str) -> None:
    events = records(log)
    chance = random.Random(log)
    positions = chance.choices(range(len(events) + 1), k=POSITIONS)
    folds = Folds(Archive(events))  # one for all: a fold goes on from a copy of an earlier one
    for position in (*positions, 0, 1, len(events), len(events) + 5):
        replayed = await replay(MemoryLog(events), position)
        view = Past(folds.at(position), Archive(events))
        assert view.position == replayed.position
        assert view.at == replayed.at
        rules = by_rules(replayed.world, events[:position])
        assert differ(rules, as_shown(view)) == [], position


@pytest.mark.parametrize("log", ["demo", "simulated 7"])
def test_rows_are_the_same_however_a_position_was_come_to(log: str) -> None:
    events = records(log)
    chance = random.Random(log)
    for earlier, later in pairwise(sorted(chance.sample(range(len(events)), 20))):
        stepped, straight = Folds(Archive(events)), Folds(Archive(events))
        before = as_shown(Past(stepped.at(earlier), Archive(events)))
        assert as_shown(Past(stepped.at(later), Archive(events))) == as_shown(Past(straight.at(later), Archive(events)))
        assert as_shown(Past(stepped.at(earlier), Archive(events))) == before


def test_view_of_the_past_knows_no_later_event() -> None:
    events = records("demo")
    view = Past(Folds(Archive(events)).at(200), Archive(events))
    job = view.jobs(1)[0].job
    for found in (view.events(after=150), view.latest(limit=30), view.events(job, after=0), view.latest(job, 30)):
        assert found
        assert max(stored.position for stored in found) == 200 or found[-1].position < 200
    assert [stored.position for stored in view.latest(limit=3)] == [198, 199, 200]


def test_comparison_finds_a_view_of_the_event_before() -> None:
    """Every kind of event changes what is compared, or no test here could fail for it."""
    events = records("simulated 7")
    seen: set[str] = set()
    untold = {"CapabilityMeasured", "ReplicasWithdrawn", "RoleGranted", "RoleRevoked", "DisputeOpened", "DisputeRuled"}
    untold |= {"EscrowOpened", "StakeOpened"}
    untold |= {event.__name__ for event in get_args(ChainEvent | CoinEvent | PayoutEvent)}
    archived = Archive(events)
    folds = Folds(archived)
    for stored in events:
        name = stored.name.partition(".")[0]
        if name in seen | untold:
            continue
        seen.add(name)
        before, after = (
            as_shown(Past(folds.at(stored.position - 1), archived)),
            as_shown(Past(folds.at(stored.position), archived)),
        )
        assert before != after or name == "ProgramAdmitted", name
    assert len(seen) > 15
