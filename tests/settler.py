"""An honest settlement between a market and a chain of tests, and what the log says of payments, kept apart."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from domain import payout
from domain.bitcoin import OutPoint, TxOut
from domain.commands import Command
from domain.errors import Refused
from domain.events import (
    AnyEvent,
    EscrowFunded,
    EscrowReleased,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutConfirmed,
    PayoutPlanned,
    PayoutReorged,
    StakeDeposited,
)
from domain.market import Fact, World
from domain.settlement import AdvanceChain, ConfirmPayout, ReorganiseChain
from services.ports import BlockId
from services.settlement.watch import Rungs, Settled, look
from tests.bitchain import Chain
from tests.onchain import OnChain
from tests.spec import OPERATOR


class Recorded(OnChain):
    """A market that writes down what happens; its machine checks the books after every step."""

    def __init__(self, confirmations: int) -> None:
        self.facts: list[Fact] = []
        super().__init__(confirmations=confirmations, fee_ppm=40_000, chain_ppm=50_000)

    def seen(self, facts: Sequence[Fact]) -> list[AnyEvent]:
        self.facts += facts
        return [fact.event for fact in facts]

    def attempt(self, actor: str, command: Command) -> list[AnyEvent]:
        """What follows, or nothing where it is refused."""
        try:
            return self.send(actor, command)
        except Refused:
            return []


class Settler:
    """Settlement as it is: it tells the market of the chain what it finds, in order."""

    def __init__(self, market: Recorded, chain: Chain, funding: Mapping[str, tuple[OutPoint, ...]]) -> None:
        self.market, self.chain, self.rungs = market, chain, Rungs()
        self.funding = dict(funding)
        tips = market.books.tips
        self.scanned = self.deep(tips[-2][0] if len(tips) > 1 else tips[-1][0])

    def deep(self, height: int) -> int:
        joined = self.market.books.chain
        assert joined is not None
        return height - joined.confirmations + 1

    def follow(self) -> None:
        """Until the market knows the chain as it is."""
        books, tip = self.market.books, self.chain.tip
        known = [BlockId(*one) for one in books.tips if self.chain.hash_at(one[0]) == one[1]]
        if known[-1] != books.tips[-1]:
            self.market.send(OPERATOR, ReorganiseChain(*known[-1]))
            self.scanned = min(self.scanned, self.deep(known[-1].height))
        steps = [height for height in (tip.height - 100, tip.height) if height > known[-1].height]
        for height in steps:
            self.market.send(OPERATOR, AdvanceChain(height, self.chain.hash_at(height)))
            self._look(self.deep(height))
        self._look(self.deep(tip.height))

    def _look(self, upto: int) -> None:
        while self.scanned < upto:
            self.scanned += 1
            if self.scanned > self.chain.start.height and self.chain.txids_at(self.scanned):
                books = self.market.books
                found = look(self.chain.block(self.scanned), books, self.rungs.of(books), self.funding)
                self.funding |= found.funding
                for told in found.told:
                    self.market.attempt(OPERATOR, self._confirmation(told) if isinstance(told, Settled) else told)

    def _confirmation(self, told: Settled) -> ConfirmPayout:
        return ConfirmPayout(told.epoch, told.txid, *self.chain.proof(told.txid))


def state_of(world: World) -> dict[str, object]:
    """All that a world knows, to be compared."""
    kept = {name: value for name, value in vars(world).items() if name not in ("books", "holdings", "_streams")}
    books = {name: value for name, value in vars(world.books).items() if name != "payouts"}
    fields = ("state", "version", "sent", "planned", "allotted", "spent", "made", "confirmed", "reserve", "buried")
    payouts = {epoch: {name: getattr(found, name) for name in fields} for epoch, found in world.books.payouts.items()}
    held = {name: (one.tasks, one.locked_msat, one.running) for name, one in world.holdings.items() if one.tasks}
    return kept | {"books": books, "payouts": payouts, "holdings": held}


class Told:
    """What the log says of payments, kept apart from the market's own books."""

    def __init__(self) -> None:
        self.read_upto = self.paid_in_msat = 0
        self.earned = Counter[tuple[str, str]]()
        self.planned: dict[int, PayoutPlanned] = {}
        self.allotted: defaultdict[int, list[PayoutAllotted]] = defaultdict(list)
        self.confirmed: dict[int, PayoutConfirmed] = {}
        self.abandoned: set[int] = set()

    def read(self, facts: Sequence[Fact]) -> "Told":
        for event, _, _ in facts[self.read_upto :]:
            match event:
                case EscrowFunded() | StakeDeposited():
                    self.paid_in_msat += event.amount_msat
                case EscrowReleased():
                    self.earned[event.worker, event.job] += event.amount_msat
                case PayoutPlanned():
                    self.planned[event.epoch] = event
                case PayoutAllotted():
                    self.allotted[event.epoch].append(event)
                case PayoutConfirmed():
                    assert event.epoch not in self.confirmed
                    self.confirmed[event.epoch] = event
                case PayoutReorged():
                    del self.confirmed[event.epoch]
                case PayoutAbandoned():
                    assert event.epoch not in self.confirmed
                    self.abandoned.add(event.epoch)
        self.read_upto = len(facts)
        return self

    def _rung(self, epoch: int) -> int:
        return self.planned[epoch].fees_sat.index(self.confirmed[epoch].fee_sat)

    def out_sat(self, epoch: int) -> int:
        """What left the accounts by a confirmed payout: all that is not a change or the reserve's, and the fee."""
        planned, rung = self.planned[epoch], self._rung(epoch)
        kept_sat = planned.reserve_sat + sum(drawn.change_sat for drawn in planned.drawn)
        kept_sat += planned.fund_sat - payout.fund_sat(planned, self.allotted[epoch], rung)
        return payout.spent_sat(planned) - kept_sat

    def outputs(self, epoch: int, fee_sat: int) -> Counter[bytes]:
        """By script, what a confirmed payout paid to owners and to the market."""
        rung = self.planned[epoch].fees_sat.index(fee_sat)
        found, planned = Counter[bytes](), self.planned[epoch]
        for one in self.allotted[epoch]:
            net_sat = one.amount_sat - payout.borne_sat(one, planned.rate_msat, rung)
            found[bytes.fromhex(one.script)] += net_sat
        found[bytes.fromhex(planned.market_script)] += planned.market_sat
        return +found

    def owners(self, outputs: Sequence[TxOut]) -> Counter[bytes]:
        """By script, what a transaction pays to scripts that payouts pay to."""
        scripts = {bytes.fromhex(one.script) for allotted in self.allotted.values() for one in allotted}
        scripts |= {bytes.fromhex(one.market_script) for one in self.planned.values()}
        found = Counter[bytes]()
        for one in outputs:
            if one.script in scripts:
                found[one.script] += one.value_sat
        return found
