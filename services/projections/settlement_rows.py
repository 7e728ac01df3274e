"""Rows of read model ``settlement``, as events say them; see there for its tables."""

from collections.abc import Iterable
from copy import copy
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import astuple

from domain.books import RESERVE, key_of
from domain.events import Account
from services.projections.model import Change

CHAIN: Final = "chain"


class ChainRow(Struct):
    name: str = CHAIN
    network: str | None = None
    joined_height: int | None = None
    joined_pos: int | None = None
    confirmations: int | None = None
    arbiter: str | None = None
    market_key: str | None = None
    arbiter_key: str | None = None
    market_script: str | None = None
    height: int | None = None
    block: str | None = None
    moved_at: datetime | None = None
    reorgs: int = 0
    last_pos: int = 0


class TermRow(Struct):
    script: str
    key: str
    account: str
    owner: str
    expires_height: int
    paid_to: str
    release_key: str
    refund_key: str
    market_key: str
    arbiter_key: str
    opened_pos: int


class AccountRow(Struct):
    """``drawn``, ``returned`` and ``rewarded`` are by confirmed payouts, those in -ing by payouts under way."""

    key: str
    account: str
    owner: str
    script: str | None = None
    expires_height: int | None = None
    paid_to: str | None = None
    release_key: str | None = None
    refund_key: str | None = None
    market_key: str | None = None
    arbiter_key: str | None = None
    terms: int = 0
    deposited_msat: int = 0
    drawing_msat: int = 0
    drawn_msat: int = 0
    returning_msat: int = 0
    returned_msat: int = 0
    rewarding_msat: int = 0
    rewarded_msat: int = 0
    last_pos: int = 0


class CoinRow(Struct):
    """``term`` is that of a deposit, ``script`` that of a change.

    ``state``: ``held``, ``lost`` (to a reorganised chain or to somebody else), ``spent`` by a payout, or ``gone`` with
    the payout that made it.
    """

    outpoint: str
    key: str
    value_sat: int
    height: int
    script: str | None
    term: int | None
    epoch: int
    state: str
    said_pos: int


class PayoutRow(Struct):
    """``height``, ``block``, ``confirmed`` belong to ``state``; ``saved_sat`` is left to the account ``first_key``."""

    epoch: int
    state: str | None = None
    planned_height: int | None = None
    rate_msat: int | None = None
    fees_sat: tuple[int, ...] | None = None
    fund_sat: int | None = None
    market_sat: int | None = None
    reserve_sat: int | None = None
    first_key: str | None = None
    inputs: int | None = None
    input_sat: int | None = None
    size: int | None = None
    root: str | None = None
    receipts: str | None = None
    anchor: str | None = None
    previous: str | None = None
    planned_at: datetime | None = None
    planned_pos: int | None = None
    txid: str | None = None
    fee_sat: int | None = None
    sent_at: datetime | None = None
    objection: str | None = None
    height: int | None = None
    block: str | None = None
    confirmed_at: datetime | None = None
    confirmed_pos: int | None = None
    payees: int = 0
    rewards_sat: int = 0
    refunds_sat: int = 0
    stakes_sat: int = 0
    borne_vb: tuple[int, ...] = ()
    sendings: int = 0
    last_pos: int = 0
    saved_sat: int = 0


class PaymentRow(Struct):
    epoch: int
    due: str
    owner: str
    key: str
    amount_sat: int
    borne_vb: int
    script: str
    jobs: int


class DrawRow(Struct):
    """``change``: by how many outputs its change is behind the anchor's; absent if there is none."""

    epoch: int
    place: int
    key: str
    account: str
    owner: str
    coins: tuple[str, ...]
    coins_sat: int
    due_sat: int
    pool_sat: int
    change_sat: int
    script: str
    change: int | None


class JobPayoutRow(Struct):
    job: str
    epoch: int
    amount_msat: int = 0
    workers: int = 0


class Turn(Struct):
    """What became of a payout: how often more it is under way, and how often more it is confirmed."""

    epoch: int
    open: int
    done: int
    position: int
    txid: str | None = None
    fee_sat: int | None = None
    height: int | None = None


class Said(Struct):
    """What was said last of a coin."""

    outpoint: str
    state: str
    height: int | None
    position: int


class Changed:
    """What a batch changes, or all that there is; ``turns`` and ``said`` wait to be applied to the other rows."""

    __slots__ = ("accounts", "chain", "coins", "draws", "jobs", "payments", "payouts", "said", "terms", "turns")

    def __init__(self) -> None:
        self.chain: dict[str, ChainRow] = {}
        self.terms: dict[str, TermRow] = {}
        self.accounts: dict[str, AccountRow] = {}
        self.coins: dict[str, CoinRow] = {}
        self.payouts: dict[int, PayoutRow] = {}
        self.payments: dict[int, dict[tuple[str, str], PaymentRow]] = {}
        self.draws: dict[int, tuple[DrawRow, ...]] = {}
        self.jobs: dict[tuple[str, int], JobPayoutRow] = {}
        self.turns: list[Turn] = []
        self.said: dict[str, Said] = {}

    @property
    def count(self) -> int:
        """How many rows there are."""
        many = sum(map(len, self.payments.values())) + sum(map(len, self.draws.values()))
        accounts = len(self.chain) + len(self.terms) + len(self.accounts) + len(self.coins)
        return many + accounts + len(self.payouts) + len(self.jobs)

    def copy(self) -> "Changed":
        """The same rows, to be folded further on their own; what never changes is shared."""
        assert not self.turns, "what waits was applied"
        found = Changed()
        for name in ("chain", "accounts", "coins", "payouts", "jobs"):
            setattr(found, name, {key: copy(row) for key, row in getattr(self, name).items()})
        found.terms, found.draws = dict(self.terms), dict(self.draws)
        found.payments = {epoch: dict(of) for epoch, of in self.payments.items()}
        return found

    def tip(self, position: int, at: datetime) -> ChainRow:
        row = self.chain.setdefault(CHAIN, ChainRow())
        row.moved_at, row.last_pos = at, position
        return row

    def account(self, account: Account, owner: str, position: int) -> AccountRow:
        key = key_of(account, owner)
        row = self.accounts.get(key)
        if row is None:
            row = self.accounts[key] = AccountRow(key, account, "" if account == RESERVE else owner)
        row.last_pos = position
        return row

    def payout(self, epoch: int, position: int) -> PayoutRow:
        row = self.payouts.get(epoch)
        if row is None:
            row = self.payouts[epoch] = PayoutRow(epoch)
        row.last_pos = position
        return row


def write(statement: str, rows: Iterable[Struct]) -> list[Change]:
    """The change that writes these rows, none if there are none; a list in a row is written as PostgreSQL writes it."""
    columns = tuple(zip(*(map(_plain, astuple(row)) for row in rows), strict=True))
    return [Change(statement, columns)] if columns else []


def _plain(value: Any) -> Any:
    return "{" + ",".join(map(str, value)) + "}" if isinstance(value, tuple) else value
