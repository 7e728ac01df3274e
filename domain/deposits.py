"""Accounts on the chain: opened by their owners, paid into, and emptied for their owners when the term ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from domain import bitcoin, errors
from domain.accounts import Term, key_of, witness_script_of
from domain.bitcoin import Network, OutPoint
from domain.errors import BadTerms
from domain.events import (
    AnyEvent,
    ChainJoined,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    StakeDeposited,
    StakeOpened,
    StakeWithdrawn,
)
from domain.ids import escrow_id
from domain.money import MSAT_PER_SAT
from domain.settlement import (
    ConfirmDeposit,
    IsPayout,
    NoChain,
    NotDeepEnough,
    NotOpened,
    OpenEscrow,
    OpenStake,
    ReturnLapsed,
    TermOver,
)

if TYPE_CHECKING:
    from domain.market import World

#: The shortest and the longest term of an account, in blocks: two days and a year at ten minutes each.
TERM_MIN, TERM_MAX = 288, 52_560
#: A smaller output to an account is not counted: spending it costs too much of it. Its owner can take it back alone.
DEPOSIT_MIN_SAT: Final = 1_000
#: Terms that one account may have had, and accounts whose money one command returns.
TERMS_MAX, RETURNED_MAX = 100, 500
#: How an output script begins that can be paid to, and its length: P2WPKH, P2WSH, P2TR.
_PAID_TO: Final = {b"\x00\x14": 22, b"\x00\x20": 34, b"\x51\x20": 34}


def deposit_sat(missing_msat: int) -> int:
    """What to deposit for so much to be there: whole satoshi, and enough of them to be counted."""
    return max(DEPOSIT_MIN_SAT, -(-missing_msat // MSAT_PER_SAT))


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
    """The four keys of the account's script.

    Raises:
        NoChain: None was joined.
        BadTerms: Too many terms or a bad length of this one; keys that nobody can sign with or that are not two more;
            a script that cannot be paid to.
    """
    chain, books = world.books.chain, world.books
    if chain is None:
        raise NoChain
    if len(books.terms.get(key, ())) >= TERMS_MAX:
        raise BadTerms(field="the number of terms", value=TERMS_MAX + 1, allowed=f"at most {TERMS_MAX} for an account")
    low, high = books.height + TERM_MIN, books.height + TERM_MAX
    if not low <= command.expires_height <= high:
        raise BadTerms(field="expires_height", value=command.expires_height, allowed=f"{low} to {high}")
    keys = command.release_key, command.refund_key, chain.market_key, chain.arbiter_key
    if not are_keys(*keys):
        allowed = "two compressed public keys of one's own, other than the market's and the arbiter's"
        raise BadTerms(field="release_key and refund_key", value=f"{keys[0]}, {keys[1]}", allowed=allowed)
    paid_to = command.refund_script if isinstance(command, OpenEscrow) else command.payout_script
    require_payable("the script to be paid at", paid_to, chain.network)
    return keys


def are_keys(*keys: str) -> bool:
    """Whether these are different public keys."""
    return len(set(keys)) == len(keys) and all(bitcoin.is_key(bytes.fromhex(key)) for key in keys)


def require_payable(field: str, script: str, network: Network) -> None:
    """See that an output script is one that has an address and is spent by rules of today.

    Raises:
        BadTerms: It is not.
    """
    raw = bytes.fromhex(script)
    if _PAID_TO.get(raw[:2]) != len(raw):
        raise BadTerms(field=field, value=script, allowed=f"a P2WPKH, P2WSH or P2TR script of {network}")


def _unless_open(
    world: "World", key: str, event: EscrowOpened | StakeOpened, paid_to: str
) -> Sequence[EscrowOpened | StakeOpened]:
    """Nothing where the newest term is this very one; its keys are not used for another."""
    script = bitcoin.p2wsh(witness_script_of(event))
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
        IsPayout: A payout's change, which is counted when that confirms.
        NotDeepEnough, TermOver: It cannot be relied on yet, or any more.
    """
    chain = world.books.chain
    if chain is None and (command.vout, command.height, command.script) == (None, None, None):
        if command.reference in world.references:
            raise errors.AlreadyCredited(reference=command.reference)
        return (_credited(world, command, None),)
    if command.vout is None or command.height is None or command.script is None or len(command.reference) != 64:
        raise BadTerms(field="reference", value=command.reference, allowed="an output of a transaction, with its block")
    if command.amount_msat % MSAT_PER_SAT:
        raise BadTerms(field="amount_msat", value=command.amount_msat, allowed="whole satoshi on the chain")
    term = world.books.by_script.get(bytes.fromhex(command.script))
    if chain is None or term is None or (term.account, term.owner) != (command.account, command.owner):
        raise NotOpened
    require_depth(world, chain, command.height)
    outpoint = bitcoin.reference(OutPoint(command.reference, command.vout))
    lost = world.books.reorged.get(outpoint)
    if lost is not None:
        if (lost.value_sat * MSAT_PER_SAT, lost.term) != (command.amount_msat, term):
            raise BadTerms(field="amount_msat", value=command.amount_msat, allowed="what the output held before")
        return (DepositRestored(term.account, term.owner, outpoint, command.amount_msat, command.height),)
    if outpoint in world.references:
        raise errors.AlreadyCredited(reference=outpoint)
    epoch = world.books.payout_of(command.reference)
    if epoch is not None and not world.books.is_abandoned(epoch):
        raise IsPayout(txid=command.reference, epoch=epoch)
    if world.books.is_ending(term):
        raise TermOver(expires_height=term.expires_height, height=world.books.height)
    return (_credited(world, command, term),)


def require_depth(world: "World", chain: ChainJoined, height: int) -> None:
    """See that the block at ``height`` is as deep as it takes.

    Raises:
        NotDeepEnough: It is not.
    """
    needed, tip = height + chain.confirmations - 1, world.books.height
    if tip < needed:
        raise NotDeepEnough(height=height, needed=needed, tip=tip)


def _credited(world: "World", command: ConfirmDeposit, term: Term | None) -> EscrowFunded | StakeDeposited:
    number = None
    if term is not None:
        number = world.books.terms[key_of(term.account, term.owner)].index(term)
    paid = (command.amount_msat, command.reference, command.vout, command.height, number)
    if command.account == "escrow":
        return EscrowFunded(escrow_id(command.owner), command.owner, *paid)
    world.worker_of(command.owner)
    return StakeDeposited(command.owner, *paid)


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
