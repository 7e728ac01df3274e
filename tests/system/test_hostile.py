"""Hostile programs: each is refused for its own reason, and honest work goes on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import pytest_asyncio

from services import arrays
from services.programs.export import export_program
from services.programs.verdict import Inadmissible
from services.worker.executor import Executor, Failure, Limits
from tests import hostile
from tests.system.batches import SCALAR, number, outcomes, square

pytestmark = pytest.mark.asyncio(loop_scope="module")
Arrays = dict[str, Any]


async def test_sandbox_is_replaced_after_some_inspections(tmp_path: Path) -> None:
    refused = hostile.garbage()
    async with Executor(tmp_path, inspections=2) as executor:
        first = await executor.inspect(square())
        served, standing_by = executor.pid, executor.spare_pid
        with pytest.raises(Inadmissible, match="unreadable"):
            await executor.inspect(refused)
        assert await executor.inspect(square()) == first
        assert executor.pid == standing_by != served


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
    "memory": {"memory"},
    "time to run": {"timeout"},
}


async def test_every_hostile_program_fails_for_its_reason_on_a_worker_that_goes_on(
    tmp_path: Path, executor: Executor
) -> None:
    reasons = set()
    async with Executor(tmp_path, Limits(wall_s=1, memory_mb=64)) as patient:
        await patient.warm()
        before = patient.pid
        for builder, reason in hostile.REFUSED.items():
            failure = await fate(patient, builder())
            assert (failure.reason, f"not admitted ({reason})" in failure.detail) == ("inadmissible", True), builder
            reasons.add(reason)
        assert number((await outcomes(patient, square(), 3))[0]) == 10
        assert patient.pid == before
    for builder, exhausted in hostile.ADMITTED.items():
        failure = await fate(executor, builder())
        assert failure.reason in ENDS[exhausted], builder
        reasons.add(failure.reason)
        assert number((await outcomes(executor, square(), 3))[0]) == 10
    assert len(reasons) >= 20


async def test_loop_that_gathers_memory_fails_alone(executor: Executor) -> None:
    (failure,) = await outcomes(executor, export_program(growing_loop, None, SCALAR), 1)
    assert isinstance(failure, Failure)
    assert failure.reason == "memory"
    assert number((await outcomes(executor, square(), 3))[0]) == 10
