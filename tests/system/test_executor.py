"""Strangers' programs in the sandbox: right results, and nothing that one of them does outlives its own task."""

import asyncio
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest
import pytest_asyncio

from domain.kernels import digits, mlp, trivial
from services import arrays
from services.programs.export import export_program
from services.referee.replay import agrees, distance
from services.worker import device
from services.worker.executor import Executor, Failure, Limits, Success
from ui import limits

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCALAR = {"x": np.float32(1)}
THEN_ENDLESS = arrays.pack({"x": np.array([7, np.inf, 3], np.float32)})
EIGHT = arrays.pack({"x": np.arange(8, dtype=np.float32)})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executor(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PASAR_SEED", "top-secret")
        async with Executor(tmp_path_factory.mktemp("executor"), Limits(wall_s=20, memory_mb=512)) as started:
            await started.warm()
            yield started


@pytest.fixture(scope="module")
def square():
    return export_program(trivial.square_plus_one, None, SCALAR)


@pytest.fixture(scope="module")
def echo():
    """Returns ``x`` after a millisecond of work or more: after days if that is infinite."""

    def spend(steps):
        def spent(x):
            return jax.lax.fori_loop(0, steps, lambda _, y: jnp.where(jnp.sin(y) > 2, y + 1, y), x)

        return spent

    def days(x):
        return jax.lax.fori_loop(0, 1_000_000, lambda _, y: spend(1_000_000)(y), x)

    def program(shared, row):
        return {"y": jax.lax.cond(jnp.isinf(row["x"]), days, spend(100_000), row["x"])}

    return export_program(program, None, SCALAR)


async def _all(outcomes):
    return [outcome async for outcome in outcomes]


def _proc(executor, name):
    return Path(f"/proc/{executor.pid}/{name}").read_text()


def _number(outcome):
    assert isinstance(outcome, Success), outcome
    return float(arrays.unpack(outcome.result)["y"])


async def test_executor_runs_the_tasks_asked_for_in_order(executor, square):
    outcomes = await _all(executor.run(square, None, EIGHT, (5, 1, 7)))
    assert [(outcome.task, _number(outcome)) for outcome in outcomes] == [(5, 26), (1, 2), (7, 50)]
    assert all(0 < outcome.seconds < 1 for outcome in outcomes)


async def test_executor_streams_each_result_when_it_is_known(executor, echo):
    outcomes = executor.run(echo, None, THEN_ENDLESS, (0, 1))
    assert _number(await anext(outcomes)) == 7
    await outcomes.aclose()


async def test_executor_ends_an_endless_task_and_runs_the_next(executor, echo):
    mapped = arrays.pack({"x": np.array([1, 2, np.inf, 3], np.float32)})
    began = time.monotonic()
    first, second, endless, last = await _all(executor.run(echo, None, mapped, range(4), Limits(wall_s=0.5)))
    assert (_number(first), _number(second), _number(last)) == (1, 2, 3)
    assert (endless.task, endless.reason) == (2, "timeout")
    assert time.monotonic() - began < 15


async def test_executor_bounds_compilation_apart_from_tasks(tmp_path, square):
    async with Executor(tmp_path, compile_s=0.001) as hasty:
        outcomes = await _all(hasty.run(square, None, EIGHT, range(3)))
    assert [(outcome.task, outcome.reason) for outcome in outcomes] == [(0, "timeout"), (1, "timeout"), (2, "timeout")]


async def test_executor_lives_on_after_a_memory_bomb(executor, square):
    def bomb(shared, row):
        return {"y": jnp.sort(jnp.outer(jnp.arange(60_000) + row["x"], jnp.arange(60_000.0)).ravel())[0]}

    program = export_program(bomb, None, SCALAR)
    (outcome,) = await _all(executor.run(program, None, EIGHT, [1], Limits(wall_s=20, memory_mb=64)))
    assert (outcome.task, outcome.reason) == (1, "memory")
    assert _number((await _all(executor.run(square, None, EIGHT, [2])))[0]) == 5


@pytest.mark.parametrize("cut", [0, 1, 64, 600])
async def test_executor_fails_every_task_of_a_damaged_program(executor, square, cut):
    outcomes = await _all(executor.run(square[:cut] or b"garbage", None, EIGHT, (0, 1)))
    assert [outcome.task for outcome in outcomes] == [0, 1]
    assert {outcome.reason for outcome in outcomes} <= {"inadmissible", "crash"}


@pytest.mark.parametrize(
    ("shared", "mapped", "task"),
    [
        (None, None, 0),
        (None, EIGHT, 8),
        (b"garbage", EIGHT, 0),
        (None, arrays.pack({"x": np.zeros((8, 2), np.float32)}), 0),
        (None, arrays.pack({"x": np.zeros(8)}), 0),
        (None, arrays.pack({"x": np.float32(0)}), 0),
        (EIGHT, EIGHT, 0),
    ],
)
async def test_executor_fails_inputs_that_do_not_fit(executor, square, shared, mapped, task):
    (outcome,) = await _all(executor.run(square, shared, mapped, [task]))
    assert isinstance(outcome, Failure)
    assert outcome.reason == "inadmissible"


async def test_executor_returns_what_is_not_finite(executor):
    program = export_program(lambda shared, row: {"y": jnp.log(-row["x"])}, None, SCALAR)
    (outcome,) = await _all(executor.run(program, None, EIGHT, [1]))
    assert np.isnan(_number(outcome))


async def test_executor_starts_again_when_the_sandbox_died_between_batches(executor, square):
    await _all(executor.run(square, None, EIGHT, [1]))
    os.kill(executor.pid, signal.SIGKILL)
    assert _number((await _all(executor.run(square, None, EIGHT, [3])))[0]) == 10


async def test_executor_reports_a_crash_when_the_sandbox_dies_in_a_task(executor, echo):
    outcomes = executor.run(echo, None, THEN_ENDLESS, (0, 1, 2))
    assert _number(await anext(outcomes)) == 7
    os.kill(executor.pid, signal.SIGKILL)
    died, last = await _all(outcomes)
    assert (died.task, died.reason) == (1, "crash")
    assert _number(last) == 3


async def test_executor_is_usable_after_a_batch_was_cancelled(executor, echo, square):
    mapped = arrays.pack({"x": np.array([np.inf], np.float32)})
    await executor.warm()
    before = executor.pid
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await _all(executor.run(echo, None, mapped, [0]))
    assert not psutil.pid_exists(before)
    assert _number((await _all(executor.run(square, None, EIGHT, [3])))[0]) == 10


async def test_sandbox_inherits_no_secret(executor):
    await executor.warm()
    environment = _proc(executor, "environ")
    assert "HOME=" in environment
    assert "PASAR" not in environment
    assert "top-secret" not in environment
    files = [os.readlink(f"/proc/{executor.pid}/fd/{number}") for number in os.listdir(f"/proc/{executor.pid}/fd")]
    assert sum(name.startswith("socket:") for name in files) == 1


async def test_sandbox_reaches_no_network(executor):
    await executor.warm()
    if not executor.applied["network"]:
        pytest.skip("this kernel grants no network namespace")
    threads = os.listdir(f"/proc/{executor.pid}/task")
    assert len(threads) > 1
    namespaces = {os.readlink(f"/proc/{executor.pid}/task/{thread}/ns/net") for thread in threads}
    assert len(namespaces) == 1
    assert namespaces.isdisjoint({os.readlink("/proc/self/ns/net")})
    devices = _proc(executor, "net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    assert len(_proc(executor, "net/route").splitlines()) <= 1


async def test_sandbox_says_which_limits_hold_in_words(executor):
    await executor.warm()
    assert executor.applied.keys() == limits.MEANING.keys()
    assert all(executor.applied[name] for name in ("memory", "processor", "files", "file_size", "core"))


async def test_sandbox_has_no_powers(executor):
    await executor.warm()
    for thread in os.listdir(f"/proc/{executor.pid}/task"):
        status = dict(line.split(":\t", 1) for line in _proc(executor, f"task/{thread}/status").splitlines())
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert status["NoNewPrivs"] == "1"


async def test_executor_leaves_nothing_behind(tmp_path, square):
    before = {child.pid for child in psutil.Process().children()}
    async with Executor(tmp_path) as started:
        await _all(started.run(square, None, EIGHT, [0]))
        pid = started.pid
    assert not psutil.pid_exists(pid)
    assert {child.pid for child in psutil.Process().children()} == before
    assert list(tmp_path.iterdir()) == []


async def test_sweep_is_confirmed_with_other_threads_and_refuted_with_fewer_steps(executor, tmp_path):
    shared = digits.load().arrays()
    row = {"learning_rate": np.float32(0.1), "weight_decay": np.float32(0.001), "seed": np.uint32(1)}
    blobs = arrays.pack(shared), arrays.pack({name: np.array([value]) for name, value in row.items()})
    honest = export_program(mlp.sweep, shared, row)

    def lazy(shared, row):
        found, short = mlp.sweep(shared, row), mlp.sweep(shared, row, steps=mlp.STEPS - mlp.REPORT)
        return {**short, "losses": found["losses"]}

    (replayed,) = await _all(executor.run(honest, *blobs, [0]))
    (cheated,) = await _all(executor.run(export_program(lazy, shared, row), *blobs, [0]))
    async with Executor(tmp_path, threads=None) as other:
        (claimed,) = await _all(other.run(honest, *blobs, [0]))
    assert agrees(distance(claimed.result, replayed.result))
    assert not agrees(distance(cheated.result, replayed.result))


async def test_device_measures_itself(executor):
    flops_per_s, bytes_per_s = await device.measure(executor)
    assert flops_per_s > 1e9
    assert bytes_per_s > 1e8
    assert device.platform() == "cpu"
    assert device.cores() >= 1
    assert device.memory_mb() > 100
    assert device.jax_version() == jax.__version__
