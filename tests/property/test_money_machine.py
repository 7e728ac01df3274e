"""Whatever parties, miners and thieves do, and however often the chain changes its mind: no satoshi is lost or made.

A market with its books, a chain with forks beside it, and an honest settlement between them. After every step the
books are in balance, they agree with the chain as far as settlement has seen it, and nobody was paid twice.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain import job, payout
from domain.accounts import Held, key_of
from domain.bitcoin import OutPoint, dust_sat, outpoint
from domain.books import DEEP_BLOCKS, State
from domain.commands import ExpireJob
from domain.escrow import RefundEscrow
from domain.ids import escrow_id
from domain.job import PostJob
from domain.market import World
from domain.planning import NothingToPay, is_urgent
from domain.settlement import (
    AbandonPayout,
    ContestPayout,
    PlanPayout,
    RecordBroadcast,
    ReturnLapsed,
)
from domain.stake import WithdrawStake
from services.ledger import codec
from services.ports import BlockId
from tests.bitchain import Chain
from tests.blocks import digest, p2wpkh
from tests.onchain import ARBITER, JOINED, check_accounts, check_pool
from tests.settler import Recorded, Settler, Told, state_of
from tests.spec import ANNA, BEN, CARL, CLIENT, MALLORY, OPERATOR, a_job

CLIENTS, WORKERS = (CLIENT, MALLORY), (ANNA, BEN, CARL)
PARTIES = CLIENTS + WORKERS
AMOUNTS = st.sampled_from((1_000, 1_500, 9_999, 20_000, 64_321, 250_000))


class MoneyMachine(RuleBasedStateMachine):
    """Steps are what people do; after each that moves the chain, settlement follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.names = 0
        #: Transactions that anybody could have mined, and deposits among them.
        self.pool: list[str] = []
        self.deposits: list[str] = []
        self.signed: set[int] = set()
        self.payouts: list[str] = []
        self.told = Told()
        #: No chain is reorganised below this: what a payout was given up for is deeper than any fork.
        self.final = JOINED
        self.deepest = self.forked = 0

    @initialize(confirmations=st.integers(1, 3), terms=st.lists(st.sampled_from((400, 900, 3_000)), min_size=5))
    def begin(self, confirmations: int, terms: list[int]) -> None:
        self.market, self.confirmations = Recorded(confirmations), confirmations
        self.chain = Chain(BlockId(*self.market.books.tips[-1]))
        self.settler = Settler(self.market, self.chain, {})
        self.market.with_workers(*WORKERS, sat=0)
        for party, term in zip(CLIENTS, terms, strict=False):
            self._open(party, term)
        for party in PARTIES:
            self._pay_in(party, 900_000, 0)
        self._mine(list(self.pool), confirmations)

    @property
    def world(self) -> World:
        return self.market.world

    # ------------------------------------------------------------------------------------------------ accounts and work
    def _open(self, party: str, blocks: int) -> None:
        number = len(self.world.books.terms.get(self.market.key(party), ()))
        self.market.attempt(party, self.market.opening(party, expires=self.market.height + blocks, term=number))

    def _pay_in(self, party: str, sat: int, back: int) -> None:
        self.names += 1
        terms = self.world.books.terms[self.market.key(party)]
        script = terms[max(0, len(terms) - 1 - back)].script
        purse = OutPoint(digest("purse", self.names), 0)
        self.deposits.append(self.chain.make([purse], [(sat, script), (7_777, bytes.fromhex(p2wpkh("payer")))]))
        self.pool.append(self.deposits[-1])

    @rule(party=st.sampled_from(PARTIES), blocks=st.sampled_from((288, 320, 500, 2_000)))
    def open(self, party: str, blocks: int) -> None:
        self._open(party, blocks)

    @rule(party=st.sampled_from(PARTIES), sat=AMOUNTS, back=st.integers(0, 1))
    def fund(self, party: str, sat: int, back: int) -> None:
        self._pay_in(party, sat, back)

    @rule(
        client=st.sampled_from(CLIENTS),
        workers=st.lists(st.sampled_from(WORKERS), min_size=1, max_size=3),
        msat=st.sampled_from((999, 400_500, 3_000_250, 21_111_111, 55_000_000)),
        left=st.sampled_from((0, 0, 1)),
    )
    def work(self, client: str, workers: list[str], msat: int, left: int) -> None:
        """A job that is done; or of which some tasks are left, so that it is over in an hour."""
        terms = {"escrow": escrow_id(client), "price_msat": msat, "stake_msat": 1_000, "tasks": len(workers) + left}
        posted = self.market.attempt(client, self._a_job(**terms))
        if not posted:
            return
        self.market.job = posted[0].job  # type: ignore[union-attr]
        for task, worker in enumerate(workers):
            if self.world.may_work(worker, posted[0]):  # type: ignore[arg-type]
                self.market.assigned(worker, task).committed(worker, b"right", task).submitted(worker, b"right", task)

    def _a_job(self, **terms: object) -> PostJob:
        return a_job(**terms, expires_at=self.market.now + timedelta(hours=1))

    @rule()
    def expire(self) -> None:
        """Jobs that were not done are over, and what they did not use is free."""
        self.market.later(3_700)
        for found in list(self.world.jobs.values()):
            if found.state is job.State.OPEN:
                self.market.send(OPERATOR, ExpireJob(found.terms.job))

    @rule(liar=st.sampled_from(WORKERS), sat=st.sampled_from((40, 900, 12_000)))
    def slash(self, liar: str, sat: int) -> None:
        other = WORKERS[WORKERS.index(liar) - 1]
        posted = self.market.attempt(CLIENT, self._a_job(replicas=2, price_msat=1_000, stake_msat=sat * 1_000))
        if posted and all(self.world.may_work(one, posted[0]) for one in (liar, other)):  # type: ignore[arg-type]
            self.market.job = posted[0].job  # type: ignore[union-attr]
            self.market.judged(liar, other)

    @rule(client=st.sampled_from(CLIENTS), msat=st.sampled_from((500, 700_000, 5_000_000, 40_000_123)))
    def refund(self, client: str, msat: int) -> None:
        self.market.attempt(client, RefundEscrow(msat))

    @rule(worker=st.sampled_from(WORKERS), msat=st.sampled_from((700_000, 30_000_000, 240_000_000)))
    def withdraw(self, worker: str, msat: int) -> None:
        self.market.attempt(worker, WithdrawStake(msat))

    @rule()
    def return_lapsed(self) -> None:
        self.market.send(OPERATOR, ReturnLapsed())

    # ---------------------------------------------------------------------------------------------------------- payouts
    def _open_payouts(self) -> list[int]:
        return self.world.books.open_payouts

    @rule(rate_msat=st.sampled_from((1_000, 1_000, 2_345, 9_000)))
    def plan(self, rate_msat: int) -> None:
        self._plan(rate_msat)

    def _plan(self, rate_msat: int) -> bool:
        """Whether something is paid; who leaves does not take what jobs may still cost."""
        books, due = self.world.books, True
        try:
            is_urgent(books, OPERATOR, rate_msat)
        except NothingToPay:
            due = False
        planned = self.market.attempt(OPERATOR, PlanPayout(rate_msat, len(self.market.facts), digest("root")))
        assert bool(planned) is due, "settlement asks for a payout if, and only if, the market would plan one"
        for drawn in self.world.books.payouts[len(books.payouts)].planned.drawn if planned else ():
            key = key_of(drawn.account, drawn.owner)
            if drawn.account == "escrow" and drawn.due_sat:
                held_sat = sum(coin.value_sat for coin in books.coins.values() if coin.key == key)
                assert (held_sat - drawn.due_sat - drawn.pool_sat) * 1_000 >= books.owed_msat[key]
        return bool(planned)

    @precondition(lambda self: self._open_payouts())
    @rule(which=st.integers(0, 3))
    def contest(self, which: int) -> None:
        epoch = self._open_payouts()[which % len(self._open_payouts())]
        if epoch not in self.signed:
            self.market.attempt(ARBITER, ContestPayout(epoch, "plan"))

    @precondition(lambda self: self._open_payouts())
    @rule(which=st.integers(0, 3))
    def sign(self, which: int) -> None:
        """Both sign every rung: from now on anybody could have one mined."""
        self._sign(self._open_payouts()[which % len(self._open_payouts())])

    def _sign(self, epoch: int) -> None:
        found = self.world.books.payouts[epoch]
        if found.state is State.PLANNED and epoch not in self.signed:
            self.signed.add(epoch)
            rungs = range(len(found.planned.fees_sat))
            names = [self.chain.learn(payout.transaction(found.planned, found.allotted, rung)) for rung in rungs]
            self.pool += names
            self.payouts += names

    @rule(rate_msat=st.sampled_from((1_000, 2_345)), rung=st.integers(0, 2))
    def pay(self, rate_msat: int, rung: int) -> None:
        """What mostly happens: a payout is planned, signed, sent and mined, at some rung."""
        if self._plan(rate_msat):
            epoch = len(self.world.books.payouts)
            self._sign(epoch)
            self.broadcast(rung)
            txids = self.world.books.payouts[epoch].txids
            self._mine([txids[rung % len(txids)]], 1)

    @rule(
        client=st.sampled_from(CLIENTS),
        workers=st.lists(st.sampled_from(WORKERS), min_size=2, max_size=3),
        msat=st.sampled_from((9_000_500, 21_111_111, 55_000_000)),
        rung=st.integers(0, 2),
    )
    def pay_day(self, client: str, workers: list[str], msat: int, rung: int) -> None:
        self.work(client, workers, msat, 0)
        self.pay(1_000, rung)

    @precondition(lambda self: self.signed.intersection(self._open_payouts()))
    @rule(rung=st.integers(0, 2))
    def broadcast(self, rung: int) -> None:
        epoch = min(self.signed.intersection(self._open_payouts()))
        txids = self.world.books.payouts[epoch].txids
        self.market.attempt(OPERATOR, RecordBroadcast(epoch, txids[rung % len(txids)]))

    @precondition(lambda self: self._open_payouts())
    @rule()
    def abandon(self) -> None:
        for epoch in self._open_payouts():
            inputs = payout.coins(self.world.books.payouts[epoch].planned)
            if any(one.outpoint in self.world.books.reorged for one in inputs):
                continue  # it would be given up in a day, and could come back in two
            if self.market.attempt(OPERATOR, AbandonPayout(epoch)):
                self.final = max(self.final, self.market.height - DEEP_BLOCKS)

    # -------------------------------------------------------------------------------------------------------- the chain
    def _mine(self, wanted: Sequence[str], blocks: int) -> None:
        self.chain.mine(wanted, blocks)
        self.settler.follow()

    @rule(chosen=st.lists(st.integers(0, 40), max_size=6), blocks=st.sampled_from((1, 1, 2, 7)))
    def mine(self, chosen: list[int], blocks: int) -> None:
        """Some of what is waiting, in any order: of two that spend the same the first one counts."""
        waiting = [name for name in self.pool if name not in self.chain.mined]
        self._mine([waiting[place % len(waiting)] for place in chosen] if waiting else [], blocks)

    @rule(newest_first=st.booleans())
    def mine_all(self, newest_first: bool) -> None:
        self._mine(self.pool[::-1] if newest_first else self.pool, 1)

    @rule(blocks=st.sampled_from((60, 150, 300)))
    def wait(self, blocks: int) -> None:
        self._mine([], blocks)

    @rule(depth=st.sampled_from((1, 1, 2, 3, 5, 9, 30)), back=st.sampled_from(("all", "none", "half", "turned")))
    def reorganise(self, depth: int, back: str) -> None:
        """The last blocks are replaced by more of them, with or without what they held."""
        lost = self._fork(max(self._lowest, self.chain.tip.height - depth))
        chosen = {"all": lost, "none": [], "half": lost[::2], "turned": lost[::-1]}[back]
        self._mine(chosen, self.forked + 1)

    @property
    def _lowest(self) -> int:
        """No fork goes further back: settlement knows a block below it, and no payout above that is buried."""
        books = self.world.books
        return max(self.final, min(height for height, _ in books.tips if height >= books.floor))

    def _fork(self, height: int) -> list[str]:
        self.forked = self.chain.tip.height - height
        self.deepest = max(self.deepest, self.forked + self.confirmations - 1)
        return self.chain.fork(height)

    @rule(rung=st.integers(0, 2), blocks=st.sampled_from((1, 7)))
    def switch(self, rung: int, blocks: int) -> None:
        """In another chain another rung of a payout is confirmed, or all but the payout comes back."""
        found = [one for one in self.world.books.payouts.values() if one.confirmed is not None and not one.buried]
        found = [one for one in found if one.confirmed.height > self._lowest]  # type: ignore[union-attr]
        if found:
            one = found[-1]
            lost = self._fork(one.confirmed.height - 1)  # type: ignore[union-attr]
            others = [name for name in lost if name not in one.txids]
            self._mine([one.txids[rung % len(one.txids)], *others], self.forked + blocks)

    @rule(blocks=st.sampled_from((1, 7)))
    def undo_theft(self, blocks: int) -> None:
        """In another chain an output is not taken."""
        found = [one for one in self.world.books.taken.values() if (one.height or 0) > self._lowest]
        if found:
            lost = self._fork((found[0].height or 0) - 1)
            thief = self.chain.thefts.get(outpoint(found[0].coin.outpoint))
            self._mine([name for name in lost if name != thief], self.forked + blocks)

    @rule(which=st.integers(0, 30))
    def respend(self, which: int) -> None:
        """A payer spends what a deposit spends on something else; only one of them can be mined."""
        spent = self.chain.known[self.deposits[which % len(self.deposits)]].inputs[0].outpoint
        self.names += 1
        self.pool.append(self.chain.make([spent], [(1_000, bytes.fromhex(p2wpkh(f"elsewhere {self.names}")))]))

    @rule(which=st.integers(0, 30), keys=st.integers(0, 4), back=st.booleans(), at_once=st.booleans())
    def take(self, which: int, keys: int, back: bool, at_once: bool) -> None:
        """An owner takes an output after its term, sometimes two keys before; perhaps to pay it in again."""
        coins = list(self.world.books.coins.values())
        ended = [one for one in coins if 0 < one.term.expires_height <= self.market.height]
        found = ended if keys else coins
        if found:
            name = self._take(found[which % len(found)], back=back)
            self._mine([name] if at_once else [], 1)

    def _take(self, coin: Held, *, back: bool) -> str:
        self.names += 1
        terms = self.world.books.terms.get(coin.key)
        script = terms[-1].script if terms and back else bytes.fromhex(p2wpkh(f"thief {self.names}"))
        name = self.chain.make([outpoint(coin.outpoint)], [(coin.value_sat - 200, script)])
        self.chain.thefts[outpoint(coin.outpoint)] = name
        self.pool.append(name)
        return name

    @rule(which=st.integers(0, 30), rung=st.integers(0, 2))
    def rob_a_payout(self, which: int, rung: int) -> None:
        """Two keys take what a payout is about to spend; the payout is sent all the same."""
        epochs = self._open_payouts()
        if epochs:
            inputs = [one.outpoint for one in payout.coins(self.world.books.payouts[epochs[0]].planned)]
            held = [self.world.books.coins[one] for one in inputs if one in self.world.books.coins]
            if held:
                self._sign(epochs[0])
            if held and epochs[0] in self.signed:
                self._mine([self._take(held[which % len(held)], back=False)], 1)
                self._mine(self.world.books.payouts[epochs[0]].txids[rung:], 1)

    @rule(rung=st.integers(0, 2))
    def return_to_life(self, rung: int) -> None:
        """A payout is robbed, and perhaps given up; then the chain forgets the robbery, and the payout is mined."""
        self.rob_a_payout(0, 2)
        self.abandon()
        self.undo_theft(1)
        self._mine(self.pool[::-1] if rung else self.pool, 1)

    @rule(rung=st.integers(0, 2))
    def change_twice(self, rung: int) -> None:
        """A payout spends the change of one that is mined at another rung, and then at the first one after all."""
        self.pay_day(CLIENT, list(WORKERS), 21_111_111, 0)
        self._plan(1_000)
        for epoch in self._open_payouts():
            self._sign(epoch)
        self.switch(1 + rung, 1)
        self.abandon()
        self.switch(0, 1)
        self._mine(self.pool, 1)

    # ------------------------------------------------------------------------------------------------------------ crash
    @rule()
    def crash(self) -> None:
        """The world is folded again from what was written down, and settlement starts again."""
        again = World(OPERATOR)
        for event, stream, version in self.market.facts:
            name = codec.NAMES[type(event)]
            read = codec.decode(name, codec.encode(event))
            again.apply(read)
            assert again.place(read)[1:] == (stream, version)
        assert state_of(again) == state_of(self.world)
        self.market.world = again
        self.settler = Settler(self.market, self.chain, self.settler.funding)
        self.settler.follow()

    # ------------------------------------------------------------------------------------------------ what always holds
    @invariant()
    def books_are_in_balance(self) -> None:
        check_pool(self.world.books)
        check_accounts(self.world)
        for one in self.world.escrows.values():
            used_msat = one.reserved_msat + one.released_msat + one.charged_msat + one.refunded_msat
            assert one.funded_msat == one.free_msat + used_msat
            assert min(one.free_msat, one.reserved_msat) >= 0

    @invariant()
    def nothing_is_negative(self) -> None:
        books = self.world.books
        for amounts in (books.missing_msat, books.slashed_msat, books.leaving_msat):
            assert min(amounts.values(), default=0) >= 0
        assert all(left > 0 for by_job in books.earned_msat.values() for left in by_job.values())
        assert min(books.fees_msat, books.forfeited_msat, books.reserve_sat) >= 0
        assert all(coin.value_sat > 0 for coin in books.coins.values())
        if self.deepest <= DEEP_BLOCKS:  # what a cheaper rung left is spent again when no shorter fork can take it back
            assert min(books.undrawn_msat.values(), default=0) >= 0
            assert min(books.owed_msat.values(), default=0) >= 0
            assert books.fund_msat >= 0

    @invariant()
    def open_payouts_are_sound(self) -> None:
        """What they spend is kept for them, no output of theirs is dust, and jobs keep what they may cost."""
        books = self.world.books
        for epoch in books.open_payouts:
            found = books.payouts[epoch]
            spent = {coin.outpoint for coin in payout.coins(found.planned)}
            assert all(coin.epoch == epoch for one, coin in books.coins.items() if one in spent)
            for rung in range(len(found.planned.fees_sat)):
                for output in payout.transaction(found.planned, found.allotted, rung).outputs:
                    assert output.value_sat >= dust_sat(output.script)
        held = Counter({epoch for epoch in (coin.epoch for coin in books.coins.values()) if epoch})
        assert set(held) <= set(books.open_payouts)

    @invariant()
    def what_was_paid_in_is_somewhere(self) -> None:
        """In outputs, missing, or out of the market by a confirmed payout; nothing else makes or takes a satoshi."""
        told, books = self.told.read(self.market.facts), self.world.books
        held_msat = sum(coin.value_sat for coin in books.coins.values()) * 1_000
        out_msat = sum(told.out_sat(epoch) for epoch in told.confirmed) * 1_000
        assert told.paid_in_msat == held_msat + sum(books.missing_msat.values()) + out_msat

    @invariant()
    def nobody_is_paid_more_than_it_earned(self) -> None:
        told = self.told.read(self.market.facts)
        promised = Counter[tuple[str, str]]()
        for epoch, allotted in told.allotted.items():
            if epoch not in told.abandoned:
                promised.update({(one.owner, paid.job): paid.amount_msat for one in allotted for paid in one.paid})
        assert all(amount <= told.earned[who] for who, amount in promised.items())

    @invariant()
    def chain_and_log_agree(self) -> None:
        """What is unspent in the books is so in the chain, and owners were paid there what the log says, once."""
        upto, chain = self.settler.scanned, self.chain
        for coin in self.world.books.coins.values():
            place = outpoint(coin.outpoint)
            assert chain.mined[place.txid] == coin.height <= upto
            assert chain.known[place.txid].outputs[place.vout] == (coin.value_sat, coin.term.script)
            spender = chain.spent.get(place)
            assert spender is None or chain.mined[spender] > upto
        for one in self.world.references:
            place = outpoint(one)
            if chain.mined.get(place.txid, upto + 1) <= upto and place not in chain.spent:
                assert one in self.world.books.coins
        told, paid = self.told.read(self.market.facts), Counter[bytes]()
        for epoch, event in told.confirmed.items():
            paid.update(told.outputs(epoch, event.fee_sat))
        seen = Counter[bytes]()
        for name in self.payouts:
            if chain.mined.get(name, upto + 1) <= upto:
                seen.update(told.owners(chain.known[name].outputs))
        assert seen == paid


TestMoneyMachine = MoneyMachine.TestCase
TestMoneyMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
