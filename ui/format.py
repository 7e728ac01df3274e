"""How values are written for people and for programs, and read from people."""

import re
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final

import typer

from domain.errors import Refused
from domain.money import MSAT_MAX, MSAT_PER_SAT
from services.client.words import ago, columns, count, in_sat, sat, short, span, until

#: How it is said is shared with notebooks; how it is read from a terminal is here.
__all__ = [
    "AsJson", "BadAmount", "BadDuration", "ago", "columns", "count", "in_sat", "parse_duration", "parse_msat",
    "print_json", "sat", "say", "short", "span", "until",
]  # fmt: skip

#: The option that every command has.
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

_AMOUNT: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,3})?) ?(sat|msat|)")
_DURATION: Final = re.compile(r"([0-9]{1,9}) ?(s|min|h|d|)")
_UNITS: Final = {"": 1, "s": 1, "min": 60, "h": 3_600, "d": 86_400}
_DURATION_MAX: Final = timedelta(days=10_000)


class BadAmount(Refused):
    template: ClassVar[str] = "{text!r} is no amount of money; write 12 or 12sat for satoshi, 1500msat for thousandths"


class BadDuration(Refused):
    template: ClassVar[str] = "{text!r} is no time; write 90 or 90s for seconds, or 5min, 2h, 1d"


def parse_msat(text: str) -> int:
    """An amount as people write it, in msat: ``12`` and ``12sat`` are satoshi, ``1500msat`` thousandths.

    Raises:
        BadAmount: It is none, finer than a msat, or more than all bitcoin.
    """
    found = _AMOUNT.fullmatch(text.strip().lower())
    if found is None:
        raise BadAmount(text=text)
    amount = Decimal(found[1]) * (1 if found[2] == "msat" else MSAT_PER_SAT)
    if amount != int(amount) or amount > MSAT_MAX:
        raise BadAmount(text=text)
    return int(amount)


def parse_duration(text: str) -> timedelta:
    """A time as people write it: ``90`` and ``90s`` are seconds, ``5min``, ``2h``, ``1d``.

    Raises:
        BadDuration: It is none.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or int(found[1]) * _UNITS[found[2]] > _DURATION_MAX.total_seconds():
        raise BadDuration(text=text)
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def say(text: str) -> None:
    """A sentence to the person at the terminal, apart from the output."""
    print(text, file=sys.stderr, flush=True)
