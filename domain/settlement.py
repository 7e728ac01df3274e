"""How the chain enters the market: what parties and settlement may say of it, and why it may be refused.

What settlement says of the chain is checked against the books as far as they reach: an output is counted once, a
transaction is a payout only if its id is that of one of the payout's rungs, and a payout is given up only if it can
never confirm. What follows is decided in ``domain.deposits``, ``domain.following`` and ``domain.paying``.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from domain.bitcoin import Network
from domain.errors import Refused
from domain.events import Objection
from domain.ids import (
    BlockHeader,
    Count,
    Digest,
    Epoch,
    Height,
    PartyKey,
    PublicKey,
    Reference,
    Script,
    Txid,
    Vout,
)
from domain.money import PositiveMsat


class OpenEscrow(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Have a script to pay one's budget to; again for a new term. The fields are those of ``EscrowOpened``."""

    release_key: PublicKey
    refund_key: PublicKey
    expires_height: Height
    refund_script: Script


class OpenStake(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Have a script for one's stake and a place to be paid at; again for a new one. See ``StakeOpened``."""

    release_key: PublicKey
    refund_key: PublicKey
    expires_height: Height
    payout_script: Script


class ConfirmDeposit(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Settlement saw ``owner`` pay into the market, as a client's escrow or a worker's stake.

    Attributes:
        reference: Names the payment; on a chain it is the transaction's id, and the rest says where it is.
        script: Of the account, which the output pays.
    """

    account: Literal["escrow", "stake"]
    owner: PartyKey
    amount_msat: PositiveMsat
    reference: Reference
    vout: Vout | None = None
    height: Height | None = None
    script: Script | None = None


class JoinChain(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The fields are those of ``ChainJoined``."""

    network: Network
    height: Height
    block: Txid
    confirmations: Height
    arbiter: PartyKey
    market_key: PublicKey
    arbiter_key: PublicKey
    market_script: Script


class AdvanceChain(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The best chain ends with this block now."""

    height: Height
    block: Txid


class ReorganiseChain(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Nothing above this block is in the best chain any more."""

    height: Height
    block: Txid


class ReportTaken(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A transaction that is no payout spent an output of an account, in the block at this height."""

    reference: Txid
    vout: Vout
    txid: Txid
    height: Height | None = None


class ReturnLapsed(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Take free money out of every account whose term is ending, for its owner."""


class PlanPayout(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Plan the next payout at this rate, and bind this log in it."""

    rate_msat: Count
    size: Count
    root: Digest


class ContestPayout(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The arbiter finds something else, and does not sign."""

    epoch: Epoch
    objection: Objection


class RecordBroadcast(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A rung of the payout was handed to the network."""

    epoch: Epoch
    txid: Txid


class ConfirmPayout(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A rung of the payout is deep enough in the best chain; the proof is that of ``PayoutConfirmed``."""

    epoch: Epoch
    txid: Txid
    height: Height
    header: BlockHeader
    index: Count
    branch: Annotated[tuple[Digest, ...], Meta(max_length=32)]


class AbandonPayout(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The payout can never confirm."""

    epoch: Epoch


Command = (
    OpenEscrow
    | OpenStake
    | ConfirmDeposit
    | JoinChain
    | AdvanceChain
    | ReorganiseChain
    | ReportTaken
    | ReturnLapsed
    | PlanPayout
    | ContestPayout
    | RecordBroadcast
    | ConfirmPayout
    | AbandonPayout
)


class NoChain(Refused):
    template = "the market has not joined a chain yet; wait until `pasar status` shows that settlement is up"


class UnknownPayout(Refused):
    template = "there is no payout {epoch}; `pasar payout list` shows those that exist"


class PayoutSettled(Refused):
    template = "payout {epoch} is {state}; nothing more can be done with it"


class NotOfPayout(Refused):
    template = "transaction {txid} is none of payout {epoch}; send what was signed for it"


class NotInBlock(Refused):
    template = "the proof does not lead from transaction {txid} to block {block}; ask a node for it again"


class StillPayable(Refused):
    template = "payout {epoch} may still confirm; wait until it does, or until one of its inputs is gone for good"


class UnknownOutput(Refused):
    template = "output {outpoint} is none of the market's"


class NotOpened(Refused):
    template = "no account of the market has this script; open the account before paying to it"


class NotDeepEnough(Refused):
    template = "block {height} counts once the chain is at {needed} and it is at {tip}; say it again then"


class TermOver(Refused):
    template = (
        "the script's term ends at height {expires_height} and the chain is at {height}; "
        "its owner takes the output back alone from then on, and pays to the script of a new term"
    )


class IsPayout(Refused):
    template = "transaction {txid} is payout {epoch}; confirm that instead"


class OtherKeys(Refused):
    template = (
        "accounts are open whose scripts have other keys of the market or the arbiter, and only those can sign for "
        "them; restore the wallet files of settlement and arbiter"
    )


class NotOnChain(Refused):
    template = (
        "the market counts money that no chain holds, so it cannot join one; "
        "start a new market (another PASAR_HOME) and fund that on the chain"
    )
