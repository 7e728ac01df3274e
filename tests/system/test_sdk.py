"""What a notebook does on a market, on one embedded stack."""

import _thread
import asyncio
import inspect
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from msgspec import structs

import pasar
from domain.errors import Corrupt
from services import arrays
from tests.system.embedded import wait_until
from tests.system.market import processes_of

#: Turns of a loop that keep a core busy for a few hundredths of a second.
SLOW = 1_000_000


class Pair(NamedTuple):
    low: Any
    high: Any


@pytest.fixture(scope="module")
def m() -> Iterator[pasar.Market]:
    """A client with money, on a market of two workers."""
    with tempfile.TemporaryDirectory(prefix="pasar-sdk-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another account when the tests run as root
        market = pasar.connect(home=home)
        try:
            assert market.fund(pasar.sats(10_000)) == pasar.sats(10_000)
            yield market
        finally:
            market.close(stop=True)
            wait_until(lambda: not processes_of(market._place.settings))


@pytest.fixture(scope="module")
def score(m: pasar.Market) -> pasar.Function[..., Any]:
    @m.job(budget=pasar.sats(2_000), timeout_s=60)
    def score(w: Any, x: Any) -> Any:
        """Sum of a layer."""
        return jnp.tanh(x @ w).sum()

    return score


@pytest.fixture(scope="module")
def slow(m: pasar.Market) -> pasar.Function[..., Any]:
    @m.job(reuse=False)
    def slow(x: Any) -> Any:
        return jax.lax.fori_loop(0, SLOW, lambda _, v: 3.7 * v * (1 - v), x)

    return slow


def weights(seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (16, 4))


def inputs(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(100 + seed), (*shape, 16))


def test_market_shows_itself(m: pasar.Market) -> None:
    assert "2 workers at work" in repr(m)
    assert "pasar status" in m._repr_mimebundle_()["text/html"]
    assert m.balance <= pasar.sats(10_000)
    assert len(m.workers()) == 2
    assert "cpu" in repr(m.workers())


def test_function_is_still_itself(score: pasar.Function[..., Any]) -> None:
    assert (score.__name__, score.__doc__) == ("score", "Sum of a layer.")
    assert list(inspect.signature(score).parameters) == ["w", "x"]
    assert score(weights(), inputs(0)) == jnp.tanh(inputs(0) @ weights()).sum()


def test_quote_is_free_and_itemised(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    before, posted = m.escrow(), len(m.jobs())
    quote = score.quote(weights(), inputs(0))
    assert quote.possible
    assert quote.total_msat == quote.compute_msat + quote.checking_msat + quote.fees_msat + quote.miners_msat > 0
    assert quote.meter.flops > 100
    assert "2 of 2 workers would run it" in repr(quote)
    assert (m.escrow(), len(m.jobs())) == (before, posted)
    twice = m.job(replicas=2)(score.__wrapped__).quote(weights(), inputs(0))  # type: ignore[attr-defined]
    assert twice.checking_msat == twice.compute_msat == quote.compute_msat


def test_job_brings_what_the_local_call_returns(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    job = score.submit(weights(1), inputs(1))
    assert "Being posted" in repr(job) or job.id in repr(job)
    found, here = job.result(timeout=30), score(weights(1), inputs(1))
    assert isinstance(found, jax.Array)
    assert (found.dtype, found.shape) == (here.dtype, here.shape)
    assert jnp.allclose(found, here, rtol=1e-5)
    assert (job.state, job.done(), job.exception()) == ("completed", True, None)
    assert "Completed: 1 of 1 task verified" in repr(job)
    assert job.id in m.jobs()[0].job
    assert job.quote is not None
    assert m.job_by_id(job.id[:10]).result(10) == found


async def test_job_is_awaited_in_any_loop_and_its_result_is_had_inside_a_running_one(
    score: pasar.Function[..., Any],
) -> None:
    job = score.submit(weights(2), inputs(2))
    assert await job == job.result(timeout=30)
    blocking = score.submit(weights(3), inputs(3))
    assert blocking.result(timeout=30).shape == ()
    first, second = await asyncio.gather(job, blocking)
    assert first != second
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await score.submit(weights(4), inputs(4))


def test_rows_are_tasks_of_one_job(score: pasar.Function[..., Any]) -> None:
    w, xs = weights(5), inputs(5, 12)
    job = score.map(w, xs)
    found = {task.index: task.result() for task in pasar.as_completed(job, progress=False)}
    here = jax.vmap(score, in_axes=(None, 0))(w, xs)
    assert len(job) == 12
    assert jnp.allclose(jnp.stack([found[index] for index in range(12)]), here, rtol=1e-5)
    assert jnp.allclose(job.result(), here, rtol=1e-5)
    assert job.tasks[3].id == f"{job.id}/3"
    assert "verified" in repr(job.tasks[3])
    columns = score.map(w, xs.T, in_axes=(None, 1))
    assert jnp.allclose(columns.result(30), here, rtol=1e-5)


async def test_tasks_are_had_as_they_end_in_a_loop_too(score: pasar.Function[..., Any]) -> None:
    job = score.map(weights(6), inputs(6, 5))
    ended = [task async for task in pasar.as_completed(job, progress=False, timeout=30)]
    assert {task.id for task in ended} == {task.id for task in job}
    assert all([await task == task.result() for task in ended])


def test_trees_come_and_go_as_they_are(m: pasar.Market) -> None:
    @m.job
    def both(params: dict[str, Any], pair: Pair, scale: float = 2.0, *, order: str) -> dict[str, Any]:
        ordered = Pair(*(pair if order == "up" else pair[::-1]))
        return {"pair": Pair(ordered.low * scale, ordered.high + params["b"][0]), "n": (params["a"], [1, None])}

    made = both.__wrapped__  # type: ignore[attr-defined]
    named = m.job(static_argnames="order")(made)
    params, pair = {"a": np.arange(3), "b": [np.float32(1.5)]}, Pair(jnp.ones(2, jnp.bfloat16), np.zeros(2))
    found, here = named.submit(params, pair, 3.0, order="down").result(30), named(params, pair, 3.0, order="down")
    assert jax.tree.structure(found) == jax.tree.structure(jax.tree.map(jnp.asarray, here))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.tree.map(jnp.asarray, here)), strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()
    with pytest.raises(pasar.NotExportable, match=r"order is a str .* static_argnames"):
        both.submit(params, pair, order="up")


def test_same_work_is_handed_out_again_for_a_tenth(
    m: pasar.Market, score: pasar.Function[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score.submit(weights(7), inputs(7))
    value = first.result(30)
    again = score.submit(weights(7), inputs(7))
    assert again.result(30) == value
    assert f"reused from              job {first.id}" in repr(again)
    row = m.jobs()[0]
    assert (row.job, row.original, row.charged_msat) == (
        again.id,
        first.id,
        -(-(row.price_msat + row.fee_msat + row.chain_msat) // 10),
    )

    async def nothing(job: str) -> list[Any]:
        return []

    monkeypatch.setattr(m._desk, "_history", nothing)
    with pytest.raises(pasar.ResultLost, match="reuse=False"):
        score.submit(weights(7), inputs(7)).result(30)


def test_two_workers_agree_before_they_are_paid(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    job = m.job(replicas=2)(score.__wrapped__).submit(weights(8), inputs(8))  # type: ignore[attr-defined]
    job.result(30)
    assert len({event.data.worker for event in job.events() if event.type == "ResultVerified.v1"}) == 2  # type: ignore[union-attr]
    assert "replicas agree" in job._repr_mimebundle_()["text/html"]


def test_what_cannot_be_posted_says_why_and_what_next(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    function, args = score.__wrapped__, (weights(9), inputs(9))  # type: ignore[attr-defined]
    with pytest.raises(pasar.OverBudget, match=r"raise it to budget=pasar\.sats") as over:
        m.job(budget=pasar.msats(1))(function).submit(*args).result(30)
    assert over.value.cost_msat > over.value.budget_msat == 1
    with pytest.raises(pasar.NobodyEligible, match="lower memory_mb=") as nobody:
        m.job(memory_mb=1 << 19)(function).submit(*args).result(30)
    assert [reason.hindrance for reason in nobody.value.reasons] == ["memory"]
    assert "lack memory" in repr(m.job(memory_mb=1 << 19)(function).quote(*args))
    with pytest.raises(pasar.EscrowTooSmall, match=r"fund it with m\.fund\(pasar\.sats") as small:
        m.job(price=pasar.sats(1_000_000))(function).submit(*args).result(30)
    assert small.value.needed_msat == pasar.sats(1_030_000)
    assert small.value.free_msat == m.balance
    with pytest.raises(pasar.Inadmissible, match="unbounded_loop"):
        m.job(lambda x: jax.lax.while_loop(lambda v: v < x, lambda v: v + 1, 0.0)).quote(np.float32(3))


def test_late_job_goes_on_and_survives_an_interrupt(slow: pasar.Function[..., Any]) -> None:
    job = slow.submit(np.float32(0.25))
    with pytest.raises(TimeoutError, match="it goes on"):
        job.result(timeout=0.001)
    threading.Timer(0.02, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        slow.map(np.linspace(0.1, 0.9, 8, dtype=np.float32)).result()
    assert job.result(timeout=30).dtype == jnp.float32


def test_cancelled_job_says_so(slow: pasar.Function[..., Any]) -> None:
    job = slow.map(np.linspace(0.1, 0.9, 96, dtype=np.float32))
    next(iter(job)).result(30)
    assert job.cancel()
    with pytest.raises(pasar.JobFailed, match="it was cancelled"):
        job.result(30)
    assert "not" in repr(job)
    assert not job.cancel()


def test_job_that_is_cancelled_at_once_is_cancelled(m: pasar.Market, slow: pasar.Function[..., Any]) -> None:
    job = slow.map(np.linspace(0.2, 0.8, 96, dtype=np.float32))
    assert job.cancel()
    with pytest.raises(pasar.JobFailed, match="it was cancelled"):
        job.result(30)


def test_wide_result_keeps_its_precision(m: pasar.Market) -> None:
    with jax.enable_x64(True):
        job = m.job(lambda x: x / 3).submit(np.float64(1))
    assert float(job.result(30)) == 1 / 3


def test_nothing_is_kept_of_a_job_that_is_over(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    job = score.submit(weights(14), inputs(14))
    job.result(30)
    wait_until(lambda: job.id not in m._desk._jobs)
    assert job.id not in m._desk._feed._stories


def test_job_is_found_again_after_a_restart_of_the_kernel(m: pasar.Market) -> None:
    @m.job
    def trio(x: Any) -> Any:
        return {"sum": x.sum(), "rest": (x, [x * 2])}

    job = trio.submit(inputs(10))
    wait_until(lambda: job.state != "posting")
    home = m._place.settings.home
    with pasar.connect(home=home) as again:
        same = again.job_by_id(job.id)
        found = same.result(30)
        assert jax.tree.structure(found) == jax.tree.structure(trio(inputs(10)))
        assert jnp.allclose(found["rest"][1][0], job.result(30)["rest"][1][0])
        assert "trio" in repr(same)
    with pasar.connect(home=home, name="stranger") as stranger:
        assert sorted(stranger.job_by_id(job.id).result(30)) == ["0", "1", "2"]
        assert stranger.balance == 0
    with pytest.raises(pasar.Refused, match="closed"):
        again.fund(pasar.sats(1))
    with pytest.raises(pasar.Closed, match="connect"):
        again.job(trio.__wrapped__).submit(inputs(10))  # type: ignore[attr-defined]


async def test_history_is_read_and_followed(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    job = score.submit(weights(11), inputs(11))
    names = [event.type async for event in job.events()]
    assert (names[0], names[-1]) == ("JobPosted.v1", "JobCompleted.v1")
    job.result(30)
    all_ = list(m.events())
    assert [event.position for event in all_] == list(range(1, len(all_) + 1))
    some = [event async for event in m.events(after=4, limit=3)]
    assert [event.position for event in some] == [5, 6, 7]
    assert some == list(m.events(after=4, upto=7)) == [event async for event in m.events(after=4, upto=7)]
    posted = next(event for event in all_ if event.type == "JobPosted.v1" and event.data.job == job.id)  # type: ignore[union-attr]
    past = m.replay(upto=posted.position)
    assert (past.position, past.job(job.id).state) == (posted.position, "open")
    assert m.replay(at=all_[-1].at).job(job.id[:8]).state == "completed"
    assert {*past.workers} == {worker.worker for worker in m.workers()}
    assert sum(escrow.free_msat for escrow in m.replay().escrows.values()) == m.balance
    with pytest.raises(pasar.Refused, match="not posted yet"):
        m.replay(upto=3).job(job.id)
    with pytest.raises(pasar.Refused, match="several jobs begin with"):
        m.replay().job("")
    with pytest.raises(ValueError, match="not both"):
        m.replay(upto=3, at=all_[-1].at)


def test_content_is_opened_by_reference_and_by_address(m: pasar.Market, score: pasar.Function[..., Any]) -> None:
    job = score.submit(weights(15), inputs(15))
    here = job.result(30)
    told = {event.type: event for event in job.events()}
    ref = told["ResultSubmitted.v1"].data.result  # type: ignore[union-attr]
    packed = m.content(ref)
    assert packed == m.content(ref.address)[ref.offset : ref.offset + ref.size]
    assert [float(array) for array in arrays.unpack(packed).values()] == [float(here)]
    with pytest.raises(Corrupt):
        m.content(structs.replace(ref, commitment="0" * 64))
    assert (told["JobPosted.v1"].kind, told["EscrowReleased.v1"].kind) == ("job", "escrow")
    past = m.replay()
    assert past.programs.keys() >= {told["JobPosted.v1"].data.program.address}  # type: ignore[union-attr]
    assert {key: stake.held_msat for key, stake in past.stakes.items()} == {
        worker.worker: worker.stake_msat for worker in m.workers()
    }


def test_receipt_is_checked_alone(score: pasar.Function[..., Any], tmp_path: Path) -> None:
    job = score.submit(weights(12), inputs(12))
    job.result(30)
    assert job.receipt.verify().claims.verified == 1
    assert job.receipt.save(tmp_path / "receipt.json").read_bytes() == job.receipt.file


def test_result_of_a_small_job_comes_at_once(score: pasar.Function[..., Any]) -> None:
    took: list[float] = []
    for seed in range(20):
        args = weights(13), inputs(200 + seed)
        began = time.perf_counter()
        score.submit(*args).result(30)
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < 0.25, took  # 0.03 s on an idle machine; others may be at work on this one
