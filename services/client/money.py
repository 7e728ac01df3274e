"""Amounts of money as a notebook writes and shows them."""

from decimal import Decimal

from domain.money import MSAT_PER_SAT
from services.client.words import sat


class Amount(int):
    """Money in msat that shows itself in satoshi; in sums it is the whole number that it is."""

    def __repr__(self) -> str:
        return sat(self)

    __str__ = __repr__


def sats(amount: int | str | Decimal) -> Amount:
    """An amount in satoshi: ``sats(2_000)``, ``sats("1.5")``.

    Raises:
        ValueError: It is finer than a thousandth, or a float, which is no way to write money.
    """
    if isinstance(amount, float):
        raise ValueError(f"money is never a float; write sats('{amount}')")
    msat = Decimal(amount) * MSAT_PER_SAT
    if msat != int(msat):
        raise ValueError(f"{amount} sat is finer than a thousandth of a satoshi")
    return Amount(msat)


def msats(amount: int) -> Amount:
    """An amount in thousandths of a satoshi."""
    return Amount(amount)
