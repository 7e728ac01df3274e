"""A market that settles, in one process: the rules' world, a real chain, real wallets, and no broker between them.

Every command runs on ``World`` and is written down; settlement's follower and the arbiter's ledger read the records.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from nats.aio.client import Client

from domain.bitcoin import TxOut
from domain.blobs import equality_tag, result_commitment
from domain.books import key_of
from domain.commands import Actor, AdmitProgram, Command, GrantRole, SetFee
from domain.errors import Refused
from domain.events import Account
from domain.ids import escrow_id
from domain.job import PostJob
from domain.market import Fact, World
from domain.settlement import JoinChain, OpenEscrow, OpenStake
from domain.task import CommitResult, SubmitResult
from domain.worker import PlaceAsk, RegisterWorker
from services.bus.client import Commander
from services.bus.commands import Refusal, Reply
from services.config import Settings
from services.ledger import codec, merkle
from services.ledger.root import SignedRoot
from services.ports import BlockId, Chain, Stored
from services.settlement import lib
from services.settlement.agent import Agent, Terms
from services.settlement.arbiter import Arbiter
from services.settlement.cosigning import Declined, Signed, SignPayout
from services.settlement.follower import MONEY, Follower
from services.settlement.funding import Funding
from services.settlement.outbox import Outbox
from services.settlement.regtest import RegtestChain
from services.settlement.treasury import Treasury
from services.settlement.verdicts import Verdicts
from services.settlement.wallet import Role, wallet
from tests import spec
from tests.spec import CLIENT, NONCE, OPERATOR, PROGRAM

START = datetime(2026, 1, 1, tzinfo=UTC)
ARBITER = spec.key("B")
NEVER = timedelta(days=1000)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time


class Settling:
    """A world on a chain, with whom it takes to pay."""

    def __init__(
        self,
        home: Path,
        chain: RegtestChain,
        clock: Clock,
        operator: str = OPERATOR,
        co_signer: str = ARBITER,
        confirmations: int = 1,
    ) -> None:
        """Args:
        operator, co_signer: Keys of the market and of its arbiter.
        """
        self._confirmations = confirmations
        self.settings, self.chain, self.clock = Settings(home=home), chain, clock
        self.operator, self._co_signer = operator, co_signer
        self.world, self.records, self.tree = World(operator), list[Stored](), merkle.CompactRange()
        self.follower = Follower()
        self.arbiter_is_up, self.false_root = True, ""
        self.quiet: timedelta | None = timedelta(0)
        self.objections: list[str] = []
        self._nonce = 0
        for role in ("settlement", "clock", "inspector", "referee"):
            self.send(self.operator, GrantRole(role, self.operator))  # type: ignore[arg-type]
        self.send(self.operator, AdmitProgram(PROGRAM.address, "1d" * 32, spec.SMALL, ("cpu",), "0.10.2"))
        self.send(self.operator, SetFee(10_000, 20_000))

    async def begin(self) -> None:
        """Make the keys and the treasury, and settle for the first time."""
        library = lib.load(self.settings.home)
        self.market = wallet(self.settings, "settlement", network="regtest")
        self.arbiter_signer = wallet(self.settings, "arbiter", network="regtest").signer(Role.cosign, 0)
        self.arbiter = self.new_arbiter()
        self.cosigner = library, self.market.signer(Role.cosign, 0)
        rewards = wallet(self.settings, "treasury", network="regtest").signer(Role.payout, 0)
        self.treasury = Treasury(self.chain, rewards, lambda: None)
        await self.treasury.begin()
        self.agent = self.new_agent()
        await self.settle()

    def new_agent(self, chain: Chain | None = None) -> Agent:
        """Settlement after a crash: it knows what is on disk, on the chain and in the log."""
        self.follower = Follower()
        self._feed(self.records)
        return Agent(
            chain or self.chain,
            cast("Commander", Desk(self, self.operator)),
            self.follower,
            self._terms,
            self._ask_arbiter,
            self._root,
            self.cosigner,
            Outbox(self.settings.home / "payouts"),
            Funding(self.settings.home / "funding.json"),
            self.clock,
        )

    def new_arbiter(self, market: str = "") -> Arbiter:
        """The arbiter after a crash: it knows what is on disk and in the log.

        Args:
            market: The operator whose log it takes this one for.
        """

        async def read(position: Callable[[], int], offer: Callable[[list[Stored]], Awaitable[None]]) -> None:
            await offer(self.records[position() :])

        own = wallet(self.settings, "arbiter", network="regtest")
        commander = cast("Commander", Desk(self, self._co_signer))
        verdicts = Verdicts(self.settings.home / "verdicts.json")
        return Arbiter(cast("Client", None), market or self.operator, commander, own, read, verdicts)

    async def settle(self, blocks: int = 1) -> None:
        """Turn until nothing moves any more, with so many blocks mined on the way."""
        for left in range(blocks, -1, -1):
            await self.agent.turn()
            await self.agent.turn()
            if left:
                await self.treasury.mine(1)

    # ----------------------------------------------------------------------------------------------------- the market
    def send(self, actor: str, command: Command) -> int:
        """Do a command; the position of its last event."""
        self._nonce += 1
        facts = self.world.execute(command, Actor(actor, f"{self._nonce:032x}"), self.clock.time)
        self._write(facts, actor)
        return len(self.records) if facts else 0

    def _write(self, facts: Sequence[Fact], actor: str) -> None:
        for event, stream, version in facts:
            meta = codec.encode_meta(codec.Meta(actor, f"{self._nonce:032x}", f"{self._nonce:016x}"))
            position = len(self.records) + 1
            name, data = codec.NAMES[type(event)], codec.encode(event)
            stored = Stored(position, stream, version, name, data, meta, self.clock.time)
            self.records.append(stored)
            self.tree.extend([merkle.leaf(stored)])
            self._feed([stored])

    def _feed(self, records: Sequence[Stored]) -> None:
        self.follower.hear([stored for stored in records if stored.name in MONEY])

    async def _terms(self, start: BlockId) -> Terms:
        keys = self.cosigner[1].key.hex(), self.arbiter_signer.key.hex()
        join = JoinChain(
            "regtest", *start, self._confirmations, self._co_signer, *keys, self.market.payout_script().hex()
        )
        return Terms(join=join, every=NEVER, quiet=self.quiet, poll_s=1)

    async def _root(self) -> SignedRoot:
        size, root = self.tree.size, self.false_root or self.tree.root.hex()
        return SignedRoot(market=self.operator, size=size, root=root, at=START, signature="00" * 64)

    async def _ask_arbiter(self, asked: SignPayout) -> Signed | Declined:
        if not self.arbiter_is_up:
            return Declined()
        answer = await self.arbiter.answer(asked)
        if isinstance(answer, Declined) and answer.objection is not None:
            self.objections.append(answer.objection)
        return answer

    # ------------------------------------------------------------------------------------------------------ the parties
    async def opened(self, account: Account, owner: str) -> None:
        """Open an account with keys of its own wallet."""
        own, height = wallet(self.settings, owner.lower(), network="regtest"), (await self.chain.tip()).height
        index = len(self.world.books.terms.get(key_of(account, owner), ()))
        keys = own.public(Role.release, index).hex(), own.public(Role.refund, index).hex()
        terms = (*keys, height + 400, own.payout_script().hex())
        self.send(owner, OpenEscrow(*terms) if account == "escrow" else OpenStake(*terms))

    async def pay(self, account: Account, owner: str, amount_sat: int) -> str:
        """Pay to the account; it waits to be mined."""
        term = self.world.books.term_of(key_of(account, owner))
        assert term is not None
        return await self.treasury.pay(TxOut(amount_sat, term.script), lambda name, raw: None)

    async def funded(self, account: Account, owner: str, amount_sat: int) -> None:
        """Open the account, and have a deposit counted."""
        if account == "stake":
            self.send(owner, RegisterWorker("cpu", 2, 4096, "0.10.2"))
            self.send(owner, PlaceAsk(100, 1000, 2048))
        await self.opened(account, owner)
        await self.pay(account, owner, amount_sat)
        await self.settle(self._confirmations)

    def earned(self, workers: Sequence[str], runs: int, price_msat: int, client: str = CLIENT) -> str:
        """A job whose runs the workers do in turn; its id."""
        terms = {"tasks": runs, "price_msat": price_msat, "expires_at": self.clock.time + timedelta(hours=1)}
        self.send(client, PostJob(escrow=escrow_id(client), program=PROGRAM, **terms))
        job = next(reversed(self.world.jobs))
        for task in range(runs):
            worker = workers[task % len(workers)]
            self._write([self.world.assign(job, task, worker, self.clock.time + timedelta(minutes=1))], self.operator)
            result, tag = spec.result_of(b"right"), equality_tag(b"right", job, task)
            self.send(worker, CommitResult(job, task, result_commitment(worker, job, task, NONCE, result, tag)))
            self.send(worker, SubmitResult(job, task, NONCE, result, tag))
        return job

    async def unspent_sat(self, owner: str) -> list[int]:
        """What the chain holds at the owner's own address, by output."""
        script = wallet(self.settings, owner.lower(), network="regtest").payout_script()
        return [coin.value_sat for coin in await self.chain.coins(script)]


class Desk:
    """What settlement needs of a commander, straight to the world."""

    def __init__(self, settling: Settling, actor: str) -> None:
        self._settling, self._actor = settling, actor
        self.market = settling.operator

    async def send(self, items: Sequence[Command], *, strict: bool = True) -> Reply:
        position, refused = 0, []
        for number, item in enumerate(items):
            try:
                position = max(position, self._settling.send(self._actor, item))
            except Refused as refusal:
                if strict:
                    raise
                refused.append(Refusal(number, refusal.name, str(refusal)))
        return Reply(position, refused)


@asynccontextmanager
async def settling(
    home: Path, *, operator: str = OPERATOR, co_signer: str = ARBITER, confirmations: int = 1
) -> AsyncIterator[Settling]:
    """A market that has joined a new chain."""
    clock = Clock()
    chain = await RegtestChain.open(home / "chain", clock=clock)
    try:
        found = Settling(home, chain, clock, operator, co_signer, confirmations)
        await found.begin()
        yield found
    finally:
        await chain.close()
