"""Blocks for the embedded chain: a reward, what waits, and the little work that regtest asks for.

Source: BIP34 (height in the reward), BIP141 (witness commitment), Bitcoin Core's node/miner.cpp.
"""

from collections.abc import Sequence
from struct import pack
from typing import Final

from domain.bitcoin import OutPoint, Tx, TxIn, TxOut, has_work, serialize, strip_witness, with_witness
from domain.bitcoin.blocks import double_sha256, merkle_root
from domain.bitcoin.encoding import push, push_number
from services.ports import BlockId
from services.settlement.blocks import join
from services.settlement.index import median

#: Weight that a block keeps for header and reward.
RESERVED_WEIGHT: Final = 8_000
HALVING: Final = 150

_SUBSIDY_SAT: Final = 50 * 100_000_000
_VERSION: Final = 0x20000000
_BITS: Final = 0x207FFFFF
_COMMITMENT: Final = b"\x6a\x24\xaa\x21\xa9\xed"
_NOTHING: Final = bytes(32)


def subsidy_sat(height: int) -> int:
    """New coins of a block; regtest halves them every 150 blocks, and from height 4,950 on there are none."""
    return _SUBSIDY_SAT >> height // HALVING


def template(
    previous: BlockId,
    times: list[int],
    transactions: Sequence[bytes],
    *,
    now: int,
    script: bytes,
    reward_sat: int,
    tag: bytes = b"pasar",
) -> bytes:
    """A block on ``previous``, worked out.

    Args:
        times: Of the last eleven blocks up to ``previous``.
        transactions: Parents before children.
        now: Seconds since 1970; the block's time is later where the chain's own is.
        script: Where the reward goes.
        reward_sat: Subsidy and fees.
        tag: Tells apart blocks that would be equal otherwise.
    """
    txids = [double_sha256(strip_witness(raw)) for raw in transactions]
    witness_root = merkle_root([_NOTHING, *map(double_sha256, transactions)])
    commitment = TxOut(0, _COMMITMENT + double_sha256(witness_root + _NOTHING))
    mark = push_number(previous.height + 1) + push(tag)
    source = TxIn(OutPoint(_NOTHING.hex(), 0xFFFFFFFF), 0xFFFFFFFF, mark)
    reward = Tx((source,), (TxOut(reward_sat, script), commitment))
    root = merkle_root([double_sha256(serialize(reward)), *txids])
    time = max(now, median(times) + 1)
    start = pack("<I", _VERSION) + bytes.fromhex(previous.hash)[::-1] + root + pack("<II", time, _BITS)
    nonce = 0
    while not has_work(header := start + pack("<I", nonce)):
        nonce += 1
    return join(header, [with_witness(reward, [[_NOTHING]]), *transactions])
