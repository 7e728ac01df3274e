"""Which outputs hold the market's money: counted once, spent once."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from domain import payout
from domain.bitcoin import OutPoint, escrow_script, p2wsh, reference, reserve_script
from domain.events import (
    ChainJoined,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    PayoutAbandoned,
    PayoutAllotted,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutPlanned,
    PayoutReorged,
    StakeDeposited,
    StakeOpened,
)
from domain.money import MSAT_PER_SAT
from services.audit.invariant import Broken, Check, Invariant, each, need
from services.audit.payouts import KEPT
from services.ports import Stored


class Output(NamedTuple):
    """An output of an account: an escrow's or a stake's by its owner, the reserve's by nobody."""

    account: str
    owner: str
    value_sat: int
    script: str


class Spent(NamedTuple):
    """What a confirmed payout spent and made."""

    txid: str
    inputs: dict[str, Output]
    made: list[str]


class Coins(Invariant):
    """An output is counted once, for the account whose script it pays, and is spent once: by a payout of the market, or
    by somebody else, who is named.
    """

    name = "coins"

    def __init__(self) -> None:
        self.chain: ChainJoined | None = None
        self.scripts: dict[tuple[str, str], list[str]] = {}
        self.opened: set[str] = set()
        self.counted: set[str] = set()
        self.held: dict[str, Output] = {}
        self.reorged: dict[str, Output] = {}
        self.taken: dict[str, Output] = {}
        self.spending: dict[str, int] = {}
        self.planned: dict[int, PayoutPlanned] = {}
        self.allotted: dict[int, list[PayoutAllotted]] = {}
        self.spent: dict[int, Spent] = {}
        self.payouts: set[str] = set()

    def checks(self) -> Mapping[type, Check]:
        return {
            ChainJoined: self.join,
            DepositReorged: self.reorg,
            DepositRestored: self.restore,
            CoinTaken: self.take,
            PayoutPlanned: self.plan,
            PayoutAllotted: self.allot,
            PayoutBroadcast: self.send,
            PayoutConfirmed: self.confirm,
            PayoutReorged: self.unconfirm,
            PayoutAbandoned: self.abandon,
            **each((EscrowOpened, StakeOpened), self.open),
            **each((EscrowFunded, StakeDeposited), self.deposit),
        }

    def join(self, event: ChainJoined, stored: Stored) -> None:
        self.chain = event

    # -------------------------------------------------------------------------------------------------------- accounts
    def open(self, event: EscrowOpened | StakeOpened, stored: Stored) -> None:
        need(self.chain is not None, "an account is opened before the market joined a chain")
        assert self.chain is not None
        ours = event.market_key == self.chain.market_key and event.arbiter_key == self.chain.arbiter_key
        need(ours, "the account's script has other keys than the market's and the arbiter's")
        owner, market, arbiter = map(bytes.fromhex, (event.release_key, event.market_key, event.arbiter_key))
        script = escrow_script((owner, market, arbiter), bytes.fromhex(event.refund_key), event.expires_height)
        found = p2wsh(script).hex()
        need(found not in self.opened, "another account has this script")
        self.opened.add(found)
        self.scripts.setdefault(_account_of(event), []).append(found)

    def deposit(self, event: EscrowFunded | StakeDeposited, stored: Stored) -> None:
        if event.vout is None or event.term is None:
            need(self.chain is None, "money is counted that is on no chain, though the market joined one")
            return
        scripts = self.scripts.get(_account_of(event), [])
        need(event.term < len(scripts), "the deposit is counted for a script that the account does not have")
        outpoint = reference(OutPoint(event.reference, event.vout))
        need(outpoint not in self.counted, "the output was counted before")
        need(event.reference not in self.payouts, "a payout's change is counted as a deposit")
        need(event.amount_msat % MSAT_PER_SAT == 0, "an output holds whole satoshi")
        self.counted.add(outpoint)
        self.held[outpoint] = Output(*_account_of(event), event.amount_msat // MSAT_PER_SAT, scripts[event.term])

    # ----------------------------------------------------------------------------------------------- what others did
    def reorg(self, event: DepositReorged, stored: Stored) -> None:
        need(event.outpoint in self.counted, "what left the chain was no deposit")
        self.reorged[event.outpoint] = self._let_go(event)

    def take(self, event: CoinTaken, stored: Stored) -> None:
        lost = self.reorged.pop(event.outpoint, None)
        if lost is None:
            lost = self._let_go(event)
        self._same(event, lost)
        need(event.txid not in self.payouts, "the market's own payout is said to be somebody else's transaction")
        self.taken[event.outpoint] = lost

    def restore(self, event: DepositRestored, stored: Stored) -> None:
        found = self.taken.pop(event.outpoint, None) or self.reorged.pop(event.outpoint, None)
        if found is None:
            raise Broken("the output that is there again was not gone")
        self._same(event, found)
        self.held[event.outpoint] = found

    def _let_go(self, event: DepositReorged | CoinTaken) -> Output:
        found = self.held.pop(event.outpoint, None)
        if found is None:
            raise Broken("the output is none of the market's")
        self._same(event, found)
        return found

    def _same(self, event: Any, found: Output) -> None:
        named = event.account, "" if event.account == "reserve" else event.owner
        if (*named, event.amount_msat) != (found.account, found.owner, found.value_sat * MSAT_PER_SAT):
            raise Broken(f"the output is {found.account} {found.owner} with {found.value_sat} sat, not what is said")

    # --------------------------------------------------------------------------------------------------------- payouts
    def plan(self, event: PayoutPlanned, stored: Stored) -> None:
        assert self.chain is not None, "a payout is planned before the market joined a chain"
        self.planned[event.epoch], self.allotted[event.epoch] = event, []
        for kept in (self.planned, self.allotted, self.spent):
            kept.pop(event.epoch - KEPT, None)
        keys = bytes.fromhex(self.chain.market_key), bytes.fromhex(self.chain.arbiter_key)
        need(event.reserve_script == p2wsh(reserve_script(*keys)).hex(), "the reserve's script has other keys")
        for drawn in event.drawn:
            account, owner = drawn.account, "" if drawn.account == "reserve" else drawn.owner
            for coin in drawn.coins:
                held = self.held.get(coin.outpoint)
                if held is None or held[:3] != (account, owner, coin.value_sat):
                    raise Broken(f"it spends {coin.outpoint}, which {account} {owner} does not hold")
                need(coin.outpoint not in self.spending, f"{coin.outpoint} is spent by payout twice")
                self.spending[coin.outpoint] = event.epoch
            if drawn.change_sat:
                newest = self.scripts.get((account, owner), [""])[-1]
                need(drawn.script == newest, "the change does not go back to the account that it comes from")

    def allot(self, event: PayoutAllotted, stored: Stored) -> None:
        self.allotted[event.epoch].append(event)

    def send(self, event: PayoutBroadcast, stored: Stored) -> None:
        self.payouts.add(event.txid)

    def confirm(self, event: PayoutConfirmed, stored: Stored) -> None:
        planned = self.planned[event.epoch]
        need(event.epoch not in self.spent, "the payout is confirmed already")
        gone = [coin.outpoint for coin in payout.coins(planned) if coin.outpoint not in self.held]
        need(not gone, f"it spends {gone[:1]}, which is not there")
        inputs = {coin.outpoint: self.held.pop(coin.outpoint) for coin in payout.coins(planned)}
        self.payouts.add(event.txid)
        self.spent[event.epoch] = Spent(event.txid, inputs, self._make(planned, event))

    def _make(self, planned: PayoutPlanned, event: PayoutConfirmed) -> list[str]:
        """Its outputs to accounts: the last ones, in the order of what they are taken from."""
        allotted = self.allotted[event.epoch]
        tx = payout.transaction(planned, allotted, planned.fees_sat.index(event.fee_sat))
        kept = [("reserve", "")] if planned.reserve_sat else []
        kept += [
            (one.account, "" if one.account == "reserve" else one.owner) for one in planned.drawn if one.change_sat
        ]
        first, made = len(tx.outputs) - len(kept), []
        for vout, (account, owner) in enumerate(kept, first):
            outpoint, output = reference(OutPoint(event.txid, vout)), tx.outputs[vout]
            self.held[outpoint] = Output(account, owner, output.value_sat, output.script.hex())
            made.append(outpoint)
        return made

    def unconfirm(self, event: PayoutReorged, stored: Stored) -> None:
        spent = self.spent.pop(event.epoch, None)
        if spent is None or spent.txid != event.txid:
            raise Broken("what left the chain was not confirmed")
        for outpoint in spent.made:
            need(self.held.pop(outpoint, None) is not None, "what it made was spent, and that is not undone")
        self.held |= spent.inputs

    def abandon(self, event: PayoutAbandoned, stored: Stored) -> None:
        need(event.epoch not in self.spent, "a payout that is confirmed is given up")
        for coin in payout.coins(self.planned[event.epoch]):
            need(self.spending.pop(coin.outpoint, None) == event.epoch, "it was given up before")


def _account_of(event: EscrowOpened | StakeOpened | EscrowFunded | StakeDeposited) -> tuple[str, str]:
    if isinstance(event, EscrowOpened | EscrowFunded):
        return "escrow", event.client
    return "stake", event.worker
