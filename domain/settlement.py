"""How the chain enters the market: accounts are opened, deposits counted, payouts planned, sent and confirmed.

What settlement says of the chain is checked against the books as far as they reach: an output is counted once, a
transaction is a payout only if its id is that of one of the payout's rungs, and a payout is given up only if it can
never confirm.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct

from domain import bitcoin, errors, payout, planning
from domain.bitcoin import Network, OutPoint
from domain.books import Held, Payout, State, Term, key_of
from domain.errors import BadTerms, Refused
from domain.events import (
    AnyEvent,
    ChainAdvanced,
    ChainJoined,
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    LogAnchored,
    Objection,
    PayoutAbandoned,
    PayoutBroadcast,
    PayoutConfirmed,
    PayoutContested,
    PayoutReorged,
    StakeDeposited,
    StakeOpened,
    StakeWithdrawn,
)
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
    escrow_id,
)
from domain.money import MSAT_PER_SAT, PositiveMsat, Sat

if TYPE_CHECKING:
    from domain.market import World

#: The shortest and the longest term of an account, in blocks: two days and a year at ten minutes each.
TERM_MIN, TERM_MAX = 288, 52_560
#: Terms that one account may have had, and accounts whose money one command returns.
TERMS_MAX, RETURNED_MAX = 100, 500
#: A fee rate above this, for a virtual byte, is a mistake.
RATE_MSAT_MAX: Final = 1_000_000


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
    template = "payout {epoch} can still confirm; wait for it"


class UnknownOutput(Refused):
    template = "output {outpoint} is none of the market's"


class NotOpened(Refused):
    template = "no account of the market has this script; open the account before paying to it"


# ------------------------------------------------------------------------------------------------------------- accounts
def open_escrow(world: "World", command: OpenEscrow, client: str) -> Sequence[AnyEvent]:
    """A script for the client's budget.

    Raises:
        NoChain, BadTerms: See ``_keys_of``.
    """
    keys = _keys_of(world, command, escrow_id(client))
    event = EscrowOpened(escrow_id(client), client, *keys, command.expires_height, command.refund_script)
    return _unless_open(world, escrow_id(client), event, event.refund_script)


def open_stake(world: "World", command: OpenStake, worker: str) -> Sequence[AnyEvent]:
    """A script for the worker's stake, and a place to be paid at.

    Raises:
        UnknownWorker: It is not registered.
        NoChain, BadTerms: See ``_keys_of``.
    """
    world.worker_of(worker)
    event = StakeOpened(worker, *_keys_of(world, command, worker), command.expires_height, command.payout_script)
    return _unless_open(world, worker, event, event.payout_script)


def _keys_of(world: "World", command: OpenEscrow | OpenStake, key: str) -> tuple[str, str, str, str]:
    chain, books = world.books.chain, world.books
    if chain is None:
        raise NoChain
    if len(books.terms.get(key, ())) >= TERMS_MAX:
        raise BadTerms(field="the number of terms", value=TERMS_MAX + 1, allowed=f"at most {TERMS_MAX} for an account")
    low, high = books.height + TERM_MIN, books.height + TERM_MAX
    if not low <= command.expires_height <= high:
        raise BadTerms(field="expires_height", value=command.expires_height, allowed=f"{low} to {high}")
    keys = command.release_key, command.refund_key, chain.market_key, chain.arbiter_key
    points = [bytes.fromhex(one) for one in keys]
    if len(set(points)) < len(points) or not all(map(bitcoin.is_key, points)):
        allowed = "two compressed public keys of one's own, other than the market's and the arbiter's"
        raise BadTerms(field="release_key and refund_key", value=f"{keys[0]}, {keys[1]}", allowed=allowed)
    paid_to = command.refund_script if isinstance(command, OpenEscrow) else command.payout_script
    try:
        bitcoin.address(bytes.fromhex(paid_to), chain.network)
    except bitcoin.NoAddress:
        raise BadTerms(field="the script to be paid at", value=paid_to, allowed="P2WPKH, P2WSH or P2TR") from None
    return keys


def _unless_open(
    world: "World", key: str, event: EscrowOpened | StakeOpened, paid_to: str
) -> Sequence[EscrowOpened | StakeOpened]:
    """Nothing where the newest term is this very one; its keys are not used for another."""
    keys = bytes.fromhex(event.release_key), bytes.fromhex(event.market_key), bytes.fromhex(event.arbiter_key)
    script = bitcoin.p2wsh(bitcoin.escrow_script(keys, bytes.fromhex(event.refund_key), event.expires_height))
    newest = world.books.term_of(key)
    if newest is not None and newest.script == script and newest.payout_script.hex() == paid_to:
        return ()
    if script in world.books.by_script:
        raise BadTerms(field="release_key", value=event.release_key, allowed="keys that no term had before")
    return (event,)


def confirm_deposit(world: "World", command: ConfirmDeposit) -> Sequence[AnyEvent]:
    """Count a payment into an account; on a chain only one to a script of that account.

    Raises:
        AlreadyCredited: It was counted before.
        NotOpened, BadTerms: It is no payment to that account.
    """
    on_chain = (command.vout, command.height, command.script)
    if world.books.chain is None and on_chain == (None, None, None):
        if command.reference in world.references:
            raise errors.AlreadyCredited(reference=command.reference)
        return (_credited(world, command, None),)
    if command.vout is None or command.height is None or command.script is None or len(command.reference) != 64:
        raise BadTerms(field="reference", value=command.reference, allowed="an output of a transaction, with its block")
    if command.amount_msat % MSAT_PER_SAT:
        raise BadTerms(field="amount_msat", value=command.amount_msat, allowed="whole satoshi on the chain")
    term = world.books.by_script.get(bytes.fromhex(command.script))
    if term is None or (term.account, term.owner) != (command.account, command.owner):
        raise NotOpened
    outpoint = bitcoin.reference(OutPoint(command.reference, command.vout))
    if outpoint in world.books.reorged:
        restored = DepositRestored(term.account, term.owner, outpoint, command.amount_msat, command.height)
        if world.books.reorged[outpoint].value_sat * MSAT_PER_SAT != command.amount_msat:
            raise BadTerms(field="amount_msat", value=command.amount_msat, allowed="what the output held before")
        return (restored,)
    if outpoint in world.references:
        raise errors.AlreadyCredited(reference=outpoint)
    return (_credited(world, command, term),)


def _credited(world: "World", command: ConfirmDeposit, term: Term | None) -> EscrowFunded | StakeDeposited:
    number = None
    if term is not None:
        number = world.books.terms[key_of(term.account, term.owner)].index(term)
    paid = (command.amount_msat, command.reference, command.vout, command.height, number)
    if command.account == "escrow":
        return EscrowFunded(escrow_id(command.owner), command.owner, *paid)
    world.worker_of(command.owner)
    return StakeDeposited(command.owner, *paid)


# ------------------------------------------------------------------------------------------------------------ the chain
def join(world: "World", command: JoinChain) -> Sequence[AnyEvent]:
    """Settle on this chain from now on; recorded at every start, so that whoever hears it has heard all before it.

    Raises:
        BadTerms: It is another chain than the one joined before.
    """
    joined, books = world.books.chain, world.books
    if joined is None:
        return (_joined(command, command.height, command.block),)
    if joined.network != command.network:
        raise BadTerms(field="network", value=command.network, allowed=f"{joined.network}, which the market joined")
    return (_joined(command, *books.tips[-1]),)


def _joined(command: JoinChain, height: int, block: str) -> ChainJoined:
    keys = command.market_key, command.arbiter_key
    said = command.network, height, block, command.confirmations, command.arbiter
    return ChainJoined(*said, *keys, command.market_script)


def advance(world: "World", command: AdvanceChain) -> Sequence[AnyEvent]:
    """Follow the chain upward.

    Raises:
        NoChain: None was joined.
        BadTerms: It is not above the block before it.
    """
    _require_chain(world)
    if command.height <= world.books.height:
        raise BadTerms(field="height", value=command.height, allowed=f"above {world.books.height}")
    return (ChainAdvanced(command.height, command.block),)


def reorganise(world: "World", command: ReorganiseChain) -> Sequence[AnyEvent]:
    """Undo what was counted above this block: payouts, the newest first, then deposits.

    Raises:
        NoChain: None was joined.
        BadTerms: Nothing was known above it.
    """
    _require_chain(world)
    books = world.books
    if command.height >= books.height and (command.height, command.block) != (books.height, books.tips[-1][1]):
        raise BadTerms(field="height", value=command.height, allowed=f"below {books.height}")
    undone: list[PayoutReorged] = []
    coins: dict[str, Held] = dict(books.coins)
    for epoch, found in reversed(books.payouts.items()):
        if found.confirmed is not None and found.confirmed.height > command.height:
            undone.append(PayoutReorged(epoch, found.confirmed.txid))
            coins |= {coin.outpoint: coin for coin in found.spent}
    deposits = [
        DepositReorged(coin.term.account, coin.term.owner, coin.outpoint, coin.value_sat * MSAT_PER_SAT)
        for coin in coins.values()
        if coin.height > command.height and coin.outpoint in world.references
    ]
    return [ChainReorganised(command.height, command.block), *undone, *sorted(deposits, key=lambda one: one.outpoint)]


def taken(world: "World", command: ReportTaken) -> Sequence[AnyEvent]:
    """Somebody else spent an output.

    Raises:
        UnknownOutput: It was none of the market's, or it is known to be gone.
    """
    outpoint = bitcoin.reference(OutPoint(command.reference, command.vout))
    coin = world.books.coins.get(outpoint)
    if coin is None:
        raise UnknownOutput(outpoint=outpoint)
    amount_msat = coin.value_sat * MSAT_PER_SAT
    return (CoinTaken(coin.term.account, coin.term.owner, outpoint, amount_msat, command.txid),)


def return_lapsed(world: "World", command: ReturnLapsed) -> Sequence[AnyEvent]:
    """Free money of accounts whose term is ending, where no job and no assignment needs it any more."""
    events: list[AnyEvent] = []
    for key in sorted(world.books.lapsed):
        account, stake = world.escrows.get(key), world.stakes.get(key)
        if account is not None and not account.reserved_msat:
            whole_msat = account.usable_msat // MSAT_PER_SAT * MSAT_PER_SAT
            events += [EscrowRefunded(key, whole_msat)] if whole_msat else []
        elif stake is not None and not world.holding(key).locked_msat:
            whole_msat = stake.usable_msat // MSAT_PER_SAT * MSAT_PER_SAT
            events += [StakeWithdrawn(key, whole_msat)] if whole_msat else []
    return events[:RETURNED_MAX]


# -------------------------------------------------------------------------------------------------------------- payouts
def plan(world: "World", command: PlanPayout) -> Sequence[AnyEvent]:
    """Plan what is due.

    Raises:
        NothingToPay: With the reason.
        BadTerms: The rate is out of all proportion.
    """
    if not 1 <= command.rate_msat <= RATE_MSAT_MAX:
        raise BadTerms(field="rate_msat", value=command.rate_msat, allowed=f"1 to {RATE_MSAT_MAX} for a virtual byte")
    epoch = len(world.books.payouts) + 1
    terms = {"rate_msat": command.rate_msat, "size": command.size}
    planned, allotted = planning.plan(world.books, world.operator, epoch=epoch, root=command.root, **terms)
    return (planned, *allotted)


def contest(world: "World", command: ContestPayout) -> Sequence[AnyEvent]:
    """Refuse to sign a payout that was not sent.

    Raises:
        UnknownPayout, PayoutSettled: There is nothing to refuse.
    """
    found = _payout(world, command.epoch)
    if found.state is not State.PLANNED:
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    return (PayoutContested(command.epoch, command.objection),)


def broadcast(world: "World", command: RecordBroadcast) -> Sequence[AnyEvent]:
    """A rung went out.

    Raises:
        UnknownPayout, PayoutSettled, NotOfPayout: It is no transaction of an open payout.
    """
    found = _payout(world, command.epoch)
    if found.state not in (State.PLANNED, State.SENT):
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    return (PayoutBroadcast(command.epoch, command.txid, _fee_sat(found, command.txid)),)


def confirm(world: "World", command: ConfirmPayout) -> Sequence[AnyEvent]:
    """A rung is deep enough.

    Raises:
        UnknownPayout, PayoutSettled, NotOfPayout: It is no transaction of an open payout.
        BadBranch, NotInBlock: The proof does not show that it is in such a block.
        UnknownOutput: An output that it spends is not there.
    """
    found = _payout(world, command.epoch)
    if found.state not in (State.PLANNED, State.SENT):
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    fee_sat = _fee_sat(found, command.txid)
    header = bytes.fromhex(command.header)
    root = bitcoin.merkle_root_from(command.txid, command.index, tuple(map(bytes.fromhex, command.branch)))
    if root != bitcoin.parse_header(header).merkle_root or not bitcoin.has_work(header):
        raise NotInBlock(txid=command.txid, block=bitcoin.block_hash(header))
    if gone := _gone(world, found):
        raise UnknownOutput(outpoint=gone)
    planned, block = found.planned, bitcoin.block_hash(header)
    anchored = LogAnchored(command.epoch, planned.size, planned.root, planned.anchor, command.txid, command.height)
    proof = command.height, block, command.header, command.index, command.branch
    return PayoutConfirmed(command.epoch, command.txid, fee_sat, *proof), anchored


def abandon(world: "World", command: AbandonPayout) -> Sequence[AnyEvent]:
    """Give up a payout that the arbiter never signed, or whose inputs are gone.

    Raises:
        UnknownPayout, PayoutSettled, StillPayable: It must not be given up.
    """
    found = _payout(world, command.epoch)
    if not found.open:
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    if found.state is not State.CONTESTED and not _gone(world, found):
        raise StillPayable(epoch=command.epoch)
    return (PayoutAbandoned(command.epoch),)


def _payout(world: "World", epoch: int) -> Payout:
    found = world.books.payouts.get(epoch)
    if found is None:
        raise UnknownPayout(epoch=epoch)
    return found


def _fee_sat(found: Payout, txid: str) -> Sat:
    rung = payout.rung_of(found.planned, found.allotted, txid)
    if rung is None:
        raise NotOfPayout(epoch=found.planned.epoch, txid=txid)
    return found.planned.fees_sat[rung]


def _gone(world: "World", found: Payout) -> str:
    """An output that the payout spends and that is no longer there."""
    spent = payout.coins(found.planned)
    return next((coin.outpoint for coin in spent if coin.outpoint not in world.books.coins), "")


def _require_chain(world: "World") -> None:
    if world.books.chain is None:
        raise NoChain
