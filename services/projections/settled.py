"""What read model ``settlement`` knows of the money on a chain, as typed values; ``settled_reader`` asks for them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from domain.bitcoin import Network
from domain.books import State
from domain.events import Account as Kind
from domain.events import Due, Objection
from domain.payout import LADDER, fee_sat


class Chain(Struct, frozen=True, kw_only=True):
    """What settlement saw last of the chain that the market settles on.

    Attributes:
        joined_pos: Of the event that says so. confirmations: Blocks after which something counts.
        arbiter: The party that signs payouts as well. market_script: Where the market's fees are paid.
        reorgs: How often blocks were replaced by others. moved_at: When the last block was seen.
    """

    network: Network
    joined_height: int
    joined_pos: int
    confirmations: int
    arbiter: str
    market_key: str
    arbiter_key: str
    market_script: str
    height: int
    block: str
    moved_at: datetime
    reorgs: int
    last_pos: int


class Term(Struct, frozen=True, kw_only=True):
    """One script of an account, and where its owner is paid."""

    script: str
    key: str
    account: Kind
    owner: str
    expires_height: int
    paid_to: str
    release_key: str
    refund_key: str
    market_key: str
    arbiter_key: str
    opened_pos: int


class Account(Struct, frozen=True, kw_only=True):
    """One account on the chain: an escrow, a worker's stake and pay, or what market and arbiter keep for others.

    Attributes:
        key: The escrow's id, the worker's key, or ``reserve``.
        script, expires_height, paid_to, release_key, refund_key, market_key, arbiter_key: Of the newest term.
        terms: How many it had. missing_msat: Spent without the market, or gone with a reorganised chain.
        drawn_msat: For what others are due, by confirmed payouts. returned_msat: To its owner.
        rewarded_msat: For work, to its owner. drawing_msat, returning_msat, rewarding_msat: By payouts under way.
        live_sat, coins: What its outputs hold now, and how many they are.
    """

    key: str
    account: Kind
    owner: str
    script: str | None
    expires_height: int | None
    paid_to: str | None
    release_key: str | None
    refund_key: str | None
    market_key: str | None
    arbiter_key: str | None
    terms: int
    deposited_msat: int
    drawing_msat: int
    drawn_msat: int
    returning_msat: int
    returned_msat: int
    rewarding_msat: int
    rewarded_msat: int
    last_pos: int
    live_sat: int
    coins: int
    missing_msat: int


class Coin(Struct, frozen=True, kw_only=True):
    """An output of an account.

    Attributes:
        outpoint: The transaction's id and the output's number in eight hex digits.
        height: Of its block. epoch: The payout that made it; 0 if it was deposited.
    """

    outpoint: str
    key: str
    value_sat: int
    height: int
    script: str
    epoch: int


class Payout(Struct, frozen=True, kw_only=True):
    """One payout; see ``PayoutPlanned`` for what it is made of.

    Attributes:
        fees_sat: Of each rung. fee_sat, txid: Of the rung that was sent or confirmed last.
        saved_sat: What the confirmed rung left of ``fund_sat``.
        rewards_sat, refunds_sat, stakes_sat: Allotted for work, to clients, and to workers of their stake.
        borne_vb: Virtual bytes whose fee each owner bears who takes money out.
        height, block: Where it is. objection: What the arbiter found else.
    """

    epoch: int
    state: State
    planned_height: int
    rate_msat: int
    fees_sat: tuple[int, ...]
    fund_sat: int
    market_sat: int
    reserve_sat: int
    first_key: str
    inputs: int
    input_sat: int
    size: int
    root: str
    receipts: str
    anchor: str
    previous: str
    planned_at: datetime
    planned_pos: int
    txid: str | None
    fee_sat: int | None
    sent_at: datetime | None
    objection: Objection | None
    height: int | None
    block: str | None
    confirmed_at: datetime | None
    confirmed_pos: int | None
    payees: int
    rewards_sat: int
    refunds_sat: int
    stakes_sat: int
    borne_vb: tuple[int, ...]
    sendings: int
    last_pos: int
    saved_sat: int

    @property
    def open(self) -> bool:
        """Whether it is still to be settled."""
        return self.state in (State.PLANNED, State.CONTESTED, State.SENT)

    @property
    def cost_sat(self) -> int:
        """Its fee, or that of the first rung while none was sent."""
        return self.fees_sat[0] if self.fee_sat is None else self.fee_sat

    def at(self, fee_sat: int) -> "Payout":
        """The same payout at the rung with this fee."""
        return replace(self, fee_sat=fee_sat)

    @property
    def rung(self) -> int:
        """Which of the ladder's transactions that is."""
        return self.fees_sat.index(self.cost_sat)

    @property
    def borne_sat(self) -> int:
        """The part of the fee that owners bear who take money out."""
        rate_msat = self.rate_msat * LADDER[self.rung]
        return sum(fee_sat(vb, rate_msat) for vb in self.borne_vb)

    @property
    def paid_sat(self) -> int:
        """What all that it pays get, the market among them."""
        return self.rewards_sat + self.refunds_sat + self.stakes_sat - self.borne_sat + self.market_sat


class Payment(Struct, frozen=True, kw_only=True):
    """What a payout pays one party, and how far that payout is.

    Attributes:
        amount_sat: Taken from what it has due; it bears the fee for ``borne_vb`` of it.
        jobs: How many it is for.
    """

    epoch: int
    due: Due
    owner: str
    key: str
    amount_sat: int
    borne_vb: int
    script: str
    jobs: int
    state: State
    txid: str | None
    height: int | None


class Draw(Struct, frozen=True, kw_only=True):
    """What a payout takes of one account, and how far that payout is.

    Attributes:
        coins: Outputs that it spends. due_sat: To the account's owner. change_sat: What is left, at least.
        pool_sat: To others; less than 0 where money is put into the reserve.
        change: By how many outputs the one with what is left is behind the anchor's.
        saved_sat: What a cheaper rung than the dearest left of ``pool_sat``; it is in the change.
    """

    epoch: int
    place: int
    key: str
    account: Kind
    owner: str
    coins: tuple[str, ...]
    coins_sat: int
    due_sat: int
    pool_sat: int
    change_sat: int
    script: str
    change: int | None
    state: State
    txid: str | None
    height: int | None
    saved_sat: int


class JobPayout(Struct, frozen=True, kw_only=True):
    """What a payout pays for one job, and how far that payout is."""

    job: str
    epoch: int
    amount_msat: int
    workers: int
    state: State
    txid: str | None
    height: int | None


class OnChain(Struct, frozen=True, kw_only=True):
    """What all accounts and all confirmed payouts add up to.

    Attributes:
        live_msat: In outputs now. paid_msat: For work. returned_msat: Allotted to owners, of which they bore
            ``borne_msat`` of the fees. market_msat: The market's. miners_msat: All fees.
        fund_msat: Of what jobs were charged, all that was meant for miners. rewarding_msat: On the way to workers.
    """

    deposited_msat: int = 0
    missing_msat: int = 0
    live_msat: int = 0
    rewarding_msat: int = 0
    paid_msat: int = 0
    returned_msat: int = 0
    borne_msat: int = 0
    market_msat: int = 0
    miners_msat: int = 0
    fund_msat: int = 0


class Named(Struct, frozen=True, kw_only=True):
    """Something on the chain whose name begins as was asked.

    Attributes:
        kind: ``transaction``, ``anchor``, ``block`` or ``root`` (of a payout, or where it is), ``outpoint``, ``script``
            (that an account is paid to), ``paid_to`` (that its owner is paid at) or ``market`` (that the market is).
        epoch: The payout's; of an outpoint that which made it. key: The account's.
    """

    kind: str
    id: str
    epoch: int | None = None
    key: str | None = None


def ordered(payments: Sequence[Payment]) -> list[Payment]:
    """Payments in the order of their payout's outputs; see ``domain.payout.in_order``."""
    return sorted(payments, key=lambda one: (one.amount_sat, one.script, one.due, one.owner))
