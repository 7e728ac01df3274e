"""Several sandboxes and a spare: a loss costs no start of jax, and nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from domain.kernels import trivial
from services import arrays
from services.programs.export import export_program
from services.worker.executor import Executor, Failure, Limits, Outcome, Success
from tests.system.test_orphans import WORKER

ONE = {"x": np.float32(1)}
#: What every sandbox is told.
ALWAYS = ["HOME", "TMPDIR", "LANG", "JAX_PLATFORMS", "TF_CPP_MIN_LOG_LEVEL", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"]
EIGHT = arrays.pack({"x": np.arange(8, dtype=np.float32)})


@pytest.fixture(scope="module")
def square() -> bytes:
    return export_program(trivial.square_plus_one, None, ONE)


@pytest.fixture(scope="module")
def long() -> bytes:
    """Runs for long on 1, for no time on anything else."""

    def program(shared, row):
        count = lambda steps: lambda x: jax.lax.fori_loop(0, steps, lambda _, n: jnp.sin(n), x)  # noqa: E731
        return {"y": jax.lax.cond(row["x"] == 1, count((1 << 31) - 1), count(1), row["x"])}

    return export_program(program, None, ONE)


async def every(executor: Executor, program: bytes, tasks: list[int], **named: object) -> list[Outcome]:
    return [one async for one in executor.run(program, None, EIGHT, tasks, **named)]  # type: ignore[arg-type]


def inside(directory: Path) -> list[str]:
    return os.listdir(directory)


def environment(pid: int | None) -> dict[str, str]:
    variables = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(one.split("=", 1) for one in variables)


async def test_spare_takes_the_place_of_a_lost_sandbox(tmp_path: Path, square: bytes) -> None:
    async with Executor(tmp_path) as executor:
        await every(executor, square, [1])
        assert executor.spare_pid is None
        executor.stand_by()
        lost, spare = executor.pid, executor.spare_pid
        assert lost is not None
        os.kill(lost, signal.SIGKILL)
        (outcome,) = await every(executor, square, [2])
        assert isinstance(outcome, Success)
        assert executor.pid == spare
        assert executor.spare_pid not in (None, spare, lost)
    assert inside(tmp_path) == []
    assert psutil.Process().children() == []


async def test_spare_that_died_is_not_used(tmp_path: Path, square: bytes) -> None:
    async with Executor(tmp_path) as executor:
        await every(executor, square, [1])
        executor.stand_by()
        pids = [executor.pid, executor.spare_pid]
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        (outcome,) = await every(executor, square, [2])
        assert isinstance(outcome, Success)
        assert executor.pid not in pids


async def test_batches_run_side_by_side_in_a_pool_of_two(tmp_path: Path, square: bytes, long: bytes) -> None:
    async with Executor(tmp_path, size=2) as executor:
        await executor.warm()
        busy = asyncio.create_task(every(executor, long, [1]))
        outcomes = await every(executor, square, [0, 1, 2])
        assert [one.task for one in outcomes if isinstance(one, Success)] == [0, 1, 2]
        assert not busy.done()
        busy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await busy
        assert all(isinstance(one, Success) for one in await every(executor, square, [3]))


async def test_task_ends_with_its_assignment(tmp_path: Path, long: bytes) -> None:
    async with Executor(tmp_path, Limits(wall_s=600)) as executor:
        await executor.warm()
        await every(executor, long, [0])
        now = asyncio.get_running_loop().time()
        over, cut, other = await every(executor, long, [0, 1, 2], ends={0: now, 1: now + 0.3, 2: now + 100})
        assert asyncio.get_running_loop().time() - now < 20
    assert isinstance(over, Failure)
    assert isinstance(cut, Failure)
    assert (over.reason, over.detail) == ("timeout", "its assignment ended before it began")
    assert (cut.task, cut.reason) == (1, "timeout")
    assert isinstance(other, Success)


def killed_worker(directory: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER, directory], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        sandbox = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
    assert psutil.wait_procs([sandbox], timeout=10)[1] == []


async def test_next_worker_clears_up_after_one_that_was_killed(tmp_path: Path) -> None:
    await asyncio.to_thread(killed_worker, tmp_path)
    (left,) = inside(tmp_path)
    async with Executor(tmp_path) as executor:
        (own,) = inside(tmp_path)
        assert own != left
        async with Executor(tmp_path):
            assert own in inside(tmp_path)  # its owner lives
        await executor.warm()


async def test_sandbox_gets_an_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASAR_SEED", "LD_PRELOAD_NOT", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "of the worker")
    async with Executor(tmp_path) as executor:
        await executor.warm()
        found = environment(executor.pid)
    assert found.keys() == {*ALWAYS, "NPROC", "XLA_FLAGS"}
    assert "of the worker" not in found.values()


@pytest.mark.parametrize("size", [1, 2])
async def test_warm_waits_for_all(tmp_path: Path, size: int) -> None:
    found: Callable[[], int] = lambda: len(psutil.Process().children())  # noqa: E731
    async with Executor(tmp_path, size=size) as executor:
        await executor.warm()
        assert found() == size


async def test_batch_may_start_while_others_warm_up(tmp_path: Path, square: bytes) -> None:
    async with Executor(tmp_path, size=2) as executor:
        async with asyncio.TaskGroup() as group:
            group.create_task(executor.warm())
            batches = [group.create_task(every(executor, square, [1, 2])) for _ in range(4)]
        assert all(isinstance(one, Success) for batch in batches for one in batch.result())
