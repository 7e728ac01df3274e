"""A payout from its plan to its end: what follows for it, by the table in ``domain.books``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain import bitcoin, payout, planning
from domain.books import Books, Payout, State
from domain.deposits import require_depth
from domain.errors import BadTerms
from domain.events import AnyEvent, LogAnchored, PayoutAbandoned, PayoutBroadcast, PayoutConfirmed, PayoutContested
from domain.money import Sat
from domain.settlement import (
    AbandonPayout,
    ConfirmPayout,
    ContestPayout,
    NoChain,
    NotInBlock,
    NotOfPayout,
    PayoutSettled,
    PlanPayout,
    RecordBroadcast,
    StillPayable,
    UnknownOutput,
    UnknownPayout,
)

if TYPE_CHECKING:
    from domain.market import World


def plan(world: "World", command: PlanPayout) -> Sequence[AnyEvent]:
    """Plan what is due.

    Raises:
        NothingToPay: With the reason.
        BadTerms: The rate is out of all proportion, or an earlier payout binds more of the log.
    """
    books = world.books
    if not 1 <= command.rate_msat <= payout.RATE_MSAT_MAX:
        allowed = f"1 to {payout.RATE_MSAT_MAX} for a virtual byte"
        raise BadTerms(field="rate_msat", value=command.rate_msat, allowed=allowed)
    bound = max((one.planned.size for one in books.payouts.values() if one.state is not State.ABANDONED), default=0)
    if command.size < bound:
        raise BadTerms(field="size", value=command.size, allowed=f"{bound} or more, which are bound already")
    epoch = len(books.payouts) + 1
    terms = {"rate_msat": command.rate_msat, "size": command.size}
    planned, allotted = planning.plan(books, world.operator, epoch=epoch, root=command.root, **terms)
    return (planned, *allotted)


def contest(world: "World", command: ContestPayout) -> Sequence[AnyEvent]:
    """Refuse to sign a payout that was not sent; said again, nothing.

    Raises:
        UnknownPayout, PayoutSettled: There is nothing to refuse.
    """
    found = _payout(world, command.epoch)
    if found.state is State.CONTESTED:
        return ()
    if found.state is not State.PLANNED:
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    return (PayoutContested(command.epoch, command.objection),)


def broadcast(world: "World", command: RecordBroadcast) -> Sequence[AnyEvent]:
    """A rung went out, perhaps again.

    Raises:
        UnknownPayout, PayoutSettled, NotOfPayout: It is no transaction of an open payout.
    """
    found = _payout(world, command.epoch)
    if found.state not in (State.PLANNED, State.SENT):
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    return (PayoutBroadcast(command.epoch, command.txid, _fee_sat(found, command.txid)),)


def confirm(world: "World", command: ConfirmPayout) -> Sequence[AnyEvent]:
    """A rung is deep enough; what the arbiter said of it does not matter to the chain.

    Raises:
        UnknownPayout, PayoutSettled, NotOfPayout: It is no transaction of an open payout.
        BadBranch, NotInBlock: The proof does not show that it is in such a block.
        NotDeepEnough: The block is not deep enough.
        UnknownOutput: An output that it spends is not there.
    """
    found, chain = _payout(world, command.epoch), world.books.chain
    if not found.open:
        raise PayoutSettled(epoch=command.epoch, state=found.state)
    if chain is None:
        raise NoChain
    fee_sat = _fee_sat(found, command.txid)
    header = bytes.fromhex(command.header)
    root = bitcoin.merkle_root_from(command.txid, command.index, tuple(map(bytes.fromhex, command.branch)))
    if root != bitcoin.parse_header(header).merkle_root or not bitcoin.has_work(header):
        raise NotInBlock(txid=command.txid, block=bitcoin.block_hash(header))
    require_depth(world, chain, command.height)
    gone = next((coin.outpoint for coin in payout.coins(found.planned) if coin.outpoint not in world.books.coins), "")
    if gone:
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
    if not may_abandon(world.books, found):
        raise StillPayable(epoch=command.epoch)
    return (PayoutAbandoned(command.epoch),)


def may_abandon(books: Books, found: Payout) -> bool:
    """Whether an open payout will never confirm: the arbiter did not sign it, or an input is gone for good."""
    return found.state is State.CONTESTED or any(
        map(books.is_gone, (one.outpoint for one in payout.coins(found.planned)))
    )


def _payout(world: "World", epoch: int) -> Payout:
    found = world.books.payouts.get(epoch)
    if found is None:
        raise UnknownPayout(epoch=epoch)
    return found


def _fee_sat(found: Payout, txid: str) -> Sat:
    if txid not in found.txids:
        raise NotOfPayout(epoch=found.planned.epoch, txid=txid)
    return found.planned.fees_sat[found.txids.index(txid)]
