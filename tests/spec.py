"""Given what happened, when a party sends a command, then these events follow, or it is refused and nothing moved."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest

from domain.blobs import BlobRef, blob_ref, equality_tag, result_commitment
from domain.commands import Actor, AdmitProgram, Command, ExpireAssignment, ExpireJob, GrantRole
from domain.dispute import RuleDispute
from domain.errors import Refused
from domain.events import AnyEvent, JobPosted
from domain.ids import escrow_id
from domain.job import PostJob
from domain.market import Fact, World
from domain.meter import Meter
from domain.settlement import ConfirmDeposit
from domain.task import CommitResult, SubmitResult
from domain.worker import PlaceAsk, RegisterWorker

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def key(letter: str) -> str:
    """A party's key that is easy to tell from another's."""
    return "U" + letter * 55


OPERATOR, CLIENT, REFEREE, ANNA, BEN, CARL, MALLORY = map(key, "OCRABDM")
SALT, NONCE = "5a" * 16, "0e" * 16
PROGRAM = blob_ref(b"a program", SALT)
#: A thousand operations in one megabyte.
SMALL = Meter(1_000, 0, 8_000, 1 << 20, 4_000, 4_000)
EVIDENCE = blob_ref(b"what a replay found", SALT)


def result_of(answer: bytes) -> BlobRef:
    return blob_ref(answer, SALT)


class Market:
    """A world with a clock of its own, and commands as a person would say them."""

    def __init__(self) -> None:
        self.world = World(OPERATOR)
        self.now = NOW
        self._jobs = 0
        for role, party in (
            ("referee", REFEREE),
            ("settlement", OPERATOR),
            ("clock", OPERATOR),
            ("inspector", OPERATOR),
        ):
            self.send(OPERATOR, GrantRole(role, party))
        self.send(OPERATOR, admission(PROGRAM.address))
        self.job = ""

    # ------------------------------------------------------------------------------------------------------- history
    def send(self, actor: str, command: Command) -> list[AnyEvent]:
        self._jobs += 1
        return self.seen(self.world.execute(command, Actor(actor, f"{self._jobs:032x}"), self.now))

    def seen(self, facts: Sequence[Fact]) -> list[AnyEvent]:
        """What a decision made of the world; a market that keeps more of it looks here."""
        return [fact.event for fact in facts]

    def with_client(self, funds_msat: int = 1_000_000, client: str = CLIENT) -> Self:
        self.send(OPERATOR, ConfirmDeposit("escrow", client, funds_msat, f"{self._jobs:032x}"))
        return self

    def with_worker(self, *workers: str, price_msat: int = 100, stake_msat: int = 10_000, slots: int = 8) -> Self:
        for worker in workers:
            self.send(worker, RegisterWorker("cpu", 2, 4096, "0.10.2"))
            self.send(worker, PlaceAsk(price_msat, slots, 2048))
            if stake_msat:
                self.send(OPERATOR, ConfirmDeposit("stake", worker, stake_msat, f"{self._jobs:032x}"))
        return self

    def with_job(self, **terms: object) -> Self:
        posted = self.send(CLIENT, a_job(**terms))[0]
        assert isinstance(posted, JobPosted)
        self.job = posted.job
        return self

    def assigned(self, worker: str, task: int = 0, *, seconds: int = 60) -> Self:
        self.seen([self.world.assign(self.job, task, worker, self.now + timedelta(seconds=seconds))])
        return self

    def committed(self, worker: str, answer: bytes = b"right", task: int = 0) -> Self:
        self.send(worker, self.commit(worker, answer, task))
        return self

    def submitted(self, worker: str, answer: bytes = b"right", task: int = 0) -> Self:
        self.send(worker, self.submit(answer, task))
        return self

    def later(self, seconds: float) -> Self:
        self.now += timedelta(seconds=seconds)
        return self

    # ------------------------------------------------------------------------------------------------------ commands
    def commit(self, worker: str, answer: bytes = b"right", task: int = 0) -> CommitResult:
        tag = equality_tag(answer, self.job, task)
        digest = result_commitment(worker, self.job, task, NONCE, result_of(answer), tag)
        return CommitResult(self.job, task, digest)

    def submit(self, answer: bytes = b"right", task: int = 0) -> SubmitResult:
        return SubmitResult(self.job, task, NONCE, result_of(answer), equality_tag(answer, self.job, task))

    def ruling(self, upheld: Sequence[str], rejected: Sequence[str], task: int = 0) -> RuleDispute:
        return RuleDispute(self.job, task, tuple(upheld), tuple(rejected), EVIDENCE)

    def expiry(self, worker: str, task: int = 0) -> ExpireAssignment:
        return ExpireAssignment(self.job, task, worker)

    def deadline(self) -> ExpireJob:
        return ExpireJob(self.job)

    # ----------------------------------------------------------------------------------------------------- assertions
    def when(self, actor: str, command: Command) -> "Outcome":
        return Outcome(self, actor, command)

    def snapshot(self) -> dict[str, object]:
        """Everything that the world knows, to compare later."""
        kept = {name: copy.copy(value) for name, value in vars(self.world).items() if name != "holdings"}
        books = vars(self.world.books)
        kept["books"] = {name: copy.deepcopy(value) for name, value in books.items() if name != "payouts"}
        kept["payouts"] = {
            epoch: (one.state, one.version, one.confirmed, list(one.allotted))
            for epoch, one in books["payouts"].items()
        }
        kept["tasks_of"] = {job: list(tasks) for job, tasks in self.world.tasks_of.items()}
        holdings = self.world.holdings.items()
        kept["holdings"] = {
            who: (set(held.tasks), held.locked_msat, held.running) for who, held in holdings if held.tasks
        }
        return kept


class Outcome:
    """A command that is about to be sent."""

    def __init__(self, market: Market, actor: str, command: Command) -> None:
        self._market, self._actor, self._command = market, actor, command

    def then(self, *expected: type) -> list[AnyEvent]:
        """Events of exactly these types follow, in this order."""
        events = self._market.send(self._actor, self._command)
        assert [type(event) for event in events] == list(expected)
        return events

    def refused(self, reason: type[Refused]) -> Refused:
        """The command is refused for this reason, and the world is as it was."""
        before = self._market.snapshot()
        with pytest.raises(reason) as caught:
            self._market.send(self._actor, self._command)
        assert self._market.snapshot() == before
        return caught.value


def admission(program: str, meter: Meter = SMALL) -> AdmitProgram:
    """What the inspector says of a program."""
    return AdmitProgram(program, "1d" * 32, meter, ("cpu", "cuda"), "0.10.2")


def a_job(**terms: object) -> PostJob:
    """A job that anyone would take; change what the test is about."""
    usual: dict[str, object] = {
        "escrow": escrow_id(CLIENT),
        "program": PROGRAM,
        "tasks": 1,
        "price_msat": 100,
        "stake_msat": 400,
        "timeout_s": 30,
        "expires_at": NOW + timedelta(hours=1),
    }
    return PostJob(**{**usual, **terms})  # type: ignore[arg-type]


def a_market() -> Market:
    """A market with a funded client and three workers."""
    return Market().with_client().with_worker(ANNA, BEN, CARL)
