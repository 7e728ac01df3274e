"""What a market refuses, and that nothing is changed by it: the log ends where it ended before."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil
import pytest
import pytest_asyncio
from nats.aio.client import Client

from domain import task
from domain.blobs import blob_ref, equality_tag, result_commitment
from domain.commands import Command, ExpireJob, GrantRole
from domain.events import AssignmentExpired, JobPosted
from domain.ids import escrow_id, job_id
from domain.job import CancelJob, PostJob
from domain.settlement import ConfirmDeposit
from domain.task import CommitResult, ReturnTasks, SubmitResult, TakeTasks
from domain.worker import PlaceAsk, RegisterWorker
from services import bootstrap
from services.bus import wire
from services.bus.chain import ask_tip
from services.bus.commands import DOMAIN, ITEMS_MAX, SUBJECT, Lease, Reply, decode_reply, new_nonce, sign
from services.bus.connect import connect
from services.bus.faucet import draw
from services.config import Settings
from services.keys import Party, party, verify_key
from services.ports import SystemClock
from services.settlement.accounts import Accounts
from services.stack import roles
from services.stack.supervisor import Stack
from tests.spec import PROGRAM, admission
from tests.system.embedded import eventually
from tests.system.market import assert_consistent, back, facts, head, kill, ready, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVICES = ("market", "relay", "projector", "settlement", "arbiter")
FUNDS_MSAT = 1_000_000
CLOCK = SystemClock()


class World:
    """A running market, and parties who talk to it over one connection."""

    def __init__(self, stack: Stack, link: wire.Wire) -> None:
        self.stack, self.settings, self.wire = stack, stack.settings, link
        self.market = bootstrap.operator(stack.settings)

    def party(self, name: str) -> Party:
        return party(self.settings, name)

    async def ask(self, frame: bytes, *, timeout_s: float = 10) -> Reply:
        return decode_reply(await self.wire.request(SUBJECT, frame, timeout_s=timeout_s))

    async def send(self, name: str, *items: Command, nonce: str | None = None, timeout_s: float = 10) -> Reply:
        return await self.ask(
            sign(self.party(name), self.market, items, now=CLOCK.now(), nonce=nonce), timeout_s=timeout_s
        )

    def signed(self, name: str, body: bytes) -> bytes:
        who = self.party(name)
        return verify_key(who.key) + who.sign(DOMAIN + body) + body

    async def fund(self, name: str, account: str = "escrow", amount_msat: int = FUNDS_MSAT) -> None:
        client = await connect(self.settings, "party", name="test")
        try:
            await self.opened(client, name, account)
            await draw(client, account, self.party(name).key, amount_msat)
        finally:
            await client.close()

    async def opened(self, client: Client, name: str, account: str) -> None:
        """Have a script for the account."""
        tip, own = await ask_tip(client), Accounts(self.settings, name)
        command = await own.escrow(tip) if account == "escrow" else await own.stake(tip)
        assert (await self.send(name, command)).refused == []

    def a_job(self, name: str, **terms: Any) -> PostJob:
        """What the party would post; change what the test is about."""
        usual: dict[str, Any] = {
            "escrow": escrow_id(self.party(name).key),
            "program": PROGRAM,
            "tasks": 4,
            "price_msat": 1_000,
            "expires_at": CLOCK.now() + timedelta(hours=1),
            "timeout_s": 1,
        }
        return PostJob(**{**usual, **terms})

    async def posted(self, name: str, **terms: Any) -> str:
        nonce = new_nonce()
        reply = await self.send(name, self.a_job(name, **terms), nonce=nonce)
        assert reply.position
        assert reply.refused == []
        return job_id(self.party(name).key, nonce, 0)

    async def working(self, name: str) -> None:
        """Register a worker by hand; it runs nothing by itself."""
        items = [RegisterWorker("cpu", 1, 4096, "0.10.2"), PlaceAsk(1_000, 64, 4096)]
        assert (await self.send(name, *items)).refused == []

    async def lease(self, name: str, slots: int = 1) -> Lease:
        (lease,) = (await self.send(name, TakeTasks(slots))).leases
        return lease


@asynccontextmanager
async def nothing_changes(market: World) -> AsyncIterator[None]:
    before = await head(market.settings)
    yield
    assert await head(market.settings) == before


async def refused(market: World, reply: Awaitable[Reply]) -> str:
    """The name of the one refusal in the answer; the log is as it was."""
    async with nothing_changes(market):
        answer = await reply
    (refusal,) = answer.refused
    assert answer.position == 0
    assert len(refusal.message) > 20
    return refusal.name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    home = tmp_path_factory.mktemp("refusals")
    quiet = Settings(home=home, payout_every=timedelta(days=1))  # no payout comes between
    async with Stack(quiet, list(map(roles.role, SERVICES))) as stack:
        link = await bootstrap.wires(stack.settings, "party", "test")()
        world = World(stack, link)
        assert (await world.send("inspector", admission(PROGRAM.address))).refused == []
        yield world
        link.close()
        await assert_consistent(stack.settings)


@pytest_asyncio.fixture(loop_scope="module")
async def client(market: World) -> AsyncIterator[str]:
    """A client with money that no other test touches; what it leaves posted is cancelled."""
    name = f"client-{new_nonce()[:8]}"
    await market.fund(name)
    yield name
    key = market.party(name).key
    posted = [e.job for e in await facts(market.settings) if isinstance(e, JobPosted) and e.client == key]
    for start in range(0, len(posted), ITEMS_MAX):
        await market.send(name, *map(CancelJob, posted[start : start + ITEMS_MAX]))


@pytest_asyncio.fixture(loop_scope="module")
async def worker(market: World) -> str:
    name = f"worker-{new_nonce()[:8]}"
    await market.working(name)
    return name


def commitment(key: str, job: str, index: int, answer: bytes, nonce: str) -> tuple[CommitResult, SubmitResult]:
    """A commitment to an answer, and what opens it."""
    ref, tag = blob_ref(answer, "5a" * 16), equality_tag(answer, job, index)
    bound = result_commitment(key, job, index, nonce, ref, tag)
    return CommitResult(job, index, bound), SubmitResult(job, index, nonce, ref, tag)


# ---------------------------------------------------------------------------------------------------------- the frame
async def test_command_that_nobody_signed_is_refused(market: World, client: str) -> None:
    frame = sign(market.party(client), market.market, [market.a_job(client)], now=CLOCK.now())
    for bad in (bytes(96) + frame[96:], frame[:32] + bytes(64) + frame[96:], frame[:-1] + b" "):
        assert await refused(market, market.ask(bad)) == "Unsigned"


async def test_command_in_the_name_of_another_is_refused(market: World, client: str) -> None:
    frame = sign(market.party("mallory"), market.market, [market.a_job(client)], now=CLOCK.now())
    stolen = verify_key(market.party(client).key) + frame[32:]
    assert await refused(market, market.ask(stolen)) == "Unsigned"
    assert await refused(market, market.ask(frame)) == "UnknownEscrow"


async def test_command_outside_its_time_or_market_is_refused(market: World, client: str) -> None:
    who, items, now = market.party(client), [market.a_job(client)], CLOCK.now()
    for signed_at, reason in ((now - timedelta(hours=1), "Expired"), (now + timedelta(hours=1), "TooFarAhead")):
        assert await refused(market, market.ask(sign(who, market.market, items, now=signed_at))) == reason
    elsewhere = sign(who, market.party("mallory").key, items, now=now)
    assert await refused(market, market.ask(elsewhere)) == "Malformed"


async def test_frame_too_large_is_refused_and_the_market_serves_on(market: World, client: str) -> None:
    large = market.signed(client, b'{"market":"' + b"x" * (1 << 20) + b'"}')
    assert await refused(market, market.ask(large)) == "Malformed"
    async with nothing_changes(market):
        link = await bootstrap.wires(market.settings, "party", "large")()
        with pytest.raises(wire.BusError, match="Maximum Payload Violation"):
            await link.request(SUBJECT, bytes(9 << 20))
        link.close()
    assert (await market.send(client, market.a_job(client))).position


async def test_batch_of_more_than_256_items_is_refused(market: World, client: str) -> None:
    items = [market.a_job(client, price_msat=1, tasks=1)] * (ITEMS_MAX + 1)
    assert await refused(market, market.send(client, *items)) == "Malformed"
    reply = await market.send(client, *items[:ITEMS_MAX])
    assert (reply.refused, reply.position > 0) == ([], True)


async def test_garbage_is_answered_or_ignored_and_the_market_serves_on(market: World, client: str) -> None:
    chance = random.Random(7)
    good = sign(market.party(client), market.market, [market.a_job(client)], now=CLOCK.now())
    body = good[96:]
    garbage = [chance.randbytes(chance.randint(0, 300)) for _ in range(200)]
    garbage += [good[: chance.randrange(len(good))] for _ in range(200)]
    garbage += [market.signed(client, body[: chance.randrange(len(body))]) for _ in range(100)]
    garbage += [market.signed(client, chance.randbytes(chance.randint(0, 300))) for _ in range(200)]
    for number in (b"NaN", b"Infinity", b"1e999", b"-1", b"9" * 400, b'"1000"', b"null", b"[" * 1_000):
        garbage.append(market.signed(client, body.replace(b'"price_msat":1000', b'"price_msat":' + number)))
    garbage.append(market.signed(client, b"[" * 900_000))
    garbage.append(market.signed(client, b"\xff" * 100))
    async with nothing_changes(market):
        for reply in await asyncio.gather(*(market.ask(frame) for frame in garbage)):
            (refusal,) = reply.refused
            assert refusal.name in ("Malformed", "Unsigned", "BadTerms", "Replayed")
    market.wire.publish(SUBJECT, garbage[0])  # nobody waits for an answer
    assert (await market.send(client, market.a_job(client))).refused == []


async def test_nonce_that_would_make_the_log_unreadable_is_refused(market: World, client: str) -> None:
    for nonce in ("x" * 32, "-" * 32, "0" * 30 + "\r\n"):
        assert await refused(market, market.send(client, market.a_job(client), nonce=nonce)) == "Malformed"


# ----------------------------------------------------------------------------------------------------------- the rules
@pytest.mark.parametrize(
    "terms",
    [
        {"tasks": 0},
        {"tasks": -1},
        {"tasks": 1 << 21},
        {"replicas": 0},
        {"replicas": 6},
        {"price_msat": 0},
        {"price_msat": -5},
        {"price_msat": 10**300},
        {"price_msat": 10**18, "tasks": 1 << 20},
        {"stake_msat": -1},
        {"timeout_s": 0},
        {"timeout_s": 10**9},
        {"memory_mb": 1},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"expires_at": datetime(9999, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
async def test_absurd_terms_are_refused(market: World, client: str, terms: dict[str, Any]) -> None:
    assert await refused(market, market.send(client, market.a_job(client, **terms))) == "BadTerms"


async def test_job_above_the_escrow_or_out_of_anothers_is_refused(market: World, client: str) -> None:
    dear = market.a_job(client, price_msat=FUNDS_MSAT)
    assert await refused(market, market.send(client, dear)) == "EscrowTooSmall"
    assert await refused(market, market.send("mallory", market.a_job(client))) == "UnknownEscrow"
    assert await refused(market, market.send("nobody", market.a_job("nobody"))) == "UnknownEscrow"


async def test_unknown_job_is_refused(market: World, client: str, worker: str) -> None:
    commit, submit = commitment(market.party(worker).key, "0" * 24, 0, b"x", new_nonce())
    assert await refused(market, market.send(client, CancelJob("0" * 24))) == "UnknownJob"
    assert await refused(market, market.send(worker, commit)) == "UnknownJob"
    assert await refused(market, market.send(worker, submit)) == "UnknownJob"


async def test_command_of_a_role_is_refused_to_others(market: World, client: str) -> None:
    key = market.party(client).key
    job = await market.posted(client)
    for command in (
        ConfirmDeposit("escrow", key, 10**9, new_nonce()),
        GrantRole("settlement", key),
        ExpireJob(job),
        task.TakeTasks(1),
    ):
        assert await refused(market, market.send(client, command)) in ("Unauthorised", "UnknownWorker")
    assert await refused(market, market.send("mallory", CancelJob(job))) == "Unauthorised"


async def test_result_for_somebody_elses_assignment_is_refused(market: World, client: str, worker: str) -> None:
    job = await market.posted(client, tasks=1, timeout_s=60)
    lease = await market.lease(worker)
    assert (lease.terms.job, lease.tasks) == (job, [0])
    await market.working("mallory-worker")
    commit, submit = commitment(market.party("mallory-worker").key, job, 0, b"x", new_nonce())
    assert await refused(market, market.send("mallory-worker", commit)) == "NotYourAssignment"
    assert await refused(market, market.send("mallory-worker", submit)) == "NotYourAssignment"
    unknown = CommitResult(job, 1, "0" * 64)
    assert await refused(market, market.send(worker, unknown)) == "UnknownTask"
    await market.send(worker, ReturnTasks())


async def test_result_that_does_not_open_its_commitment_is_refused(market: World, client: str, worker: str) -> None:
    job = await market.posted(client, tasks=1, timeout_s=60)
    await market.lease(worker)
    nonce = new_nonce()
    commit, submit = commitment(market.party(worker).key, job, 0, b"right", nonce)
    _, other = commitment(market.party(worker).key, job, 0, b"wrong", nonce)
    assert await refused(market, market.send(worker, submit)) == "NotCommitted"
    assert (await market.send(worker, commit)).refused == []
    assert await refused(market, market.send(worker, other)) == "DoesNotOpen"
    assert await refused(market, market.send(worker, commit)) == "AlreadyCommitted"
    assert (await market.send(worker, submit)).refused == []
    assert await refused(market, market.send(worker, submit)) == "AlreadySettled"


async def test_late_result_is_refused(market: World, client: str, worker: str) -> None:
    job = await market.posted(client, tasks=1, timeout_s=1)
    lease = await market.lease(worker)
    commit, _ = commitment(market.party(worker).key, job, 0, b"x", new_nonce())
    await eventually(lambda: CLOCK.now() > lease.expires_at)

    async def expired() -> bool:
        return AssignmentExpired(job, 0, 0, market.party(worker).key) in await facts(market.settings)

    await until(expired)
    assert await refused(market, market.send(worker, commit)) == "NotYourAssignment"


async def test_one_refused_item_leaves_the_others_standing(market: World, client: str) -> None:
    good, bad = market.a_job(client), market.a_job(client, price_msat=FUNDS_MSAT)
    before = await head(market.settings)
    nonce = new_nonce()
    reply = await market.send(client, good, bad, CancelJob("0" * 24), good, nonce=nonce)
    assert [(refusal.item, refusal.name) for refusal in reply.refused] == [(1, "EscrowTooSmall"), (2, "UnknownJob")]
    posted = [event.job for event in (await facts(market.settings))[before:] if isinstance(event, JobPosted)]
    assert posted == [job_id(market.party(client).key, nonce, item) for item in (0, 3)]
    assert reply.position == await head(market.settings)


# ---------------------------------------------------------------------------------------------------- again, and again
async def test_command_sent_again_after_a_lost_answer_counts_once(market: World, client: str) -> None:
    nonce = new_nonce()
    frame = sign(market.party(client), market.market, [market.a_job(client)], now=CLOCK.now(), nonce=nonce)
    before = await head(market.settings)
    market.wire.publish(SUBJECT, frame)  # whoever answers, nobody hears it

    async def recorded() -> bool:
        return await head(market.settings) > before

    await until(recorded)
    assert await refused(market, market.ask(frame)) == "Replayed"
    again = market.send(client, market.a_job(client), nonce=nonce)
    assert await refused(market, again) == "Replayed"
    posted = [event.job for event in (await facts(market.settings))[before:] if isinstance(event, JobPosted)]
    assert posted == [job_id(market.party(client).key, nonce, 0)]


async def test_replay_is_refused_after_the_market_was_killed(market: World, client: str) -> None:
    frame = sign(market.party(client), market.market, [market.a_job(client)], now=CLOCK.now())
    assert (await market.ask(frame)).refused == []
    assert await refused(market, market.ask(frame)) == "Replayed"
    killed = await kill(market.stack, "market")
    await back(market.stack, "market", killed)
    assert await refused(market, market.ask(frame)) == "Replayed"


# ------------------------------------------------------------------------------------------------------ the log is lost
async def pause(stack: Stack, name: str) -> list[psutil.Process]:
    """Stop a service and its children from running, without ending them."""
    root = psutil.Process(ready(stack, name))
    stopped = [root, *root.children(recursive=True)]
    for process in stopped:
        process.suspend()
    return stopped


async def refused_or_recorded(market: World, client: str, recorded: set[str]) -> str:
    """Post a job; note it if the market says that it is recorded, and what it says otherwise."""
    nonce = new_nonce()
    with suppress(TimeoutError, wire.BusError):
        reply = await market.send(client, market.a_job(client, tasks=1, price_msat=1), nonce=nonce, timeout_s=1)
        if not reply.refused:
            recorded.add(job_id(market.party(client).key, nonce, 0))
            return "recorded"
        return reply.refused[0].name
    return "silence"


async def posting(market: World, client: str, answer: str, recorded: set[str]) -> list[str]:
    """Post jobs until the market answers ``answer``; all that it answered."""
    answers: list[str] = []

    async def answered() -> bool:
        answers.append(await refused_or_recorded(market, client, recorded))
        return answers[-1] == answer

    await until(answered, timeout_s=40, every_s=0.02, what=f"the answer {answer}")
    return answers


async def assert_posted(market: World, jobs: set[str]) -> None:
    posted = [event.job for event in await facts(market.settings) if isinstance(event, JobPosted)]
    assert set(posted) >= jobs
    assert len(posted) == len(set(posted))


@pytest.mark.parametrize("killed", [False, True], ids=["paused", "killed"])
async def test_market_without_its_database_refuses_and_recovers(market: World, client: str, killed: bool) -> None:
    recorded: set[str] = set()
    assert await posting(market, client, "recorded", recorded) == ["recorded"]
    before = ready(market.stack, "market")
    stopped = await pause(market.stack, "postgres")
    if killed:
        for process in stopped[1:]:
            process.kill()  # those that serve connections; the one that could start others stands still
    assert set(await posting(market, client, "Unavailable", recorded)) <= {"silence", "Unavailable", "recorded"}
    for _ in range(5):
        assert await refused_or_recorded(market, client, recorded) == "Unavailable"
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    await posting(market, client, "recorded", recorded)
    assert ready(market.stack, "market") == before
    await assert_posted(market, recorded)


async def test_market_on_a_full_disk_refuses_and_recovers(market: World, client: str) -> None:
    recorded: set[str] = set()
    connection = await asyncpg.connect(market.settings.database_url)
    await connection.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE disk_full USING MESSAGE = 'no space left on device'; END $$"
    )
    await posting(market, client, "recorded", recorded)
    async with nothing_changes(market):
        await connection.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON ledger.event FOR EACH STATEMENT EXECUTE FUNCTION full_disk()"
        )
        assert set(await posting(market, client, "Unavailable", recorded)) == {"Unavailable"}
        for _ in range(5):
            assert await refused_or_recorded(market, client, recorded) == "Unavailable"
        await connection.execute("DROP TRIGGER full_disk ON ledger.event")
    await posting(market, client, "recorded", recorded)
    await connection.execute("DROP FUNCTION full_disk")
    await connection.close()
    await assert_posted(market, recorded)
