"""Random histories, made by the market's own rules: clients, workers and a referee who do whatever they may.

``Simulation(seed).run(steps)`` plays a seeded game with replicas, disputes, failures, expiries, cancellations, refunds,
and a chain with payouts and reorganisations; ``records`` is the log that a market would have written. ``play_out`` ends
every job.
"""

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from domain import blobs, commands, dispute, escrow, job, settlement, stake, task, worker
from domain.commands import Actor
from domain.errors import Refused
from domain.ids import escrow_id
from domain.market import Fact, World
from domain.meter import Meter
from services.ledger import codec
from services.ports import Stored
from tests.simulate_chain import ChainGame

START = datetime(2030, 1, 1, tzinfo=UTC)


def key(name: str) -> str:
    """A party's key, for tests."""
    digest = hashlib.sha512(name.encode()).digest()
    return "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[byte & 31] for byte in digest[:56])


OPERATOR, REFEREE, SETTLEMENT, CLOCK, INSPECTOR, ARBITER = (
    key(name) for name in ("operator", "referee", "settlement", "clock", "inspector", "arbiter")
)
BLOB = blobs.blob_ref(b"program", "0" * 32)


class Simulation:
    def __init__(
        self, seed: int, *, clients: int = 3, workers: int = 6, operator: str = OPERATOR, on_chain: bool = True
    ) -> None:
        """Args:
        on_chain: Whether the market joins a chain; without one deposits are settlement's word, as in older logs.
        """
        self.random = random.Random(seed)
        self.settlement, self.arbiter = SETTLEMENT, ARBITER
        self.chain = ChainGame(self, seed) if on_chain else None
        self.world = World(operator)
        self.now = START
        self.records: list[Stored] = []
        self.refusals = 0
        self.serial = 0
        self.clients = [key(f"client {seed} {n}") for n in range(clients)]
        self.workers = [key(f"worker {seed} {n}") for n in range(workers)]
        self.secrets: dict[tuple[str, int, str], task.SubmitResult] = {}
        for role, party in (
            ("referee", REFEREE),
            ("settlement", SETTLEMENT),
            ("clock", CLOCK),
            ("inspector", INSPECTOR),
        ):
            self.do(commands.GrantRole(role, party), operator)  # type: ignore[arg-type]
        self.do(commands.SetFee(300_000, 60_000 if on_chain else 0), operator)
        meter = Meter(3_000_000_000, 0, 1_000_000_000, 1 << 20, 64, 64)
        self.do(commands.AdmitProgram(BLOB.address, "1d" * 32, meter, ("cpu",), "0.10.2"), INSPECTOR)
        for party in self.clients:
            self.deposit("escrow", party, 10_000_000)
        for party in self.workers:
            self.do(worker.RegisterWorker("cpu", 4, 8192, "0.10.2"), party)
            self.deposit("stake", party, 100_000)
            rates = {"tflop_msat": self.random.randint(0, 1_000), "gb_msat": self.random.randint(0, 2)}
            self.do(worker.PlaceAsk(self.random.randint(1, 5), self.random.randint(1, 8), 4096, **rates), party)

    # ------------------------------------------------------------------------------------------------------ one command
    def do(self, command: commands.Command, actor: str, item: int = 0) -> list[Fact]:
        """Send a command; a refusal is counted and changes nothing."""
        self.serial += 1
        try:
            facts = self.world.execute(command, Actor(actor, f"{self.serial:032x}", item), self.now)
        except Refused:
            self.refusals += 1
            return []
        self.write(facts, actor)
        return facts

    def write(self, facts: list[Fact], actor: str) -> None:
        for event, stream, version in facts:
            meta = codec.encode_meta(codec.Meta(actor, f"{self.serial:032x}", f"{self.serial:016x}"))
            position = len(self.records) + 1
            record = (position, stream, version, codec.NAMES[type(event)], codec.encode(event), meta, self.now)
            self.records.append(Stored(*record))

    def deposit(self, account: str, owner: str, amount_msat: int) -> None:
        if self.chain is not None:
            self.chain.pay_in(account, owner, amount_msat)
            return
        deposit = settlement.ConfirmDeposit(account, owner, amount_msat, f"{self.serial:016x}")  # type: ignore[arg-type]
        self.do(deposit, SETTLEMENT)

    # ------------------------------------------------------------------------------------------------------------ moves
    def post(self, *, tasks: int | None = None, replicas: int | None = None, stake_msat: int | None = None) -> None:
        client, chance = self.random.choice(self.clients), self.random
        command = job.PostJob(
            escrow=escrow_id(client),
            program=BLOB,
            tasks=tasks or chance.randint(1, 12),
            price_msat=chance.randint(2, 9),
            expires_at=self.now + timedelta(seconds=chance.randint(60, 4000)),
            replicas=replicas or chance.randint(1, 3),
            stake_msat=chance.choice((0, 5, 40)) if stake_msat is None else stake_msat,
            timeout_s=chance.randint(5, 60),
            reuse=chance.random() < 0.3,
        )
        self.do(command, client)

    def assign(self, lease: int = 8) -> None:
        """Give a random worker what it may take, as the matcher would."""
        party = self.random.choice(self.workers)
        given = 0
        for job_id, owner in self.world.jobs.items():
            if owner.state is not job.State.OPEN:
                continue
            for index, found in enumerate(self.world.tasks_of[job_id]):
                if given == lease or not self.world.may_work(party, owner.terms):
                    break
                if not found.closed and task.open_replica(found) is not None and task.may_take(found, party):
                    until = self.now + timedelta(seconds=owner.terms.timeout_s * lease)
                    self.write([self.world.assign(job_id, index, party, until)], party)
                    given += 1

    def run_job(self, client: str, chance: random.Random, *, price_msat: int, tasks: int) -> None:
        """A job from its posting to its end, done by whoever may."""
        terms = {"price_msat": price_msat, "tasks": tasks, "expires_at": self.now + timedelta(hours=1)}
        posted = self.do(job.PostJob(escrow=escrow_id(client), program=BLOB, stake_msat=0, **terms), client)  # type: ignore[arg-type]
        for index in range(tasks if posted else 0):
            owner = self.world.jobs[posted[0].event.job]  # type: ignore[union-attr]
            able = [party for party in self.workers if self.world.may_work(party, owner.terms)]
            if able:
                party = chance.choice(able)
                until = self.now + timedelta(seconds=600)
                self.write([self.world.assign(owner.terms.job, index, party, until)], party)
                self._answer(party, owner.terms.job, index, f"{owner.terms.job} {index}")
                self.do(self.secrets[owner.terms.job, index, party], party)

    def held(self, party: str, phase: task.Phase) -> list[tuple[str, int]]:
        found = sorted(self.world.holding(party).tasks)
        slots = ((at, s) for at in found for s in self.world.tasks_of[at[0]][at[1]].slots)
        return [at for at, slot in slots if slot.worker == party and slot.phase is phase]

    def commit(self, party: str, *, honest: bool = True) -> None:
        for job_id, index in self.held(party, task.Phase.ASSIGNED):
            plain = f"{job_id} {index}" if honest else f"wrong {party} {job_id} {index}"
            self._answer(party, job_id, index, plain)

    def _answer(self, party: str, job_id: str, index: int, plain: str) -> None:
        """Commit to a result, and keep what opens it."""
        salt = f"{self.serial:032x}"
        result = blobs.blob_ref(plain.encode(), salt)
        equality = blobs.equality_tag(blobs.digest_of(plain.encode()), job_id, index)
        submission = task.SubmitResult(job_id, index, salt, result, equality)
        bound = blobs.result_commitment(party, job_id, index, salt, result, equality)
        if self.do(task.CommitResult(job_id, index, bound), party):
            self.secrets[job_id, index, party] = submission

    def submit(self, party: str) -> None:
        for job_id, index in self.held(party, task.Phase.COMMITTED):
            self.do(self.secrets[job_id, index, party], party)

    def rule(self) -> None:
        """The referee upholds whoever returned the right bytes."""
        for (job_id, index), found in list(self.world.disputes.items()):
            if not found.open:
                continue
            right = blobs.equality_tag(blobs.digest_of(f"{job_id} {index}".encode()), job_id, index)
            slots = self.world.tasks_of[job_id][index].slots
            upheld = tuple(s.worker for s in slots if s.worker in found.workers and s.equality == right)
            rejected = tuple(party for party in found.workers if party not in upheld)
            self.do(dispute.RuleDispute(job_id, index, upheld, rejected, BLOB), REFEREE)

    def expire(self) -> None:
        for job_id, tasks in list(self.world.tasks_of.items()):
            if self.world.jobs[job_id].terms.expires_at <= self.now:
                self.do(commands.ExpireJob(job_id), CLOCK)
            for index, found in enumerate(tasks):
                for slot in found.slots:
                    if slot.expires_at is not None and slot.expires_at <= self.now:
                        self.do(commands.ExpireAssignment(job_id, index, slot.worker), CLOCK)

    def disturb(self) -> None:
        """Something that does not help: a failure, a return, a pause, a cancellation, a refund, a withdrawal."""
        chance, party = self.random, self.random.choice(self.workers)
        client = chance.choice(self.clients)
        held = sorted(self.world.holding(party).tasks)
        moves: list[tuple[commands.Command, str]] = [
            (task.ReturnTasks(), party),
            (worker.PauseWorker(), party),
            (worker.MeasureCapability(10**9, 10**8), party),
            (worker.WithdrawAsk(), party),
            (stake.WithdrawStake(chance.randint(1, 50_000)), party),
            (escrow.RefundEscrow(chance.randint(1, 1000)), client),
        ]
        moves += [(task.FailTask(*chance.choice(held), "crash"), party)] * 4 if held else []
        if self.world.jobs and chance.random() < 0.2:
            picked = chance.choice(list(self.world.jobs))
            moves += [(job.CancelJob(picked), self.world.jobs[picked].terms.client)] * 4
        self.do(*chance.choice(moves))

    def recover(self) -> None:
        for party in self.workers:
            self.do(worker.ResumeWorker(), party)
            self.do(worker.PlaceAsk(1, 8, 4096), party)

    # ------------------------------------------------------------------------------------------------------------- play
    def step(self) -> None:
        if self.chain is not None:
            self.chain.step()
        party = self.random.choice(self.workers)
        honest = self.random.random() < 0.85
        moves: list[tuple[Callable[[], None], int]] = [
            (self.post, 3),
            (self.assign, 20),
            (lambda: self.commit(party, honest=honest), 20),
            (lambda: self.submit(party), 20),
            (self.rule, 4),
            (self.expire, 3),
            (self.disturb, 5),
            (self.recover, 2),
        ]
        self.random.choices([move for move, _ in moves], [weight for _, weight in moves])[0]()
        self.now += timedelta(seconds=self.random.random() * 5)

    def run(self, steps: int) -> "Simulation":
        for _ in range(steps):
            self.step()
        return self

    def play_out(self) -> "Simulation":
        """Let every deadline pass: whatever is left ends."""
        for _ in range(100):
            if all(found.state is job.State.COMPLETED for found in self.world.jobs.values()):
                return self
            self.now += timedelta(days=31)
            self.expire()
            for party in self.workers:
                self.submit(party)
            self.rule()
        raise AssertionError("a job never ends")
