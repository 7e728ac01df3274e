"""What payouts are: each recomputed from its events, and what became of it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from domain import bitcoin, payout
from domain.events import (
    ChainJoined,
    EscrowOpened,
    LogAnchored,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutPlanned,
    PayoutReorged,
    StakeOpened,
)
from domain.money import MSAT_PER_SAT
from services.audit.invariant import Broken, Check, Invariant, each, need
from services.ports import Stored

#: Payouts that are remembered: a reorganisation that is followed reaches no further back.
KEPT: Final = 200
#: From which state an event leads to which.
STEPS: Mapping[type, tuple[tuple[str, ...], str]] = {
    PayoutContested: (("planned",), "contested"),
    PayoutBroadcast: (("planned", "sent"), "sent"),
    PayoutConfirmed: (("planned", "contested", "sent"), "confirmed"),
    PayoutReorged: (("confirmed",), "sent"),
    PayoutAbandoned: (("planned", "contested", "sent"), "abandoned"),
}


class Told:
    """One payout as its events tell of it."""

    __slots__ = ("allotted", "confirmed", "planned", "state", "txids")

    def __init__(self, planned: PayoutPlanned) -> None:
        self.planned = planned
        self.allotted: list[PayoutAllotted] = []
        #: Of its rungs; none until all of its allotments were seen.
        self.txids: list[str] = []
        self.state = "planned"
        self.confirmed: PayoutConfirmed | None = None


class Payouts(Invariant):
    """A payout's transaction is that of its events: at every rung its inputs are its outputs and the fee, it pays whom
    they name where these said, and the block that it is confirmed in holds it and took work.
    """

    name = "payouts"

    def __init__(self) -> None:
        self.market_script = ""
        self.paid_at: dict[tuple[str, str], str] = {}
        self.told: dict[int, Told] = {}
        self.open: set[int] = set()
        self.last = 0
        self.unfinished: Told | None = None

    def checks(self) -> Mapping[type, Check]:
        return {
            ChainJoined: self.join,
            EscrowOpened: self.open_escrow,
            StakeOpened: self.open_stake,
            PayoutPlanned: self.plan,
            PayoutAllotted: self.allot,
            PayoutBroadcast: self.send,
            PayoutConfirmed: self.confirm,
            LogAnchored: self.anchor,
            PayoutReorged: self.unconfirm,
            **each((PayoutContested, PayoutAbandoned), self.end),
        }

    def join(self, event: ChainJoined, stored: Stored) -> None:
        self.market_script = event.market_script

    def open_escrow(self, event: EscrowOpened, stored: Stored) -> None:
        self.paid_at["escrow", event.client] = event.refund_script

    def open_stake(self, event: StakeOpened, stored: Stored) -> None:
        self.paid_at["stake", event.worker] = event.payout_script

    def plan(self, event: PayoutPlanned, stored: Stored) -> None:
        self._finish()
        need(not self.open, f"it is planned before payout {min(self.open, default=0)} is settled")
        need(event.epoch == self.last + 1, f"payout {event.epoch} follows payout {self.last}")
        self.last = event.epoch
        self.open.add(event.epoch)
        self.told.pop(event.epoch - KEPT, None)
        need(event.market_script == self.market_script, "the market's fee goes to a script that is not its own")
        fees = event.fees_sat
        need(fees and sorted(set(fees)) == list(fees), "a rung is not dearer than the one before it")
        need(len(fees) <= len(payout.LADDER), "there are more rungs than multiples of the rate")
        for drawn in event.drawn:
            held_sat = sum(coin.value_sat for coin in drawn.coins)
            if held_sat != drawn.due_sat + drawn.pool_sat + drawn.change_sat:
                raise Broken(f"{held_sat} sat are taken of {drawn.account} {drawn.owner}, others are accounted for")
        self.told[event.epoch] = self.unfinished = Told(event)

    def allot(self, event: PayoutAllotted, stored: Stored) -> None:
        found = self._open(event)
        need(found is self.unfinished, "a payee is added to a payout that is complete")
        account = "escrow" if event.due == "escrow" else "stake"
        need(event.script == self.paid_at.get((account, event.owner)), "it is paid elsewhere than its owner said")
        if event.due == "reward":
            paid_msat = sum(paid.amount_msat for paid in event.paid)
            same = paid_msat == event.amount_sat * MSAT_PER_SAT
            need(same, f"{paid_msat} msat of work are paid by {event.amount_sat} sat")
            need(not event.borne_vb, "a worker bears a fee")
        else:
            need(not event.paid, "an owner's own money is said to be paid for work")
        found.allotted.append(event)

    def _finish(self) -> None:
        """All of the newest payout was seen: it must be in balance."""
        found, self.unfinished = self.unfinished, None
        if found is None:
            return
        planned = found.planned
        rewards_sat = sum(one.amount_sat for one in found.allotted if one.due == "reward")
        pool_sat = sum(drawn.pool_sat for drawn in planned.drawn)
        used_sat = rewards_sat + planned.market_sat + planned.fund_sat + planned.reserve_sat
        need(pool_sat == used_sat, f"{pool_sat} sat are drawn for the pool and {used_sat} are used")
        owed = Counter({(one.due, one.owner): one.amount_sat for one in found.allotted if one.due != "reward"})
        drawn = Counter({(one.account, one.owner): one.due_sat for one in planned.drawn if one.due_sat})
        need(owed == drawn, "an owner is paid something else than is taken out of its account")
        need(found.allotted == payout.in_order(found.allotted), "the payees are not in the order of the outputs")
        for rung, fee_sat in enumerate(planned.fees_sat):
            tx = payout.transaction(planned, found.allotted, rung)
            left_sat = payout.spent_sat(planned) - sum(output.value_sat for output in tx.outputs)
            need(left_sat == fee_sat, f"rung {rung} leaves {left_sat} sat to the miners and says {fee_sat}")
            dust = [output for output in tx.outputs if output.value_sat < bitcoin.dust_sat(output.script)]
            need(not dust, f"rung {rung} has an output that is not relayed")
            found.txids.append(bitcoin.txid(tx))

    def finish(self, *, cut: bool = False) -> None:
        if not cut:
            self._finish()

    def _open(self, event: Any) -> Told:
        found = self.told.get(event.epoch)
        if found is None:
            raise Broken(f"payout {event.epoch} was never planned")
        return found

    # ---------------------------------------------------------------------------------------------- what becomes of it
    def end(self, event: PayoutContested | PayoutAbandoned, stored: Stored) -> None:
        self._step(event)

    def _step(self, event: Any) -> Told:
        found = self._open(event)
        self._finish()
        before, after = STEPS[type(event)]
        need(found.state in before, f"the payout is {found.state}")
        found.state = after
        if after in ("confirmed", "abandoned"):
            self.open.remove(event.epoch)
        else:
            self.open.add(event.epoch)
        return found

    def _rung(self, event: PayoutBroadcast | PayoutConfirmed, found: Told) -> None:
        need(event.txid in found.txids, f"transaction {event.txid} is none of payout {event.epoch}")
        fee_sat = found.planned.fees_sat[found.txids.index(event.txid)]
        need(event.fee_sat == fee_sat, f"its fee is {fee_sat} sat, {event.fee_sat} are said")

    def send(self, event: PayoutBroadcast, stored: Stored) -> None:
        self._rung(event, self._step(event))

    def confirm(self, event: PayoutConfirmed, stored: Stored) -> None:
        found = self._step(event)
        self._rung(event, found)
        header = bytes.fromhex(event.header)
        try:
            root = bitcoin.merkle_root_from(event.txid, event.index, tuple(map(bytes.fromhex, event.branch)))
            held = root == bitcoin.parse_header(header).merkle_root and bitcoin.has_work(header)
        except bitcoin.BadBranch as error:
            raise Broken(str(error)) from None
        need(held, "its branch does not lead to its block, or that took no work")
        need(event.block == bitcoin.block_hash(header), "its block has another name")
        found.confirmed = event

    def anchor(self, event: LogAnchored, stored: Stored) -> None:
        found = self._open(event)
        planned, confirmed = found.planned, found.confirmed
        if found.state != "confirmed" or confirmed is None:
            raise Broken("the log is anchored by a payout that is not confirmed")
        said = (event.size, event.root, event.anchor, event.txid, event.height)
        meant = (planned.size, planned.root, planned.anchor, confirmed.txid, confirmed.height)
        need(said == meant, "the anchor is not what the payout binds, or not where it is")

    def unconfirm(self, event: PayoutReorged, stored: Stored) -> None:
        found = self._step(event)
        confirmed, found.confirmed = found.confirmed, None
        need(confirmed is not None and confirmed.txid == event.txid, "another transaction was confirmed")
