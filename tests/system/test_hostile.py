"""Hostile programs, and hostile code inside the sandbox: each is refused for its own reason; honest work goes on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
import pytest_asyncio

from domain.kernels import trivial
from services import arrays
from services.programs.export import export_program
from services.programs.verdict import Inadmissible
from services.worker import child
from services.worker.executor import Executor, Failure, Limits, Outcome, Success
from tests import attacks, hostile

pytestmark = pytest.mark.asyncio(loop_scope="module")
REPOSITORY = Path(attacks.__file__).parents[1]
Arrays = dict[str, Any]
SCALAR = {"x": np.float32(1)}


@pytest.fixture(scope="module")
def square() -> bytes:
    return export_program(trivial.square_plus_one, None, SCALAR)


def a_key(folder: Path) -> Path:
    (folder / "keys").mkdir()
    key = folder / "keys" / "worker.seed"
    key.write_text("a secret")
    return key


async def outcomes(executor: Executor, program: bytes, *inputs: float, limits: Limits | None = None) -> list[Outcome]:
    mapped = arrays.pack({"x": np.array(inputs, np.float32)})
    return [one async for one in executor.run(program, None, mapped, range(len(inputs)), limits)]


def number(outcome: Outcome) -> float:
    assert isinstance(outcome, Success), outcome
    return float(arrays.unpack(outcome.result)["y"])


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
        patch.setattr(child, "_PROGRAM", "tests.attacks")
        async with Executor(folder / "sandbox", Limits(wall_s=10, memory_mb=256)) as executor:
            await executor.warm()
            missing = [name for name in ("own_files", "system_calls") if not executor.applied[name]]
            if missing:
                pytest.skip(f"this kernel does not grant {missing}")
            yield executor


@pytest.mark.parametrize("attack", attacks.ATTACKS)
async def test_sandbox_refuses(taken_over: Executor, square: bytes, attack: str) -> None:
    before = taken_over.pid
    told = await outcomes(taken_over, square, 2, attacks.FIRST + list(attacks.ATTACKS).index(attack), 3)
    assert (number(told[0]), number(told[2])) == (5, 10)
    assert number(told[1]) in (1, 13)  # EPERM of the filter, EACCES of Landlock
    assert taken_over.pid == before


async def test_attacks_left_no_trace(taken_over: Executor) -> None:
    assert_untouched(taken_over)


async def test_attacks_go_through_without_limits(tmp_path: Path) -> None:
    key, own = a_key(tmp_path), tmp_path / "sandboxes" / "own"
    own.mkdir(parents=True)
    control = (sys.executable, "-I", "-m", "tests.attacks", "control", str(key))
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
        patch.setattr(child, "_PROGRAM", "tests.attacks")
        async with Executor(tmp_path_factory.mktemp("stumbling"), compile_s=3, inspect_s=1) as executor:
            executor.stand_by()
            await executor.warm()
            yield executor


async def test_inspection_tells_what_a_program_is(stumbling: Executor, square: bytes) -> None:
    found = await stumbling.inspect(square)
    assert found.platforms == ("cpu", "cuda", "tpu")
    assert found.meter.flops == 2
    assert found == await stumbling.inspect(square)


async def test_sandbox_is_replaced_after_some_inspections(tmp_path: Path, square: bytes) -> None:
    refused = hostile.garbage()
    async with Executor(tmp_path, inspections=2) as executor:
        first = await executor.inspect(square)
        served, standing_by = executor.pid, executor.spare_pid
        with pytest.raises(Inadmissible, match="unreadable"):
            await executor.inspect(refused)
        assert await executor.inspect(square) == first
        assert executor.pid == standing_by != served


@pytest.mark.parametrize("program", attacks.FAULTS)
async def test_inspection_that_fails_is_a_reason_of_its_own(stumbling: Executor, square: bytes, program: bytes) -> None:
    with pytest.raises(Inadmissible, match="looking into it") as refused:
        await stumbling.inspect(program)
    assert refused.value.reason == attacks.FAULTS[program][1]
    assert number((await outcomes(stumbling, square, 3))[0]) == 10


@pytest.mark.parametrize("program", attacks.FAULTS)
async def test_batch_fails_where_its_inspection_does(stumbling: Executor, square: bytes, program: bytes) -> None:
    failures = await outcomes(stumbling, program, 1, 2)
    assert [type(failure) for failure in failures] == [Failure, Failure]
    reasons = {failure.reason for failure in failures if isinstance(failure, Failure)}
    assert reasons <= {"inadmissible", attacks.FAULTS[program][1]}
    assert number((await outcomes(stumbling, square, 3))[0]) == 10


# ------------------------------------------------------------------------ programs that are admitted and turn out badly
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Executor]:
    async with Executor(tmp_path_factory.mktemp("executor"), Limits(wall_s=1, memory_mb=64), compile_s=2) as started:
        await started.warm()
        started.stand_by()
        yield started


def growing_loop(shared: Arrays, row: Arrays) -> Arrays:
    """Its memory is not one array but many."""
    _, kept = jax.lax.scan(lambda x, _: (x + 1, x * jnp.ones(1 << 20)), row["x"], length=4096)
    return {"y": jnp.sort(kept, axis=0)[0, 0]}


async def fate(executor: Executor, program: bytes) -> Failure:
    mapped = arrays.pack({"x": hostile.ROW["x"][None]})
    (failure,) = [one async for one in executor.run(program, None, mapped, [0])]
    assert isinstance(failure, Failure)
    return failure


#: How programs that exhaust something end; XLA may run out of one thing or of another.
ENDS = {
    "time to compile": {"timeout", "memory"},
    "time to compile, or the stack": {"timeout", "memory", "crash"},
    "memory": {"memory", "crash"},  # jax may stumble over the array that it did not get before it says why
    "time to run": {"timeout"},
}


async def test_every_hostile_program_fails_for_its_reason_on_a_worker_that_goes_on(
    tmp_path: Path, executor: Executor, square: bytes
) -> None:
    reasons = set()
    async with Executor(tmp_path, Limits(wall_s=1, memory_mb=64)) as patient:
        await patient.warm()
        before = patient.pid
        for builder, reason in hostile.REFUSED.items():
            failure = await fate(patient, builder())
            assert (failure.reason, f"not admitted ({reason})" in failure.detail) == ("inadmissible", True), builder
            reasons.add(reason)
        assert number((await outcomes(patient, square, 3))[0]) == 10
        assert patient.pid == before
    for builder, exhausted in hostile.ADMITTED.items():
        failure = await fate(executor, builder())
        assert failure.reason in ENDS[exhausted], builder
        reasons.add(failure.reason)
        assert number((await outcomes(executor, square, 3))[0]) == 10
    assert len(reasons) >= 20


async def test_loop_that_gathers_memory_fails_alone(executor: Executor, square: bytes) -> None:
    (failure,) = await outcomes(executor, export_program(growing_loop, None, SCALAR), 1)
    assert isinstance(failure, Failure)
    assert failure.reason == "memory"
    assert number((await outcomes(executor, square, 3))[0]) == 10
