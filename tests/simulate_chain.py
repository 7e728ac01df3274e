"""What a simulated market does on its chain: accounts, blocks, payouts and their undoing, for ``tests.simulate``."""

import random
from collections.abc import Callable
from typing import Protocol

from domain import escrow, settlement, stake
from domain.accounts import key_of
from domain.bitcoin import outpoint
from domain.books import Payout, State
from domain.commands import Command
from domain.market import Fact, World
from services.ledger import merkle
from services.ports import Stored
from tests.blocks import block_with, digest, p2wpkh, point

#: Where the market joins, and for how many blocks an account is opened at first.
JOINED, TERM = 110, 20_000


class Game(Protocol):
    """What the chain needs of the simulation."""

    world: World
    records: list[Stored]
    clients: list[str]
    workers: list[str]
    settlement: str
    arbiter: str

    def do(self, command: Command, actor: str, item: int = 0) -> list[Fact]: ...
    def run_job(self, client: str, chance: random.Random, *, price_msat: int, tasks: int) -> None: ...


class ChainGame:
    """Plays settlement, and now and then a customer of the chain. It has luck of its own, so that a market's other
    moves are the same with it as without.
    """

    def __init__(self, game: Game, seed: int) -> None:
        self.game, self.luck = game, random.Random(f"chain {seed}")
        self.tree = merkle.CompactRange()
        self.serial = 0

    # -------------------------------------------------------------------------------------------------------- accounts
    def pay_in(self, account: str, owner: str, amount_msat: int) -> None:
        """A deposit to the account's newest script; the account is opened, and the chain joined, if need be."""
        books = self.game.world.books
        if books.chain is None:
            keys = self.game.arbiter, point("market"), point("arbiter"), p2wpkh("market")
            self._tell(settlement.JoinChain("regtest", JOINED, digest("block", JOINED), 1, *keys))
        if books.term_of(key_of(account, owner)) is None:  # type: ignore[arg-type]
            self.open(account, owner)
        term = books.term_of(key_of(account, owner))  # type: ignore[arg-type]
        assert term is not None, "the account is open"
        self.serial += 1
        paid = digest("deposit", self.serial), self.luck.randrange(3), books.height, term.script.hex()
        self._tell(settlement.ConfirmDeposit(account, owner, amount_msat, *paid))  # type: ignore[arg-type]

    def open(self, account: str, owner: str) -> None:
        """The account's first or next term."""
        books = self.game.world.books
        number = len(books.terms.get(key_of(account, owner), ()))  # type: ignore[arg-type]
        keys = point(f"release {owner} {number}"), point(f"refund {owner} {number}")
        make = settlement.OpenEscrow if account == "escrow" else settlement.OpenStake
        blocks = self.luck.choice((600, TERM)) if number else TERM
        self.game.do(make(*keys, books.height + blocks, p2wpkh(f"{owner} {number}")), owner)

    def _tell(self, command: Command) -> list[Fact]:
        return self.game.do(command, self.game.settlement)

    # ----------------------------------------------------------------------------------------------------------- moves
    def step(self) -> None:
        """Mostly nothing; or one move of a payday."""
        if self.luck.random() > 0.15 or not (self.game.clients and self.game.workers):
            return
        epochs = self.game.world.books.open_payouts
        moves: list[tuple[Callable[[], object], int]] = [
            (self._earn, 6),
            (self._take_out, 2),
            (self.advance, 2),
            (self._reorganise, 1),
            (self._restore, 2),
            (self._plan, 6),
            (lambda: self.open(*self._anybody()), 1),
            (lambda: self._tell(settlement.ReturnLapsed()), 1),
            (self._rob, 1),
        ]
        if epochs:
            found = self.game.world.books.payouts[epochs[0]]
            moves = [(lambda: self._go_on(found), 20), (self._restore, 4), (self._reorganise, 1), (self._earn, 2)]
        self.luck.choices([move for move, _ in moves], [weight for _, weight in moves])[0]()

    def _anybody(self) -> tuple[str, str]:
        """Somebody's account."""
        owner = self.luck.choice(self.game.clients + self.game.workers)
        return ("escrow" if owner in self.game.clients else "stake"), owner

    def _earn(self) -> None:
        """A job whose pay is worth an output."""
        client = self.luck.choice(self.game.clients)
        price_msat, tasks = self.luck.choice((1_700_300, 9_000_000, 31_234_567)), self.luck.randint(1, 3)
        self.pay_in("escrow", client, tasks * price_msat * 2 // 1_000 * 1_000)
        self.game.run_job(client, self.luck, price_msat=price_msat, tasks=tasks)

    def _take_out(self) -> None:
        account, owner = self._anybody()
        if account == "escrow":
            self.game.do(escrow.RefundEscrow(self.luck.choice((700_000, 4_000_001))), owner)
        else:
            self.pay_in("stake", owner, 3_000_000)
            self.game.do(stake.WithdrawStake(self.luck.choice((500_000, 2_500_000))), owner)

    def advance(self) -> None:
        height = self.game.world.books.height + self.luck.choice((1, 1, 1, 2, 150))
        self.serial += 1
        self._tell(settlement.AdvanceChain(height, digest("block", height, self.serial)))

    def _reorganise(self) -> None:
        books = self.game.world.books
        height = max(JOINED, books.floor, books.height - self.luck.choice((1, 1, 2, 4)))
        self.serial += 1
        self._tell(settlement.ReorganiseChain(height, digest("block", height, self.serial)))
        self.advance()

    def _restore(self) -> None:
        """What left the chain is in it again."""
        books = self.game.world.books
        for reference, coin in list(books.reorged.items()):
            amount_msat, (txid, vout) = coin.value_sat * 1_000, outpoint(reference)
            said = amount_msat, txid, vout, books.height, coin.term.script.hex()
            self._tell(settlement.ConfirmDeposit(coin.term.account, coin.term.owner, *said))  # type: ignore[arg-type]

    def _rob(self) -> None:
        """Somebody spends a small output without the market."""
        books = self.game.world.books
        small = [coin for coin in books.coins.values() if coin.value_sat < 5_000]
        if small:
            txid, vout = outpoint(self.luck.choice(small).outpoint)
            self.serial += 1
            self._tell(settlement.ReportTaken(txid, vout, digest("taken", self.serial), books.height))

    # --------------------------------------------------------------------------------------------------------- payouts
    def _plan(self) -> None:
        """Bind the log as it is."""
        records = self.game.records
        self.tree.extend(map(merkle.leaf, records[self.tree.size :]))
        rate_msat = self.luck.choice((1_000, 1_000, 1_700))
        self._tell(settlement.PlanPayout(rate_msat, self.tree.size, self.tree.root.hex()))

    def _go_on(self, found: Payout) -> None:
        """What comes next for a payout."""
        epoch = found.planned.epoch
        txid = self.luck.choice(found.txids)
        match found.state:
            case State.CONTESTED:
                self._tell(settlement.AbandonPayout(epoch))
            case State.PLANNED if self.luck.random() < 0.1:
                self.game.do(settlement.ContestPayout(epoch, "plan"), self.game.arbiter)
            case State.PLANNED:
                self._tell(settlement.RecordBroadcast(epoch, txid))
            case _ if not self._tell(settlement.AbandonPayout(epoch)):
                self.advance()
                self._tell(self.confirmation(epoch, txid))

    def confirmation(self, epoch: int, txid: str) -> settlement.ConfirmPayout:
        """That the transaction is in the newest block, behind a coinbase."""
        self.serial += 1
        header, branch = block_with([digest("coinbase", self.serial), txid], 1)
        return settlement.ConfirmPayout(epoch, txid, self.game.world.books.height, header, 1, branch)
