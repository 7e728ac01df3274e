"""The supervisor: what dies is started again, and nothing outlives it."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from services.stack import daemon, state
from services.stack.process import NotReady, Service
from services.stack.state import AlreadyRunning, NotRunning
from services.stack.supervisor import Stack
from tests.system.embedded import Supervisor, dummy, eventually, gone, outside, wait_until


async def test_service_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with Stack(outside(tmp_path), [dummy("market")]) as stack:
        first = stack.pid_of("market")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(
            lambda: stack.pid_of("market") not in (None, first) and stack.status().services[0].state == "ready"
        )
        assert stack.status().services[0].restarts == 1
    assert gone([first])


async def test_service_that_keeps_dying_marks_the_stack_as_failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.stack.restarts.LONGEST_S", 0.0)
    async with Stack(outside(tmp_path), [dummy("steady"), dummy("broken", then="sys.exit(3)")]) as stack:
        await eventually(lambda: stack.status().state == "failing")
        now = state.running(stack.settings)
        assert now.state == "failing"
        assert [service.name for service in now.services if service.failing] == ["broken"]
        assert now.services[0].restarts == 0


async def test_service_that_never_gets_ready_stops_the_start_with_its_words(tmp_path: Path) -> None:
    broken = Service(name="broken", argv=(sys.executable, "-c", "import sys; sys.exit('no such table')"))
    with pytest.raises(NotReady, match="no such table") as refused:
        async with Stack(outside(tmp_path), [dummy("steady"), broken]):
            pass
    assert "broken did not start" in str(refused.value)
    left = state.read(outside(tmp_path))
    assert left is not None
    assert left.state == "failed"
    assert "no such table" in left.problem
    assert psutil.Process().children() == []


async def test_services_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def note(now: state.StackState) -> None:
        for service in now.services:
            if (service.name, service.state) not in seen:
                seen.append((service.name, service.state))

    async with Stack(outside(tmp_path), [dummy("first"), dummy("second")], on_change=note):
        pass
    assert [name for name, phase in seen if phase == "ready"] == ["first", "second"]
    assert [name for name, phase in seen if phase == "stopped"] == ["second", "first"]


async def test_second_stack_on_the_same_home_is_refused(tmp_path: Path) -> None:
    async with Stack(outside(tmp_path)):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}; stop it with `pasar down`"):
            async with Stack(outside(tmp_path)):
                pass
        with pytest.raises(AlreadyRunning):
            daemon.spawn(outside(tmp_path), workers=0)
    async with Stack(outside(tmp_path)):
        pass


async def test_grandchildren_die_with_their_service(tmp_path: Path) -> None:
    grandchild = "subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    async with Stack(outside(tmp_path), [dummy("parent", then=grandchild)]) as stack:
        pid = stack.pid_of("parent")
        assert pid is not None
        await eventually(lambda: psutil.Process(pid).children())
        children = [child.pid for child in psutil.Process(pid).children()]
    await eventually(lambda: gone([pid, *children]))


def test_down_is_refused_when_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="pasar up"):
        daemon.down(outside(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_supervisor_ended_by(number: int, tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "home")
    now = supervisor.until_up()
    assert [service.name for service in now.services] == ["postgres", "nats", "service", "parent"]
    family = supervisor.family()
    assert len(family) >= 5
    status = supervisor.end(number)
    if number == signal.SIGKILL:
        wait_until(lambda: gone(family))
    else:
        assert status == 0
        assert gone(family)
        assert state.read(supervisor.settings) is None
    with pytest.raises(NotRunning):
        state.running(supervisor.settings)


def test_down_stops_a_running_stack_and_all_of_it(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "home")
    supervisor.until_up()
    family = supervisor.family()
    assert daemon.down(supervisor.settings) == supervisor.process.pid
    assert supervisor.process.wait() == 0
    assert gone(family)
    supervisor.process.communicate()
