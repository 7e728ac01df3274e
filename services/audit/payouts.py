"""What the log says of the chain, by books of its own: outputs, payouts, and what they bind.

Of the market's own code only what a payout's transaction is (``domain.payout``) and Bitcoin's forms are used; who has
what due, which outputs there are and what they hold is counted here anew.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from domain import bitcoin, payout
from domain.bitcoin import OutPoint, reference
from domain.events import (
    Coin,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    Drawn,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    LogAnchored,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutPlanned,
    PayoutReorged,
    RoleGranted,
    StakeDeposited,
    StakeOpened,
    StakeWithdrawn,
)
from domain.ids import escrow_id
from domain.money import MSAT_PER_SAT
from services.audit.invariant import Broken, Check, Invariant, each, need
from services.ledger.codec import decode_meta
from services.ports import Stored

#: What the first anchor follows.
_NO_ANCHOR: Final = "00" * 32


class Output(NamedTuple):
    """An unspent output: whose it is and what it holds."""

    owner: str
    value_sat: int


class Paid:
    """A payout as far as it was seen."""

    def __init__(self, planned: PayoutPlanned) -> None:
        self.planned = planned
        self.allotted: list[PayoutAllotted] = []
        self.state = "planned"
        self.made: list[str] = []


class Payouts(Invariant):
    """Every payout spends outputs of this market once, pays only what was earned or is the owner's, and is on the chain
    as the log says; its anchor binds this log and what it pays.
    """

    name = "payouts"

    def __init__(self) -> None:
        self.market = ""
        self.scripts: defaultdict[str, list[str]] = defaultdict(list)
        self.outputs: dict[str, Output] = {}
        self.away: dict[str, Output] = {}
        self.seen: set[str] = set()
        self.earned_msat: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.leaving_msat: Counter[str] = Counter()
        self.payouts: dict[int, Paid] = {}
        self.drafted: Paid | None = None

    def checks(self) -> Mapping[type, Check]:
        return {
            RoleGranted: self.grant,
            **each((EscrowOpened, StakeOpened), self.open_account),
            **each((EscrowFunded, StakeDeposited), self.deposit),
            **each((DepositReorged, CoinTaken), self.lose),
            DepositRestored: self.restore,
            EscrowReleased: self.earn,
            **each((EscrowRefunded, StakeWithdrawn), self.leave),
            PayoutPlanned: self.plan,
            PayoutAllotted: self.allot,
            PayoutContested: self.contest,
            PayoutBroadcast: self.broadcast,
            PayoutConfirmed: self.confirm,
            LogAnchored: self.anchor,
            PayoutReorged: self.reorg,
            PayoutAbandoned: self.abandon,
        }

    def grant(self, event: RoleGranted, stored: Stored) -> None:
        """The operator grants the first role: it is whose log this is."""
        self.market = self.market or decode_meta(stored.meta, position=stored.position).actor

    # -------------------------------------------------------------------------------------------------------- outputs
    def open_account(self, event: EscrowOpened | StakeOpened, stored: Stored) -> None:
        keys = [bytes.fromhex(key) for key in (event.release_key, event.market_key, event.arbiter_key)]
        made = bitcoin.escrow_script((keys[0], keys[1], keys[2]), bytes.fromhex(event.refund_key), event.expires_height)
        self.scripts[_owner(event)].append(bitcoin.p2wsh(made).hex())

    def deposit(self, event: EscrowFunded | StakeDeposited, stored: Stored) -> None:
        if event.vout is None or event.term is None:
            return
        owner, outpoint = _owner(event), reference(OutPoint(event.reference, event.vout))
        need(event.term < len(self.scripts[owner]), "it is paid to a script that the account does not have")
        need(outpoint not in self.seen, f"output {outpoint} is counted twice")
        self.seen.add(outpoint)
        self.outputs[outpoint] = Output(owner, event.amount_msat // MSAT_PER_SAT)

    def lose(self, event: DepositReorged | CoinTaken, stored: Stored) -> None:
        output = self.outputs.pop(event.outpoint, None) or self.away.get(event.outpoint)
        need(output is not None, f"output {event.outpoint} is none of the market's")
        assert output is not None
        need(output.value_sat * MSAT_PER_SAT == event.amount_msat, f"the output holds {output.value_sat} sat")
        self.away[event.outpoint] = output

    def restore(self, event: DepositRestored, stored: Stored) -> None:
        need(event.outpoint in self.away, "it was not away")
        self.outputs[event.outpoint] = self.away.pop(event.outpoint)

    # ------------------------------------------------------------------------------------------------------ what is due
    def earn(self, event: EscrowReleased, stored: Stored) -> None:
        self.earned_msat[event.worker, event.job] += event.amount_msat

    def leave(self, event: EscrowRefunded | StakeWithdrawn, stored: Stored) -> None:
        self.leaving_msat[event.escrow if isinstance(event, EscrowRefunded) else event.worker] += event.amount_msat

    # ---------------------------------------------------------------------------------------------------------- payouts
    def plan(self, event: PayoutPlanned, stored: Stored) -> None:
        self._complete()
        need(event.epoch == len(self.payouts) + 1, f"payout {len(self.payouts) + 1} comes next")
        need(event.size < stored.position, "it binds events that had not happened")
        before = [one.planned.anchor for one in self._standing()]
        need(event.previous == (before[-1] if before else _NO_ANCHOR), "its anchor does not follow the one before it")
        taken = {coin.outpoint for one in self._standing() for coin in _open_coins(one)}
        for drawn in event.drawn:
            owner = _account(drawn)
            for coin in drawn.coins:
                need(coin.outpoint not in taken, f"output {coin.outpoint} is spent by another payout")
                taken.add(coin.outpoint)
                found = self.outputs.get(coin.outpoint)
                need(found == Output(owner, coin.value_sat), f"the account has no such output {coin.outpoint}")
            held_sat = sum(coin.value_sat for coin in drawn.coins)
            need(held_sat == drawn.due_sat + drawn.pool_sat + drawn.change_sat, "an account's part does not add up")
            need(not drawn.change_sat or drawn.script in self.scripts[owner], "its change goes to a foreign script")
        self.drafted = self.payouts[event.epoch] = Paid(event)

    def allot(self, event: PayoutAllotted, stored: Stored) -> None:
        need(self.drafted is not None and self.drafted.planned.epoch == event.epoch, "its payout is complete")
        assert self.drafted is not None
        self.drafted.allotted.append(event)
        left_msat = event.amount_sat * MSAT_PER_SAT
        if event.due != "reward":
            self._take_leaving(event, left_msat)
            return
        for paid in event.paid:
            self.earned_msat[event.owner, paid.job] -= paid.amount_msat
            left_msat -= paid.amount_msat
            need(self.earned_msat[event.owner, paid.job] >= 0, f"the worker has not earned that with job {paid.job}")
        need(left_msat == 0 and not event.borne_vb, "a reward is not what it pays for")

    def _take_leaving(self, event: PayoutAllotted, amount_msat: int) -> None:
        owner = escrow_id(event.owner) if event.due == "escrow" else event.owner
        self.leaving_msat[owner] -= amount_msat
        need(self.leaving_msat[owner] >= 0, "its owner did not take that out")

    def _complete(self) -> None:
        """Check a payout as a whole, when all of it was seen."""
        found, self.drafted = self.drafted, None
        if found is None:
            return
        planned, rewards_sat = found.planned, sum(one.amount_sat for one in found.allotted if one.due == "reward")
        pool_sat = sum(drawn.pool_sat for drawn in planned.drawn)
        spent_sat = rewards_sat + planned.market_sat + planned.fund_sat + planned.reserve_sat
        need(pool_sat == spent_sat, f"payout {planned.epoch} draws {pool_sat} sat and spends {spent_sat}")
        for rung, fee_sat in enumerate(planned.fees_sat):
            tx = payout.transaction(planned, found.allotted, rung)
            paid_sat = sum(output.value_sat for output in tx.outputs)
            need(
                payout.spent_sat(planned) - paid_sat == fee_sat,
                f"rung {rung} of payout {planned.epoch} pays no such fee",
            )
        need(
            planned.receipts == payout.receipts_root(found.allotted),
            f"receipts of payout {planned.epoch} have another root",
        )
        bound = planned.epoch, planned.size, planned.root, planned.receipts, planned.previous
        need(planned.anchor == payout.anchor(self.market, *bound), f"payout {planned.epoch} has another anchor")

    def _standing(self) -> Sequence[Paid]:
        return [one for one in self.payouts.values() if one.state != "abandoned"]

    def contest(self, event: PayoutContested, stored: Stored) -> None:
        self._complete()
        self._in(event.epoch, "planned").state = "contested"

    def broadcast(self, event: PayoutBroadcast, stored: Stored) -> None:
        self._complete()
        found = self._in(event.epoch, "planned", "sent")
        _check_rung(found, event)
        found.state = "sent"

    def confirm(self, event: PayoutConfirmed, stored: Stored) -> None:
        self._complete()
        found = self._in(event.epoch, "planned", "sent")
        _check_rung(found, event)
        header = bytes.fromhex(event.header)
        root = bitcoin.merkle_root_from(event.txid, event.index, [bytes.fromhex(one) for one in event.branch])
        need(root == bitcoin.parse_header(header).merkle_root, "the branch does not lead to the block")
        need(
            bitcoin.has_work(header) and bitcoin.block_hash(header) == event.block,
            "the header is not that of the block",
        )
        found.state = "confirmed"
        for coin in payout.coins(found.planned):
            need(self.outputs.pop(coin.outpoint, None) is not None, f"output {coin.outpoint} is gone")
        self._keep_change(found, event)

    def _keep_change(self, found: Paid, event: PayoutConfirmed) -> None:
        planned = found.planned
        tx = payout.transaction(planned, found.allotted, planned.fees_sat.index(event.fee_sat))
        vout = len(found.allotted) + bool(planned.market_sat) + 1
        owners = ["reserve"] if planned.reserve_sat else []
        owners += [_account(drawn) for drawn in planned.drawn if drawn.change_sat]
        need(len(tx.outputs) == vout + len(owners), "it has other outputs than it should")
        for place, owner in enumerate(owners, vout):
            outpoint = reference(OutPoint(event.txid, place))
            found.made.append(outpoint)
            self.outputs[outpoint] = Output(owner, tx.outputs[place].value_sat)

    def anchor(self, event: LogAnchored, stored: Stored) -> None:
        planned = self._in(event.epoch, "confirmed").planned
        bound = planned.size, planned.root, planned.anchor
        need((event.size, event.root, event.anchor) == bound, "it is not what the payout binds")

    def reorg(self, event: PayoutReorged, stored: Stored) -> None:
        found = self._in(event.epoch, "confirmed")
        for outpoint in found.made:
            need(self.outputs.pop(outpoint, None) or self.away.get(outpoint), "what it left was spent, and stays spent")
        found.made = []
        for drawn in found.planned.drawn:
            self.outputs |= {coin.outpoint: Output(_account(drawn), coin.value_sat) for coin in drawn.coins}
        found.state = "sent"

    def abandon(self, event: PayoutAbandoned, stored: Stored) -> None:
        self._complete()
        found = self._in(event.epoch, "planned", "sent", "contested")
        gone = any(coin.outpoint not in self.outputs for coin in payout.coins(found.planned))
        need(gone or found.state == "contested", "it could still confirm")
        found.state = "abandoned"
        for one in found.allotted:
            if one.due != "reward":
                self.leaving_msat[escrow_id(one.owner) if one.due == "escrow" else one.owner] += (
                    one.amount_sat * MSAT_PER_SAT
                )
            for paid in one.paid:
                self.earned_msat[one.owner, paid.job] += paid.amount_msat

    def _in(self, epoch: int, *states: str) -> Paid:
        found = self.payouts.get(epoch)
        if found is None or found.state not in states:
            raise Broken(f"payout {epoch} is {found.state if found else 'not known'}")
        return found

    def finish(self) -> None:
        self._complete()


def _open_coins(found: Paid) -> list[Coin]:
    return [] if found.state == "confirmed" else payout.coins(found.planned)


def _account(drawn: Drawn) -> str:
    """The account's key in these books: an escrow's id, a worker's key, or the reserve."""
    return {"escrow": escrow_id(drawn.owner), "stake": drawn.owner, "reserve": "reserve"}[drawn.account]


def _owner(event: EscrowOpened | StakeOpened | EscrowFunded | StakeDeposited) -> str:
    return event.escrow if isinstance(event, EscrowOpened | EscrowFunded) else event.worker


def _check_rung(found: Paid, event: PayoutBroadcast | PayoutConfirmed) -> None:
    rung = payout.rung_of(found.planned, found.allotted, event.txid)
    if rung is None or found.planned.fees_sat[rung] != event.fee_sat:
        raise Broken(f"transaction {event.txid} is not what payout {event.epoch} says")
