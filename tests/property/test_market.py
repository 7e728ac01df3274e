"""Whatever parties do, money adds up, every job ends, and nothing follows that the rules forbid."""

from hypothesis import given, settings
from hypothesis import strategies as st

from domain import job, task
from domain.events import EscrowFunded, StakeDeposited
from services.ledger import codec
from tests.onchain import check_accounts, check_pool
from tests.simulate import Simulation


def msat_paid_in(game: Simulation) -> int:
    """All money that ever came in, by the log."""
    events = map(codec.decode_stored, game.records)
    return sum(event.amount_msat for event in events if isinstance(event, EscrowFunded | StakeDeposited))


def msat_everywhere(game: Simulation) -> int:
    """The same, counted where it is now."""
    escrows, stakes = game.world.escrows.values(), game.world.stakes.values()
    for account in escrows:
        assert min(account.free_msat, account.reserved_msat) >= 0
    for stake in stakes:
        assert game.world.holding(stake.worker).locked_msat <= stake.held_msat
        assert game.world.holding(stake.worker).locked_msat >= 0
    inside = sum(a.free_msat + a.reserved_msat + a.released_msat + a.charged_msat + a.refunded_msat for a in escrows)
    return inside + sum(s.held_msat + s.slashed_msat + s.withdrawn_msat for s in stakes)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_market_keeps_every_msat_after_every_command(seed: int) -> None:
    game = Simulation(seed)
    for _ in range(150):
        game.step()
        assert msat_everywhere(game) == msat_paid_in(game)
        check_pool(game.world.books)
        check_accounts(game.world)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.integers(0, 300))
def test_market_ends_every_job_and_frees_what_it_did_not_spend(seed: int, steps: int) -> None:
    game = Simulation(seed).run(steps).play_out()
    for found in game.world.jobs.values():
        assert found.state is job.State.COMPLETED
        assert found.left_msat == found.live == 0
    assert all(account.reserved_msat == 0 for account in game.world.escrows.values())
    assert all(not game.world.holding(party).tasks for party in game.workers)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.integers(0, 300))
def test_market_knows_what_each_worker_has_in_hand(seed: int, steps: int) -> None:
    world = Simulation(seed).run(steps).world
    for key, holding in world.holdings.items():
        slots = [
            (job_id, index, slot.phase)
            for job_id, tasks in world.tasks_of.items()
            for index, found in enumerate(tasks)
            for slot in found.slots
            if slot.worker == key and slot.phase <= task.Phase.SUBMITTED
        ]
        assert holding.tasks == {(job_id, index) for job_id, index, _ in slots}
        assert holding.running == sum(phase is task.Phase.ASSIGNED for *_, phase in slots)
        assert holding.locked_msat == sum(world.jobs[job_id].terms.stake_msat for job_id, *_ in slots)
    for job_id, found in world.jobs.items():
        tasks = world.tasks_of[job_id]
        assert found.live == sum(slot.phase in (1, 2, 3) for each in tasks for slot in each.slots)
        assert found.done == (found.terms.tasks if found.original else sum(task.done(each) for each in tasks))
