"""Amounts of money as a notebook writes and shows them."""

from decimal import Decimal

from domain.money import MSAT_PER_SAT
from services.client.words import sat


class Amount(int):
    """Money in msat that shows itself in satoshi. Sums and multiples are amounts again; it compares as a number."""

    def __repr__(self) -> str:
        return sat(self)

    __str__ = __repr__

    def __add__(self, other: int) -> "Amount":
        return Amount(int(self) + other)

    def __sub__(self, other: int) -> "Amount":
        return Amount(int(self) - other)

    def __mul__(self, other: int) -> "Amount":
        return Amount(int(self) * other)

    def __floordiv__(self, other: int) -> "Amount":
        return Amount(int(self) // other)

    __radd__, __rmul__ = __add__, __mul__


def checked(amount: object, what: str) -> Amount:
    """The amount, if its unit was said.

    Raises:
        TypeError: It is a bare number, which could be either unit.
    """
    if isinstance(amount, Amount):
        return amount
    bare = isinstance(amount, int) and not isinstance(amount, bool)
    say = f"say pasar.sats({amount:_})" if bare else "say pasar.sats(10_000)"
    raise TypeError(f"{what} is an amount with its unit, and {amount!r} is not: {say}")


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
