"""A market on a chain that pays its workers, for tests: its log by the market's own rules, blocks mined in Python.

Jobs of the game that all tests look at: ``stranger`` and ``more`` are another client's and are paid by one payout each,
``paid`` by both, and ``earned`` is not paid yet.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from struct import Struct

from domain import bitcoin, commands, escrow, payout, settlement, worker
from domain.blobs import blob_ref, equality_tag, result_commitment
from domain.books import key_of
from domain.events import Account, JobPosted, PayoutPlanned
from domain.ids import escrow_id
from domain.job import PostJob
from domain.market import Fact
from domain.task import CommitResult, SubmitResult
from services.ledger import merkle
from services.ports import Stored
from tests.simulate import BLOB, SETTLEMENT, Simulation, key

#: The hardest that a test wants to work: every second header will do.
EASY = 0x207FFFFF
START_HEIGHT = 110
_HEADER = Struct("<i32s32sIII")


def point(name: str) -> str:
    """A public key, of which nobody has the secret."""
    x = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    while not bitcoin.is_key(b"\x02" + x.to_bytes(32, "big")):
        x += 1
    return "02" + x.to_bytes(32, "big").hex()


def txid(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def script(name: str) -> str:
    """Where a party is paid."""
    return "0014" + hashlib.sha256(name.encode()).hexdigest()[:40]


def mine(txids: Sequence[str], at_s: int, *, bits: int = EASY, worked: bool = True) -> bytes:
    """The header of a block that holds these transactions.

    Args:
        worked: Its hash is as small as it says; else it is not.
    """
    root = bitcoin.merkle_root_from(txids[0], 0, bitcoin.merkle_branch(txids, 0))
    nonce = 0
    while True:
        header = _HEADER.pack(0x20000000, bytes(32), root, at_s, bits, nonce)
        if bitcoin.has_work(header) is worked:
            return header
        nonce += 1


class Payroll:
    """Commands that a market on a chain takes; ``game.records`` is its log."""

    def __init__(self, operator: str, *, workers: int = 3) -> None:
        self.game = Simulation(5, clients=0, workers=0, operator=operator)
        self.operator, self.height, self._jobs = operator, START_HEIGHT, 0
        arbiter, keys = key("arbiter"), (point("market"), point("arbiter"))
        self.do(commands.SetFee(10_000, 20_000), operator)
        self.do(
            settlement.JoinChain("regtest", self.height, txid("tip"), 1, arbiter, *keys, script("market")), SETTLEMENT
        )
        self.clients = [key(f"client {number}") for number in range(2)]
        self.workers = [key(f"worker {number}") for number in range(workers)]
        for client in self.clients:
            self.do(settlement.OpenEscrow(point(client), point(f"{client} refund"), 2_000, script(client)), client)
            self.deposit("escrow", client, 2_000_000)
        for party in self.workers:
            self.do(worker.RegisterWorker("cpu", 4, 8192, "0.10.2"), party)
            self.do(worker.PlaceAsk(100, 64, 4096), party)
            self.do(settlement.OpenStake(point(party), point(f"{party} refund"), 2_000, script(party)), party)
            self.deposit("stake", party, 50_000)

    @property
    def records(self) -> list[Stored]:
        return self.game.records

    def do(self, command: commands.Command, actor: str) -> list[Fact]:
        """Send a command, which must be taken."""
        facts = self.game.do(command, actor)
        assert facts, f"{command} was refused or changed nothing"
        return facts

    def deposit(self, account: Account, owner: str, amount_sat: int) -> None:
        term = self.game.world.books.term_of(key_of(account, owner))
        assert term is not None, "the account is open"
        where = (txid(f"{account} {owner} {len(self.records)}"), 0, self.height, term.script.hex())
        self.do(settlement.ConfirmDeposit(account, owner, amount_sat * 1_000, *where), SETTLEMENT)  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------------------------- jobs
    def post(self, client: str, tasks: int, price_sat: int, *, reuse: bool = False, replicas: int = 1) -> str:
        self._jobs += 1
        terms = PostJob(
            escrow=escrow_id(client),
            program=BLOB,
            shared=None if reuse else blob_ref(f"job {self._jobs}".encode(), f"{self._jobs:032x}"),
            tasks=tasks,
            price_msat=price_sat * 1_000,
            expires_at=self.game.now + timedelta(hours=1),
            replicas=replicas,
            stake_msat=1_000,
            timeout_s=60,
            reuse=reuse,
        )
        posted = self.do(terms, client)[0].event
        assert isinstance(posted, JobPosted)
        return posted.job

    def work(self, job: str, tasks: Sequence[int], workers: Sequence[str] | None = None) -> None:
        """Have these tasks done, by one worker after the other."""
        parties = workers or self.workers
        for task in tasks:
            party = parties[task % len(parties)]
            until = self.game.now + timedelta(seconds=60)
            self.game.write([self.game.world.assign(job, task, party, until)], party)
            answer, salt = f"{job} {task}".encode(), f"{task:032x}"
            result, equality = blob_ref(answer, salt), equality_tag(answer, job, task)
            bound = result_commitment(party, job, task, salt, result, equality)
            self.do(CommitResult(job, task, bound), party)
            self.do(SubmitResult(job, task, salt, result, equality), party)

    # ---------------------------------------------------------------------------------------------------------- payouts
    def plan(self, *, rate_msat: int = 1_000) -> int:
        """Plan a payout that commits to the log as it is; its epoch."""
        size = len(self.records)
        root = merkle.Tree(map(merkle.leaf, self.records)).root().hex()
        planned = self.do(settlement.PlanPayout(rate_msat, size, root), SETTLEMENT)[0].event
        assert isinstance(planned, PayoutPlanned)
        return planned.epoch

    def txid_of(self, epoch: int, rung: int = 0) -> str:
        found = self.game.world.books.payouts[epoch]
        return bitcoin.txid(payout.transaction(found.planned, found.allotted, rung))

    def confirm(self, epoch: int, *, rung: int = 0, others: int = 5) -> str:
        """Send it and mine it in the next block, among other transactions; the block's id."""
        self.height += 1
        found = self.txid_of(epoch, rung)
        if self.game.world.books.payouts[epoch].sent != found:
            self.do(settlement.RecordBroadcast(epoch, found), SETTLEMENT)
        txids = [txid(f"{self.height} {number}") for number in range(others)]
        index = others // 2
        txids.insert(index, found)
        header = mine(txids, int(self.game.now.timestamp()))
        branch = tuple(beside.hex() for beside in bitcoin.merkle_branch(txids, index))
        self.do(settlement.AdvanceChain(self.height, bitcoin.block_hash(header)), SETTLEMENT)
        self.do(settlement.ConfirmPayout(epoch, found, self.height, header.hex(), index, branch), SETTLEMENT)
        return bitcoin.block_hash(header)

    def pay(self, *, rung: int = 0) -> str:
        return self.confirm(self.plan(), rung=rung)

    def reorganise(self, height: int) -> None:
        self.height = height
        self.do(settlement.ReorganiseChain(height, txid(f"other tip {height}")), SETTLEMENT)

    def refund(self, client: str, amount_sat: int) -> None:
        self.do(escrow.RefundEscrow(amount_sat * 1_000), client)


class Played:
    """A game that was played, and its jobs by what became of them."""

    def __init__(self, operator: str) -> None:
        market = self.market = Payroll(operator)
        ours, theirs = market.clients
        self.stranger = market.post(theirs, 12, 5_000)
        market.work(self.stranger, range(12))
        self.paid = market.post(ours, 9, 5_000)
        market.work(self.paid, range(4), market.workers[:2])
        self.blocks = [market.pay()]
        market.work(self.paid, range(4, 9))
        self.more = market.post(theirs, 7, 6_000)
        market.work(self.more, range(7))
        market.refund(theirs, 100_000)
        self.blocks.append(market.pay(rung=1))
        self.earned = market.post(ours, 2, 100)
        market.work(self.earned, range(2), market.workers[:1])

    @property
    def records(self) -> list[Stored]:
        return self.market.records


@lru_cache
def played(operator: str) -> Played:
    """The same game for all tests; it is not to be gone on with."""
    return Played(operator)
