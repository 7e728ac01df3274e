"""What Bitcoin Core asks of a transaction before it relays or mines it, beside its scripts; each no has a name.

Source: Bitcoin Core's consensus/tx_check.cpp, consensus/tx_verify.cpp and policy/policy.cpp; BIP68, BIP113, BIP125.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from domain.bitcoin import SATS_MAX, BadTransaction, Tx, dust_sat, parse, serialize
from domain.bitcoin.blocks import double_sha256
from services.ports import Unspent
from services.settlement.blocks import sigops_cost, witnesses
from services.settlement.errors import TransactionRefused

MATURITY: Final = 100
WEIGHT_MAX: Final = 400_000
SIGOPS_MAX: Final = 16_000
#: Msat for each virtual byte; the least that nodes relay by default, and what a replacement pays for its own way.
FLOOR_MSAT: Final = 1_000
#: A fee rate beyond this is taken for a mistake: 1,000 sat for each virtual byte.
CAP_MSAT: Final = 1_000_000

_STRIPPED_MIN: Final = 65
_VERSIONS: Final = (1, 2)
#: From here on a lock time is seconds, below it is a height (BIP65).
_LOCK_IS_TIME: Final = 500_000_000
_FINAL: Final = 0xFFFFFFFF
_BYTES_PER_SIGOP: Final = 20
_NO_OUTPOINT: Final = "00" * 32


class Sized(NamedTuple):
    """A transaction that could be read, with what it costs a block."""

    raw: bytes
    tx: Tx
    txid: str
    weight: int


class Next(NamedTuple):
    """Where the transaction would be mined.

    Attributes:
        height: Of the next block.
        median_time: Of the blocks below it.
        median_at: The same below the block of another height.
    """

    height: int
    median_time: int
    median_at: Callable[[int], int]


def read(raw: bytes) -> Sized:
    """Take bytes for a transaction, and refuse what no block could hold.

    Raises:
        TransactionRefused: ``unreadable``, ``coinbase``, ``duplicate-inputs`` or ``bad-amount``.
    """
    try:
        tx = parse(raw)
    except BadTransaction as error:
        raise TransactionRefused(reason="unreadable", detail=str(error.facts["reason"])) from None
    if any(source.outpoint.txid == _NO_OUTPOINT for source in tx.inputs):
        raise TransactionRefused(reason="coinbase")
    if len({source.outpoint for source in tx.inputs}) < len(tx.inputs):
        raise TransactionRefused(reason="duplicate-inputs")
    if (total := sum(output.value_sat for output in tx.outputs)) > SATS_MAX:
        raise TransactionRefused(reason="bad-amount", detail=f"{total} sat")
    stripped = serialize(tx)
    return Sized(raw, tx, double_sha256(stripped)[::-1].hex(), 3 * len(stripped) + len(raw))


def verify_form(sized: Sized) -> None:
    """Refuse what nodes do not relay, whatever it spends.

    Raises:
        TransactionRefused: ``too-large``, ``nonstandard`` or ``dust``.
    """
    if sized.weight > WEIGHT_MAX:
        raise TransactionRefused(reason="too-large", detail=f"{sized.weight} of {WEIGHT_MAX} weight units")
    if len(serialize(sized.tx)) < _STRIPPED_MIN:
        raise TransactionRefused(reason="nonstandard", detail=f"fewer than {_STRIPPED_MIN} bytes")
    if sized.tx.version not in _VERSIONS:
        raise TransactionRefused(reason="nonstandard", detail=f"version {sized.tx.version}")
    for number, output in enumerate(sized.tx.outputs):
        if output.value_sat < (least := dust_sat(output.script)):
            detail = f"output {number} holds {output.value_sat} of at least {least} sat"
            raise TransactionRefused(reason="dust", detail=detail)


def verify_locks(tx: Tx, coins: Sequence[Unspent], upcoming: Next) -> None:
    """Refuse what the next block could not hold yet.

    Raises:
        TransactionRefused: ``non-final``, ``non-BIP68-final`` or ``immature-coinbase``.
    """
    if tx.locktime and any(source.sequence != _FINAL for source in tx.inputs):
        now = upcoming.height if tx.locktime < _LOCK_IS_TIME else upcoming.median_time
        if tx.locktime >= now:
            raise TransactionRefused(reason="non-final", detail=f"locked until {tx.locktime}, it is {now}")
    for number, (source, coin) in enumerate(zip(tx.inputs, coins, strict=True)):
        if tx.version >= 2 and not _is_mature(source.sequence, coin, upcoming):
            raise TransactionRefused(reason="non-BIP68-final", detail=f"input {number}")
        if coin.coinbase and upcoming.height - coin.height < MATURITY:
            detail = f"input {number} can be spent in block {coin.height + MATURITY}"
            raise TransactionRefused(reason="immature-coinbase", detail=detail)


def fee_sat(tx: Tx, coins: Sequence[Unspent]) -> int:
    """What the transaction leaves to the miner.

    Raises:
        TransactionRefused: ``in-belowout``: less than nothing.
    """
    held, given = sum(coin.value_sat for coin in coins), sum(output.value_sat for output in tx.outputs)
    if held < given:
        raise TransactionRefused(reason="in-belowout", detail=f"{held} in, {given} out")
    return held - given


def sigops(sized: Sized, coins: Sequence[Unspent]) -> int:
    """What the transaction takes of a block's signature operations.

    Raises:
        TransactionRefused: ``nonstandard``: more than one transaction may.
    """
    cost = sigops_cost(sized.tx, witnesses(sized.raw, len(sized.tx.inputs)), [coin.script for coin in coins])
    if cost > SIGOPS_MAX:
        raise TransactionRefused(reason="nonstandard", detail=f"{cost} of {SIGOPS_MAX} signature operations")
    return cost


def virtual_size(weight: int, sigops: int) -> int:
    """Virtual bytes, as nodes count them: many signatures make a transaction larger."""
    return (max(weight, sigops * _BYTES_PER_SIGOP) + 3) // 4


def verify_fee(fee_sat: int, vsize: int, floor_msat: int, cap_msat: int) -> None:
    """Refuse a fee that nobody relays, and one that nobody means.

    Raises:
        TransactionRefused: ``min-fee`` or ``fee-too-high``.
    """
    if fee_sat * 1000 < floor_msat * vsize:
        least = -(-floor_msat * vsize // 1000)
        raise TransactionRefused(reason="min-fee", detail=f"{fee_sat} of at least {least} sat")
    if fee_sat * 1000 > cap_msat * vsize:
        raise TransactionRefused(reason="fee-too-high", detail=f"{fee_sat} of at most {cap_msat * vsize // 1000} sat")


def _is_mature(sequence: int, coin: Unspent, upcoming: Next) -> bool:
    """Whether an input's relative lock has run out (BIP68)."""
    if sequence & 1 << 31:
        return True
    if sequence & 1 << 22:
        since = upcoming.median_at(max(coin.height - 1, 0))
        return since + ((sequence & 0xFFFF) << 9) - 1 < upcoming.median_time
    return coin.height + (sequence & 0xFFFF) - 1 < upcoming.height
