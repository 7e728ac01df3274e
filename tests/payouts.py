"""Histories of money on a chain, made by the market's own rules: what settlement saw, planned, sent and saw undone.

``Payday()`` is a market that has joined regtest, with funded clients and workers who are paid to addresses; its methods
are what happens, one a line. ``told()`` is a history with one of each fate, ``Payday(seed).run(steps)`` a random one.
``records`` is the log that the market would have written.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from domain import bitcoin, blobs, commands, dispute, escrow, events, job, payout, settlement, stake, task, worker
from domain.books import Books, State, key_of
from domain.commands import Actor
from domain.errors import Refused
from domain.events import AnyEvent
from domain.ids import escrow_id
from domain.market import Fact, World
from domain.meter import Meter
from services.ledger import codec
from services.ports import Stored
from tests.history import tree_of
from tests.minting import block_of, digest, p2wpkh, point
from tests.simulate import BLOB, CLOCK, INSPECTOR, OPERATOR, REFEREE, SETTLEMENT, key

ARBITER = key("arbiter")
START = datetime(2030, 1, 1, tzinfo=UTC)
#: The block at which the market joins, and the term of accounts in blocks.
JOINED, TERM = 110, 2_000


class Payday:
    """Attributes:
    refusals: Commands that the market refused, which changed nothing.
    """

    def __init__(self, seed: int = 1, *, clients: int = 2, workers: int = 4) -> None:
        self.random = random.Random(seed)
        self.world = World(OPERATOR)
        self.now = START
        self.records: list[Stored] = []
        self.refusals = self.serial = 0
        self.clients = [key(f"client {seed} {n}") for n in range(clients)]
        self.workers = [key(f"worker {seed} {n}") for n in range(workers)]
        self.terms: dict[str, int] = {}
        roles = {"referee": REFEREE, "settlement": SETTLEMENT, "clock": CLOCK, "inspector": INSPECTOR}
        for role, party in roles.items():
            self.do(commands.GrantRole(role, party), OPERATOR)  # type: ignore[arg-type]
        self.do(commands.SetFee(20_000, 20_000), OPERATOR)
        meter = Meter(3_000_000_000, 0, 1_000_000_000, 1 << 20, 64, 64)
        self.do(commands.AdmitProgram(BLOB.address, "1d" * 32, meter, ("cpu",), "0.10.2"), INSPECTOR)
        ours = ARBITER, point("market"), point("arbiter"), p2wpkh("market")
        self.do(settlement.JoinChain("regtest", JOINED, digest("block", JOINED), 1, *ours), SETTLEMENT)
        for party in self.clients:
            self.open(party)
            self.deposit("escrow", party, 2_000_000)
        for party in self.workers:
            self.do(worker.RegisterWorker("cpu", 4, 8192, "0.10.2"), party)
            self.do(worker.PlaceAsk(100, 8, 4096), party)
        for party in self.workers[:-1]:  # the last one never opens an account: it cannot be paid
            self.open(party)
            self.deposit("stake", party, 40_000)

    @property
    def books(self) -> Books:
        return self.world.books

    # ------------------------------------------------------------------------------------------------------ one command
    def do(self, command: commands.Command, actor: str) -> list[AnyEvent]:
        """Send a command; a refusal is counted and changes nothing."""
        self.serial += 1
        try:
            facts = self.world.execute(command, Actor(actor, f"{self.serial:032x}", 0), self.now)
        except Refused:
            self.refusals += 1
            return []
        self.write(facts, actor)
        return [fact.event for fact in facts]

    def write(self, facts: Sequence[Fact], actor: str) -> None:
        self.now += timedelta(seconds=1)
        for event, stream, version in facts:
            meta = codec.encode_meta(codec.Meta(actor, f"{self.serial:032x}", f"{self.serial:016x}"))
            position = len(self.records) + 1
            record = (position, stream, version, codec.NAMES[type(event)], codec.encode(event), meta, self.now)
            self.records.append(Stored(*record))

    # --------------------------------------------------------------------------------------------------------- accounts
    def open(self, party: str) -> None:
        """Open an account, or its next term."""
        number = self.terms[party] = self.terms.get(party, 0) + 1
        keys = point(f"release {party} {number}"), point(f"refund {party} {number}")
        until, paid_to = self.books.height + TERM, p2wpkh(f"{party} {number}")
        make = settlement.OpenEscrow if party in self.clients else settlement.OpenStake
        self.do(make(*keys, until, paid_to), party)

    def deposit(self, account: events.Account, owner: str, amount_sat: int) -> None:
        """A payment to the newest script of an account."""
        term = self.books.term_of(key_of(account, owner))
        assert account != "reserve"
        assert term is not None
        paid = digest("deposit", self.serial), 0, self.books.height, term.script.hex()
        self.do(settlement.ConfirmDeposit(account, owner, amount_sat * 1000, *paid), SETTLEMENT)

    def advance(self, blocks: int = 1) -> None:
        height = self.books.height + blocks
        self.do(settlement.AdvanceChain(height, digest("block", height, self.serial)), SETTLEMENT)

    def reorganise(self, blocks: int = 1) -> None:
        """The last blocks are gone."""
        height = max(1, self.books.height - blocks)
        self.do(settlement.ReorganiseChain(height, digest("block", height, self.serial)), SETTLEMENT)

    def restore(self) -> None:
        """What the chain lost of deposits is there again."""
        for outpoint, coin in list(self.books.reorged.items()):
            amount_msat, (txid, vout) = coin.value_sat * 1000, bitcoin.outpoint(outpoint)
            assert coin.term.account != "reserve"
            account, owner, script = coin.term.account, coin.term.owner, coin.term.script.hex()
            found = settlement.ConfirmDeposit(account, owner, amount_msat, txid, vout, self.books.height, script)
            self.do(found, SETTLEMENT)

    def take(self, key_: str) -> None:
        """Somebody spends an output of an account without the market, or what made one that had left the chain."""
        lost = [coin for coin in self.books.reorged.values() if coin.key == key_]
        coin = next(iter([*self.books.coins_of(key_), *lost]), None)
        if coin is not None:
            txid, vout = bitcoin.outpoint(coin.outpoint)
            spent_by = digest("taken", self.serial)
            self.do(settlement.ReportTaken(txid, vout, spent_by, self.books.height), SETTLEMENT)

    # ------------------------------------------------------------------------------------------------------------- work
    def job(
        self, tasks: int = 6, price_msat: int = 5_000_000, *, client: int = 0, cheats: bool = False, stake_msat: int = 0
    ) -> str:
        """A job from its posting to its end; with ``cheats`` a worker returns something else and loses its stake."""
        owner = self.clients[client]
        posted = self.do(
            job.PostJob(
                escrow=escrow_id(owner),
                program=BLOB,
                tasks=tasks,
                price_msat=price_msat,
                expires_at=self.now + timedelta(hours=1),
                replicas=2 if cheats else 1,
                stake_msat=stake_msat,
                timeout_s=60,
                reuse=False,
            ),
            owner,
        )
        if not posted:
            return ""
        found = posted[0]
        assert isinstance(found, events.JobPosted)
        for index in range(tasks):
            self._run(found, index, cheats=cheats)
        self.do(commands.ExpireJob(found.job), CLOCK)
        return found.job

    def _run(self, posted: events.JobPosted, index: int, *, cheats: bool) -> None:
        able = [one for one in self.workers if self.world.may_work(one, posted)]
        chosen = able[index % len(able) :] + able[: index % len(able)] if able else []
        told = [
            (party, self._take_on(posted.job, index, party, b"wrong" if cheats and not place else b"right"))
            for place, party in enumerate(chosen[: posted.replicas])
        ]
        for party, submission in told:
            self.do(submission, party)
        if (posted.job, index) in self.world.disputes:
            (liar, _), (upheld, _) = told
            self.do(dispute.RuleDispute(posted.job, index, (upheld,), (liar,), BLOB), REFEREE)
            self.do(worker.ResumeWorker(), liar)
            for party in chosen[2:3]:
                self.do(self._take_on(posted.job, index, party, b"right"), party)

    def _take_on(self, job_id: str, index: int, party: str, plain: bytes) -> task.SubmitResult:
        """A run from its assignment to the commitment; what is to be submitted then."""
        self.write([self.world.assign(job_id, index, party, self.now + timedelta(seconds=600))], party)
        salt = f"{self.serial:032x}"
        result, equality = blobs.blob_ref(plain, salt), blobs.equality_tag(plain, job_id, index)
        bound = blobs.result_commitment(party, job_id, index, salt, result, equality)
        self.do(task.CommitResult(job_id, index, bound), party)
        return task.SubmitResult(job_id, index, salt, result, equality)

    def refund(self, amount_sat: int, client: int = 0) -> None:
        self.do(escrow.RefundEscrow(amount_sat * 1000), self.clients[client])

    def withdraw(self, amount_sat: int, party: int = 0) -> None:
        self.do(stake.WithdrawStake(amount_sat * 1000), self.workers[party])

    # ---------------------------------------------------------------------------------------------------------- payouts
    def plan(self, rate_msat: int = 1_000) -> int:
        """Plan what is due; the epoch, 0 if nothing is."""
        size = len(self.records)
        planned = self.do(settlement.PlanPayout(rate_msat, size, tree_of(self.records).root.hex()), SETTLEMENT)
        return planned[0].epoch if planned and isinstance(planned[0], events.PayoutPlanned) else 0

    def txid(self, epoch: int, rung: int = 0) -> str:
        found = self.books.payouts[epoch]
        rung = min(rung, len(found.planned.fees_sat) - 1)
        return bitcoin.txid(payout.transaction(found.planned, found.allotted, rung))

    def send(self, epoch: int, rung: int = 0) -> None:
        self.do(settlement.RecordBroadcast(epoch, self.txid(epoch, rung)), SETTLEMENT)

    def confirm(self, epoch: int, rung: int = 0) -> None:
        """The next block holds it."""
        self.advance()
        txid, height = self.txid(epoch, rung), self.books.height
        header, branch = block_of(txid, height, self.serial)
        self.do(settlement.ConfirmPayout(epoch, txid, height, header, 1, branch), SETTLEMENT)

    def contest(self, epoch: int) -> None:
        self.do(settlement.ContestPayout(epoch, "plan"), ARBITER)

    def abandon(self, epoch: int) -> None:
        self.do(settlement.AbandonPayout(epoch), SETTLEMENT)

    def pay(self, rate_msat: int = 1_000, rung: int = 0) -> int:
        """A payout from plan to block."""
        epoch = self.plan(rate_msat)
        if epoch:
            self.send(epoch, rung)
            self.confirm(epoch, rung)
        return epoch

    # ------------------------------------------------------------------------------------------------------------- play
    def step(self) -> None:
        chance = self.random
        unsettled = [epoch for epoch, found in self.books.payouts.items() if found.open]
        epoch, rung = (unsettled[0] if unsettled else 0), chance.randrange(3)
        moves: list[tuple[Callable[[], object], int]] = [
            (self._some_job, 8),
            (lambda: self.refund(chance.choice((700, 5_000, 40_000)), chance.randrange(2)), 2),
            (lambda: self.withdraw(chance.choice((500, 3_000)), chance.randrange(len(self.workers))), 2),
            (self._some_deposit, 3),
            (lambda: self.advance(chance.choice((1, 1, 2, 400))), 4),
            (lambda: self.reorganise(chance.choice((1, 2, 6))), 2),
            (self.restore, 3),
            (lambda: self.plan(chance.choice((1_000, 1_000, 2_500, 9_000))), 8),
            (lambda: self.open(chance.choice(self.clients + self.workers[:-1])), 1),
            (lambda: self.do(settlement.ReturnLapsed(), SETTLEMENT), 1),
        ]
        if chance.random() < 0.04:
            self.take(chance.choice([*map(escrow_id, self.clients), *self.workers]))
        if epoch and self.books.payouts[epoch].state is State.CONTESTED:
            moves.append((lambda: self.abandon(epoch), 8))
        elif epoch:
            moves += [(lambda: self.send(epoch, rung), 10), (lambda: self.confirm(epoch, rung), 12)]
            moves += [(lambda: self.contest(epoch), 1), (lambda: self.abandon(epoch), 2)]
        chance.choices([move for move, _ in moves], [weight for _, weight in moves])[0]()

    def _some_job(self) -> None:
        chance = self.random
        price_msat, cheats = chance.choice((40_500, 4_700_250, 9_000_000)), chance.random() < 0.3
        stake_msat = chance.choice((0, 300_000)) if not cheats else 1_500_000
        self.job(chance.randint(1, 5), price_msat, client=chance.randrange(2), cheats=cheats, stake_msat=stake_msat)

    def _some_deposit(self) -> None:
        party = self.random.choice([*self.clients, *self.workers[:-1]])
        self.deposit("escrow" if party in self.clients else "stake", party, self.random.randint(1_000, 90_000))

    def run(self, steps: int) -> "Payday":
        for _ in range(steps):
            self.step()
        return self


@cache
def told() -> Payday:
    """One of each fate: paid at the second rung after a reorganisation, given up, paid, reserved, and one under way."""
    day = Payday()
    day.advance(3)
    day.job(8, 5_000_000)
    first = day.plan()
    day.send(first)
    day.confirm(first)
    day.reorganise()
    day.send(first, 1)
    day.confirm(first, 1)
    day.job(4, 4_500_000, client=1, cheats=True, stake_msat=9_500_000)
    day.job(3, 40_500)
    day.contest(day.plan())
    day.abandon(2)
    day.refund(50_000)
    day.withdraw(4_000, 1)
    day.pay(2_000)
    day.open(day.clients[0])
    day.deposit("escrow", day.clients[0], 60_000)
    day.deposit("stake", day.workers[2], 5_000)
    day.advance()
    day.take(day.workers[2])
    day.job(6, 16_500_250, client=1)
    day.send(day.plan(1_500))
    return day
