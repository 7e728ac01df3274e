"""Money is whole millisatoshi (msat), 1/1000 of a satoshi; never a float."""

from typing import Annotated

from msgspec import Meta

MSAT_PER_SAT = 1_000
#: All bitcoin that can ever exist: a larger amount is a mistake, whoever sends it.
MSAT_MAX = 21_000_000 * 100_000_000 * MSAT_PER_SAT

Msat = Annotated[int, Meta(ge=0, le=MSAT_MAX, extra={"privacy": "public"})]
#: An amount that must move something.
PositiveMsat = Annotated[int, Meta(ge=1, le=MSAT_MAX, extra={"privacy": "public"})]


def split(amount_msat: int, *, weights: tuple[int, ...]) -> tuple[int, ...]:
    """Share an amount by weight; the shares always add up to the amount.

    Args:
        amount_msat: What is shared, in msat, at least 0.
        weights: At least one, none negative, not all zero.
    Returns:
        One share for each weight, rounded down, the remainder on the first shares in turn.
    Raises:
        ValueError: The amount or a weight is negative, or the weights sum to nothing.
    """
    total = sum(weights)
    if amount_msat < 0 or total <= 0 or min(weights) < 0:
        raise ValueError("an amount and its weights are at least 0, and one weight is above it")
    shares = [amount_msat * weight // total for weight in weights]
    for index in range(amount_msat - sum(shares)):
        shares[index % len(shares)] += 1
    return tuple(shares)
