"""When a dead service is started again, and which services start together."""

from services.stack.process import Service
from services.stack.restarts import DEATHS_MAX, HEALTHY_S, LONGEST_S, WINDOW_S, Restarts
from services.stack.roles import local_workers, market_services
from services.stack.supervisor import stages


def test_delay_doubles_up_to_five_seconds_while_a_service_keeps_dying() -> None:
    restarts = Restarts()
    delays = [restarts.died(at=float(second), after_s=0.1) for second in range(40)]
    assert delays[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert set(delays[6:]) == {LONGEST_S}


def test_delay_starts_again_after_a_healthy_life() -> None:
    restarts = Restarts()
    for second in range(5):
        restarts.died(at=float(second), after_s=0.1)
    assert restarts.died(at=20.0, after_s=HEALTHY_S) == 0.1


def test_service_is_failing_when_it_died_ten_times_within_a_minute() -> None:
    restarts = Restarts()
    for second in range(DEATHS_MAX):
        assert not restarts.failing(at=float(second))
        restarts.died(at=float(second), after_s=0.1)
    assert restarts.failing(at=10.0)
    assert not restarts.failing(at=WINDOW_S + 1)


def test_services_of_one_stage_start_together_and_others_alone() -> None:
    alone = [Service(name=name, argv=("/bin/true",)) for name in "ab"]
    assert [[service.name for service in stage] for stage in stages(alone)] == [["a"], ["b"]]
    names = [[service.name for service in stage] for stage in stages(market_services(local_workers(2)))]
    around = ["relay", "projector", "inspector", "referee", "settlement", "arbiter", "worker-1", "worker-2"]
    assert names == [["market"], around]
