"""Hostile programs, and hostile code inside the sandbox: each is refused for its own reason; honest work goes on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio

from domain.kernels import trivial
from services import arrays
from services.programs.export import export_program
from services.worker import child
from services.worker.executor import Executor, Limits, Outcome, Success
from tests import attacks

pytestmark = pytest.mark.asyncio(loop_scope="module")
REPOSITORY = Path(attacks.__file__).parents[1]
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
