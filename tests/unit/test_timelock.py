"""The refund branch of an escrow: the owner's second key alone, after the height."""

import pytest

from domain.bitcoin import HEIGHT_MAX, Tx, TxIn, parse, with_witness
from services.settlement.signing import BadSpend, Spend, WrongKey, digest, refund
from services.settlement.wallet import Signer
from tests.bitcoin import (
    ARBITER,
    CLIENT,
    ESCROW,
    HEIGHT,
    MARKET,
    REFUND,
    RESERVE,
    SPENDS,
    SPENT,
    TAKEN_BACK,
    WORKER,
    coin,
    core_accepts,
)


def test_owner_alone_takes_back_after_the_height() -> None:
    raw = refund(TAKEN_BACK, SPENDS, REFUND)
    assert core_accepts(raw, SPENT)
    assert parse(raw) == TAKEN_BACK
    later = TAKEN_BACK._replace(locktime=HEIGHT + 5)
    assert core_accepts(refund(later, SPENDS, REFUND), SPENT)


def _stack(tx: Tx, by: Signer) -> bytes:
    """A refund put together without any of our checks."""
    return with_witness(tx, [(by.sign(digest(tx, SPENDS, 0)), b"", b"", b"", ESCROW)])


@pytest.mark.parametrize("by", [CLIENT, MARKET, ARBITER, WORKER])
def test_refund_by_another_key_is_refused(by: Signer) -> None:
    with pytest.raises(WrongKey, match=f"is not the refund key of input 0; sign with {REFUND.key.hex()}"):
        refund(TAKEN_BACK, SPENDS, by)
    assert not core_accepts(_stack(TAKEN_BACK, by), SPENT)
    assert core_accepts(_stack(TAKEN_BACK, REFUND), SPENT)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (TAKEN_BACK._replace(inputs=(TxIn(coin(0), 0xFFFFFFFF),)), "switches the lock time off"),
        (TAKEN_BACK._replace(locktime=HEIGHT - 1), f"lock time {HEIGHT - 1} is not the height {HEIGHT}"),
        (TAKEN_BACK._replace(locktime=0), "lock time 0"),
        (TAKEN_BACK._replace(locktime=HEIGHT_MAX + 1), "is not the height"),
    ],
)
def test_refund_that_no_block_may_hold_is_refused(changed: Tx, reason: str) -> None:
    with pytest.raises(BadSpend, match=reason):
        refund(changed, SPENDS, REFUND)
    assert not core_accepts(_stack(changed, REFUND), SPENT)
    assert core_accepts(_stack(TAKEN_BACK, REFUND), SPENT)


def test_reserve_is_refunded_to_nobody() -> None:
    with pytest.raises(BadSpend, match="never refunded"):
        refund(TAKEN_BACK, [Spend(1_000_000, RESERVE)], MARKET)
