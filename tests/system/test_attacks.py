"""Hostile code inside the sandbox: each attack is refused, what fails is told for its reason, honest work goes on.

Every sandbox that this module starts is one that attacks.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from services.programs.verdict import Inadmissible
from services.worker import child
from services.worker.executor import Executor, Failure, Limits
from tests import attacks
from tests.system.batches import number, outcomes, square

pytestmark = pytest.mark.asyncio(loop_scope="module")
REPOSITORY = Path(attacks.__file__).parents[1]


def a_key(folder: Path) -> Path:
    (folder / "keys").mkdir()
    key = folder / "keys" / "worker.seed"
    key.write_text("a secret")
    return key


def assert_untouched(taken_over: Executor) -> None:
    sandbox = psutil.Process(taken_over.pid)
    folder = Path(sandbox.cwd()).parents[1]
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "keys/worker.seed",
        *(f"sandbox/{Path(sandbox.cwd()).name}/{name}" for name in ("log", "progress")),
    }
    assert (folder / "keys" / "worker.seed").read_text() == "a secret"
    assert sandbox.children() == []


# ------------------------------------------------------------------------------------------------ code in the sandbox
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def taken_over(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Executor]:
    """An executor whose sandbox runs attacks, with a worker's key beside it."""
    folder = tmp_path_factory.mktemp("worker")
    a_key(folder)
    (folder / "sandbox").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "_PROGRAM", (attacks.__file__,))
        async with Executor(folder / "sandbox", Limits(wall_s=10, memory_mb=256)) as executor:
            await executor.warm()
            missing = [name for name in ("own_files", "system_calls") if not executor.applied[name]]
            if missing:
                pytest.skip(f"this kernel does not grant {missing}")
            yield executor


@pytest.mark.parametrize("attack", attacks.ATTACKS)
async def test_sandbox_refuses(taken_over: Executor, attack: str) -> None:
    before = taken_over.pid
    told = await outcomes(taken_over, square(), 2, attacks.FIRST + list(attacks.ATTACKS).index(attack), 3)
    assert (number(told[0]), number(told[2])) == (5, 10)
    assert number(told[1]) in (1, 13)  # EPERM of the filter, EACCES of Landlock
    assert taken_over.pid == before


async def test_attacks_left_no_trace(taken_over: Executor) -> None:
    assert_untouched(taken_over)


async def test_attacks_go_through_without_limits(tmp_path: Path) -> None:
    key, own = a_key(tmp_path), tmp_path / "sandboxes" / "own"
    own.mkdir(parents=True)
    control = (sys.executable, "-I", attacks.__file__, "control", str(key))
    process = await asyncio.create_subprocess_exec(*control, cwd=own, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    refused = set(json.loads(told))
    # what an ordinary user may not do either
    assert refused <= {"passwords of the system", "more files than granted", "the worker's memory"}
    assert process.returncode == 0


# ------------------------------------------------------------------------------------------------------ inspection
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stumbling(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Executor]:
    """An executor that has little patience, and whose sandbox stumbles over some programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "_PROGRAM", (attacks.__file__,))
        async with Executor(tmp_path_factory.mktemp("stumbling"), compile_s=3, inspect_s=1) as executor:
            executor.stand_by()
            await executor.warm()
            yield executor


async def test_inspection_tells_what_a_program_is(stumbling: Executor) -> None:
    found = await stumbling.inspect(square())
    assert found.platforms == ("cpu", "cuda", "tpu")
    assert found.meter.flops == 2
    assert found == await stumbling.inspect(square())


@pytest.mark.parametrize("program", attacks.FAULTS)
async def test_inspection_that_fails_is_a_reason_of_its_own(stumbling: Executor, program: bytes) -> None:
    with pytest.raises(Inadmissible, match="looking into it") as refused:
        await stumbling.inspect(program)
    assert refused.value.reason == attacks.FAULTS[program][1]
    assert number((await outcomes(stumbling, square(), 3))[0]) == 10


@pytest.mark.parametrize("program", attacks.FAULTS)
async def test_batch_fails_where_its_inspection_does(stumbling: Executor, program: bytes) -> None:
    failures = await outcomes(stumbling, program, 1, 2)
    assert [type(failure) for failure in failures] == [Failure, Failure]
    reasons = {failure.reason for failure in failures if isinstance(failure, Failure)}
    assert reasons <= {"inadmissible", attacks.FAULTS[program][1]}
    assert number((await outcomes(stumbling, square(), 3))[0]) == 10
