"""A market that has joined a chain, for tests of the rules: given deposits, work and blocks, when settlement says so.

Blocks happen only when a test asks for them; a block is as good as a real one of regtest, its other transactions aside.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from struct import pack
from typing import Self

from domain import bitcoin, payout
from domain.accounts import RESERVE, Held, key_of
from domain.bitcoin import OutPoint
from domain.books import Books, Payout
from domain.commands import Command, SetFee
from domain.events import AnyEvent, JobPosted, PayoutPlanned
from domain.ids import escrow_id
from domain.market import Fact, World
from domain.settlement import (
    AbandonPayout,
    AdvanceChain,
    ConfirmDeposit,
    ConfirmPayout,
    ContestPayout,
    JoinChain,
    OpenEscrow,
    OpenStake,
    PlanPayout,
    RecordBroadcast,
    ReorganiseChain,
    ReportTaken,
)
from domain.stake import WithdrawStake
from domain.worker import PlaceAsk, RegisterWorker, ResumeWorker
from tests.spec import CLIENT, OPERATOR, REFEREE, Market, Outcome, a_job, key

ARBITER = key("J")
#: Where the market joins, and when terms end unless a test says otherwise.
JOINED, EXPIRES = 110, 3_000
#: One satoshi a virtual byte.
RATE = 1_000


@cache
def point(name: str) -> str:
    """A public key whose secret nobody knows."""
    x = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    while not bitcoin.is_key(b"\x02" + x.to_bytes(32, "big")):
        x += 1
    return "02" + x.to_bytes(32, "big").hex()


def p2wpkh(name: str) -> str:
    """The script of somebody's address."""
    return "0014" + hashlib.sha256(name.encode()).hexdigest()[:40]


def digest(*named: object) -> str:
    """The id of a transaction or a block that a test only needs the name of."""
    return hashlib.sha256(" ".join(map(str, named)).encode()).hexdigest()


def block_with(txids: Sequence[str], index: int, salt: object = "") -> tuple[str, tuple[str, ...]]:
    """The header of a block with these transactions, with the work that regtest asks for, and one's branch."""
    branch = bitcoin.merkle_branch(txids, index)
    root = bitcoin.merkle_root_from(txids[index], index, branch)
    previous = bytes.fromhex(digest("previous", salt))
    for nonce in range(1 << 16):
        header = pack("<I32s32sIII", 0x20000000, previous, root, 1_900_000_000, 0x207FFFFF, nonce)
        if bitcoin.has_work(header):
            return header.hex(), tuple(beside.hex() for beside in branch)
    raise AssertionError("every other nonce has enough work")


def join_chain(*, confirmations: int = 1, **changes: object) -> JoinChain:
    usual: dict[str, object] = {
        "network": "regtest",
        "height": JOINED,
        "block": digest("block", JOINED),
        "confirmations": confirmations,
        "arbiter": ARBITER,
        "market_key": point("market"),
        "arbiter_key": point("arbiter"),
        "market_script": p2wpkh("market"),
    }
    return JoinChain(**{**usual, **changes})  # type: ignore[arg-type]


class OnChain(Market):
    """A market on a chain; ``height`` is its tip."""

    def __init__(self, *, fee_ppm: int = 10_000, chain_ppm: int = 20_000, confirmations: int = 1) -> None:
        super().__init__()
        self.send(OPERATOR, SetFee(fee_ppm, chain_ppm))
        self.send(OPERATOR, join_chain(confirmations=confirmations))
        self._serial = 0

    @property
    def books(self) -> Books:
        return self.world.books

    @property
    def height(self) -> int:
        return self.books.height

    # ------------------------------------------------------------------------------------------------------- accounts
    def opening(
        self, party: str, *, expires: int = EXPIRES, term: int = 0, **changes: object
    ) -> OpenEscrow | OpenStake:
        keys = {"release_key": point(f"release {party} {term}"), "refund_key": point(f"refund {party} {term}")}
        paid_to, make = ("payout_script", OpenStake) if party in self.world.workers else ("refund_script", OpenEscrow)
        usual: dict[str, object] = {**keys, "expires_height": expires, paid_to: p2wpkh(f"{party} {term}")}
        return make(**{**usual, **changes})  # type: ignore[arg-type]

    def opened(self, *parties: str, expires: int = EXPIRES, term: int = 0) -> Self:
        for party in parties:
            self.send(party, self.opening(party, expires=expires, term=term))
        return self

    def key(self, party: str) -> str:
        """The party's account in the books."""
        return key_of("stake" if party in self.world.workers else "escrow", party)

    def deposit(self, party: str, sat: int, name: str = "", *, term: int = -1, **changes: object) -> ConfirmDeposit:
        self._serial += 1
        usual: dict[str, object] = {
            "account": "stake" if party in self.world.workers else "escrow",
            "owner": party,
            "amount_msat": sat * 1_000,
            "reference": digest("deposit", name or self._serial),
            "vout": 0,
            "height": self.height,
            "script": self.books.terms[self.key(party)][term].script.hex(),
        }
        return ConfirmDeposit(**{**usual, **changes})  # type: ignore[arg-type]

    def deposited(self, party: str, sat: int, name: str = "", **changes: object) -> Self:
        self.send(OPERATOR, self.deposit(party, sat, name, **changes))  # type: ignore[arg-type]
        return self

    def with_client_on_chain(self, sat: int = 100_000, client: str = CLIENT, *, expires: int = EXPIRES) -> Self:
        return self.opened(client, expires=expires).deposited(client, sat)

    def with_workers(self, *workers: str, sat: int = 20_000, slots: int = 1_000, expires: int = EXPIRES) -> Self:
        for worker in workers:
            self.send(worker, RegisterWorker("cpu", 2, 4096, "0.10.2"))
            self.send(worker, PlaceAsk(100, slots, 2048))
            self.opened(worker, expires=expires)
            if sat:
                self.deposited(worker, sat)
        return self

    def coins(self, party: str) -> list[Held]:
        """The account's outputs, the largest first."""
        found = [coin for coin in self.books.coins.values() if coin.key == self.key(party)]
        return sorted(found, key=lambda coin: -coin.value_sat)

    # ----------------------------------------------------------------------------------------------------------- work
    def earned(self, worker: str, sat: float, client: str = CLIENT) -> Self:
        """A job of one task that is done and over: what it paid is earned, and the fund has its part."""
        self.posted(client, price_msat=round(sat * 1_000), stake_msat=0)
        return self.assigned(worker).committed(worker).submitted(worker)

    def posted(self, client: str = CLIENT, **terms: object) -> JobPosted:
        """A job that is open for an hour."""
        expires_at = self.now + timedelta(hours=1)
        found = self.send(client, a_job(escrow=escrow_id(client), expires_at=expires_at, **terms))[0]
        assert isinstance(found, JobPosted)
        self.job = found.job
        return found

    def slashed(self, liar: str, sat: int, other: str, client: str = CLIENT) -> Self:
        """A job that costs ``liar`` so much of its stake; ``other`` earns a little."""
        self.posted(client, replicas=2, price_msat=1_000, stake_msat=sat * 1_000)
        return self.judged(liar, other).later(3_700).over()

    def judged(self, liar: str, other: str) -> Self:
        """Both answer the job's first task, differently, and a referee upholds ``other``."""
        for worker, answer in ((liar, b"wrong"), (other, b"right")):
            self.assigned(worker).committed(worker, answer)
        for worker, answer in ((liar, b"wrong"), (other, b"right")):
            self.submitted(worker, answer)
        self.send(REFEREE, self.ruling([other], [liar]))
        self.send(liar, ResumeWorker())
        return self

    def over(self) -> Self:
        self.send(OPERATOR, self.deadline())
        return self

    def left(self, worker: str, sat: float) -> Self:
        """A worker takes stake out."""
        self.send(worker, WithdrawStake(round(sat * 1_000)))
        return self

    # ------------------------------------------------------------------------------------------------------ the chain
    def advanced(self, blocks: int = 1) -> Self:
        self._serial += 1
        self.send(OPERATOR, AdvanceChain(self.height + blocks, digest("block", self.height + blocks, self._serial)))
        return self

    def reorganisation(self, height: int) -> ReorganiseChain:
        self._serial += 1
        return ReorganiseChain(height, digest("block", height, self._serial))

    def reorganised(self, height: int) -> list[AnyEvent]:
        """Blocks above ``height`` are gone."""
        return self.send(OPERATOR, self.reorganisation(height))

    def restored(self, *outpoints: str) -> Self:
        """Deposits that had left the chain are in it again."""
        for outpoint in outpoints:
            coin, (reference, vout) = self.books.reorged[outpoint], bitcoin.outpoint(outpoint)
            script = coin.term.script.hex()
            told = (coin.value_sat * 1_000, reference, vout, self.height, script)
            self.send(OPERATOR, ConfirmDeposit(coin.term.account, coin.term.owner, *told))  # type: ignore[arg-type]
        return self

    def theft(self, coin: Held, by: str = "", *, height: int | None = None) -> ReportTaken:
        reference, vout = bitcoin.outpoint(coin.outpoint)
        return ReportTaken(reference, vout, by or digest("taken", coin.outpoint), height or self.height)

    # -------------------------------------------------------------------------------------------------------- payouts
    def planning(self, rate_msat: int = RATE, size: int = 100) -> PlanPayout:
        return PlanPayout(rate_msat, size, digest("root", size))

    def planned(self, rate_msat: int = RATE) -> Payout:
        """The payout that is due now."""
        event = self.send(OPERATOR, self.planning(rate_msat))[0]
        assert isinstance(event, PayoutPlanned)
        return self.books.payouts[event.epoch]

    def sending(self, epoch: int, rung: int = 0) -> RecordBroadcast:
        return RecordBroadcast(epoch, self.books.payouts[epoch].txids[rung])

    def sent(self, epoch: int, rung: int = 0) -> Self:
        self.send(OPERATOR, self.sending(epoch, rung))
        return self

    def confirmation(self, epoch: int, rung: int = 0, height: int | None = None, **changes: object) -> ConfirmPayout:
        """That the payout is in the newest block, among other transactions."""
        self._serial += 1
        txid = self.books.payouts[epoch].txids[rung]
        header, branch = block_with([digest("coinbase", self._serial), txid, digest("another")], 1)
        usual: dict[str, object] = {
            "epoch": epoch,
            "txid": txid,
            "height": self.height if height is None else height,
            "header": header,
            "index": 1,
            "branch": branch,
        }
        return ConfirmPayout(**{**usual, **changes})  # type: ignore[arg-type]

    def confirmed(self, epoch: int, rung: int = 0) -> Self:
        """The next block holds it."""
        self.advanced()
        self.send(OPERATOR, self.confirmation(epoch, rung))
        return self

    def paid(self, rate_msat: int = RATE, rung: int = 0) -> Payout:
        """A payout from plan to block."""
        found = self.planned(rate_msat)
        self.sent(found.planned.epoch, rung).confirmed(found.planned.epoch, rung)
        return found

    def contested(self, epoch: int) -> Self:
        self.send(ARBITER, ContestPayout(epoch, "plan"))
        return self

    def abandoned(self, epoch: int) -> Self:
        self.send(OPERATOR, AbandonPayout(epoch))
        return self

    # ----------------------------------------------------------------------------------------------------- assertions
    def whenever(self, command: Command) -> Outcome:
        """When settlement says so."""
        return self.when(OPERATOR, command)

    def check(self) -> None:
        """See that the books are in balance; after every step of every test."""
        check_pool(self.books)
        check_accounts(self.world)

    def seen(self, facts: Sequence[Fact]) -> list[AnyEvent]:
        if self.books.chain is not None:
            self.check()
        return super().seen(facts)


def check_pool(books: Books) -> None:
    """What the pool has is what is due out of it."""
    pool_msat = sum(books.undrawn_msat.values()) + sum(books.slashed_msat.values()) + books.reserve_sat * 1_000
    due_msat = sum(map(books.due_msat, books.earned_msat)) + books.fees_msat + books.fund_msat + books.forfeited_msat
    assert pool_msat == due_msat


def check_accounts(world: World) -> None:
    """Each account's outputs hold what its own books say, less what is missing and what payouts under way took."""
    books, wanted_msat = world.books, dict[str, int]()
    for account in world.escrows.values():
        undrawn_msat = books.undrawn_msat.get(account.id, 0)
        assert books.owed_msat.get(account.id, 0) == account.reserved_msat + undrawn_msat
        wanted_msat[account.id] = account.free_msat + account.reserved_msat + undrawn_msat
    for stake in world.stakes.values():
        wanted_msat[stake.worker] = stake.held_msat + books.slashed_msat.get(stake.worker, 0)
        assert books.owed_msat.get(stake.worker, 0) == wanted_msat[stake.worker]
    wanted_msat[RESERVE] = books.reserve_sat * 1_000
    for name in wanted_msat:
        wanted_msat[name] += books.leaving_msat.get(name, 0) - books.missing_msat.get(name, 0)
    held_msat = dict.fromkeys(wanted_msat, 0)
    for coin in books.coins.values():
        held_msat[coin.key] += coin.value_sat * 1_000
    for epoch in books.open_payouts:
        planned = books.payouts[epoch].planned
        for drawn in planned.drawn:
            held_msat[key_of(drawn.account, drawn.owner)] -= (drawn.due_sat + drawn.pool_sat) * 1_000
        held_msat[RESERVE] += planned.reserve_sat * 1_000
    assert held_msat == wanted_msat


def outputs_of(found: Payout, rung: int = 0) -> list[tuple[int, str]]:
    """Values and scripts of the transaction at a rung."""
    return [
        (one.value_sat, one.script.hex()) for one in payout.transaction(found.planned, found.allotted, rung).outputs
    ]


def fee_of(found: Payout, rung: int = 0) -> int:
    """What the inputs of the transaction at a rung hold and its outputs do not."""
    return payout.spent_sat(found.planned) - sum(value for value, _ in outputs_of(found, rung))


def place(coin: Held) -> OutPoint:
    return bitcoin.outpoint(coin.outpoint)
