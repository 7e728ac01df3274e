"""How far the chain is, and what it took back: settlement follows it, and the market follows settlement."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from domain import bitcoin
from domain.accounts import Held
from domain.bitcoin import OutPoint
from domain.deposits import are_keys, require_depth, require_payable
from domain.errors import BadTerms
from domain.events import (
    AnyEvent,
    ChainAdvanced,
    ChainJoined,
    ChainReorganised,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    PayoutReorged,
)
from domain.money import MSAT_PER_SAT
from domain.settlement import (
    AdvanceChain,
    IsPayout,
    JoinChain,
    NoChain,
    NotOnChain,
    OtherKeys,
    ReorganiseChain,
    ReportTaken,
    UnknownOutput,
)

if TYPE_CHECKING:
    from domain.market import World

#: Hex digits that name an output; what was paid elsewhere than on a chain has a shorter name.
_OUTPOINT_DIGITS = 72


def join(world: "World", command: JoinChain) -> Sequence[AnyEvent]:
    """Settle on this chain from now on; recorded at every start, so that whoever hears it has heard all before it.

    Raises:
        BadTerms: It is another chain than the one joined before, or the keys or the script are none.
        OtherKeys: What the accounts hold could not be spent any more.
        NotOnChain: Money was counted that is on no chain.
    """
    joined, books = world.books.chain, world.books
    if not are_keys(command.market_key, command.arbiter_key):
        value = f"{command.market_key}, {command.arbiter_key}"
        raise BadTerms(field="market_key and arbiter_key", value=value, allowed="two compressed public keys")
    require_payable("market_script", command.market_script, command.network)
    if joined is None:
        if any(len(reference) != _OUTPOINT_DIGITS for reference in world.references):
            raise NotOnChain
        return (_joined(command, command.height, command.block),)
    if joined.network != command.network:
        raise BadTerms(field="network", value=command.network, allowed=f"{joined.network}, which the market joined")
    same = (command.market_key, command.arbiter_key) == (joined.market_key, joined.arbiter_key)
    if not same and books.terms:
        raise OtherKeys
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
    _chain_of(world)
    if command.height <= world.books.height:
        raise BadTerms(field="height", value=command.height, allowed=f"above {world.books.height}")
    return (ChainAdvanced(command.height, command.block),)


def reorganise(world: "World", command: ReorganiseChain) -> Sequence[AnyEvent]:
    """Undo what was counted above this block: what others took, then payouts, the newest first, then deposits.

    Raises:
        NoChain: None was joined.
        BadTerms: Nothing was known above it, or a payout that is buried is.
    """
    _chain_of(world)
    books = world.books
    if (command.height, command.block) == books.tips[-1]:
        return ()
    if not books.floor <= command.height < books.height:
        raise BadTerms(field="height", value=command.height, allowed=f"{books.floor} to {books.height - 1}")
    undone = [
        (epoch, found.confirmed.txid)
        for epoch in reversed(books.recent)
        if (found := books.payouts[epoch]).confirmed is not None and found.confirmed.height > command.height
    ]
    gone = {outpoint for epoch, _ in undone for outpoint in books.payouts[epoch].made}
    back = [one for _, one in sorted(books.taken.items()) if _is_back(one.height, one.coin, command.height, gone)]
    lost = [*_unspent_above(world, command.height, [epoch for epoch, _ in undone])]
    lost += [one.coin for one in back if one.reorged or (one.coin.height > command.height)]
    return [
        ChainReorganised(command.height, command.block),
        *(_restored(world, one.coin) for one in back),
        *(PayoutReorged(epoch, txid) for epoch, txid in undone),
        *(_reorged(coin) for coin in sorted(lost, key=lambda coin: coin.outpoint) if coin.outpoint not in gone),
    ]


def _is_back(taken_at: int | None, coin: Held, height: int, gone: set[str]) -> bool:
    """Whether what took the output left the chain: by its own block, or because its output did."""
    return (taken_at is not None and taken_at > height) or coin.height > height or coin.outpoint in gone


def _unspent_above(world: "World", height: int, undone: Sequence[int]) -> Iterator[Held]:
    """Deposits in blocks above ``height``, those among them that the undone payouts had spent."""
    books = world.books
    spent = [coin for epoch in undone for coin in books.payouts[epoch].spent]
    for coin in (*books.coins.values(), *spent):
        if coin.height > height and coin.outpoint in world.references:
            yield coin


def _reorged(coin: Held) -> DepositReorged:
    return DepositReorged(coin.term.account, coin.term.owner, coin.outpoint, coin.value_sat * MSAT_PER_SAT)


def _restored(world: "World", coin: Held) -> DepositRestored:
    owner = coin.term.owner or world.operator
    return DepositRestored(coin.term.account, owner, coin.outpoint, coin.value_sat * MSAT_PER_SAT, coin.height)


def taken(world: "World", command: ReportTaken) -> Sequence[AnyEvent]:
    """Somebody else spent an output; or what made it, so that one which had left the chain never comes back.

    Raises:
        NoChain: None was joined.
        IsPayout: It was the market.
        NotDeepEnough: The chain may still change its mind.
        UnknownOutput: It was none of the market's, or it is known to be gone.
    """
    chain, books = _chain_of(world), world.books
    outpoint = bitcoin.reference(OutPoint(command.reference, command.vout))
    epoch = books.payout_of(command.txid)
    if epoch is not None and not books.is_abandoned(epoch):
        raise IsPayout(txid=command.txid, epoch=epoch)
    if command.height is not None:
        require_depth(world, chain, command.height)
    coin = books.coins.get(outpoint) or books.reorged.get(outpoint)
    if coin is None:
        raise UnknownOutput(outpoint=outpoint)
    amount_msat, owner = coin.value_sat * MSAT_PER_SAT, coin.term.owner or world.operator
    return (CoinTaken(coin.term.account, owner, outpoint, amount_msat, command.txid, command.height),)


def _chain_of(world: "World") -> ChainJoined:
    chain = world.books.chain
    if chain is None:
        raise NoChain
    return chain
