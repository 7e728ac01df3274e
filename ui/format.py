"""How values are written for people and for programs, and read from people."""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final

import typer

from domain.errors import Refused
from domain.money import MSAT_MAX, MSAT_PER_SAT

#: The option that every command has.
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

_AMOUNT: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,3})?) ?(sat|msat|)")
_MSAT: Final = re.compile(r"\b(\d+) msat\b")
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


def sat(amount_msat: int) -> str:
    """An amount in satoshi, to the last msat: ``1,234.5 sat``."""
    whole, rest = divmod(abs(amount_msat), MSAT_PER_SAT)
    fraction = f".{rest:03}".rstrip("0") if rest else ""
    return f"{'-' if amount_msat < 0 else ''}{whole:,}{fraction} sat"


def in_sat(sentence: str) -> str:
    """A sentence of the market, which counts in msat, as it is shown here."""
    return _MSAT.sub(lambda found: sat(int(found[1])), sentence)


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


def ago(moment: datetime, *, now: datetime | None = None) -> str:
    """How long since, in one unit: ``3 min``."""
    return span((now or datetime.now(UTC)) - moment)


def until(moment: datetime, *, now: datetime | None = None) -> str:
    """A moment ahead, and how far it is: ``2026-11-22 18:00 UTC, in 59 min``."""
    left = span(moment - (now or datetime.now(UTC)))
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC, in {left}"


def span(length: timedelta) -> str:
    """A length of time in one unit; 0 if it is negative."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 task``, ``2 tasks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(id_: str) -> str:
    """The beginning of an id, enough to find it again by."""
    return f"{id_[:12]}…" if len(id_) > 24 else id_


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows under each other; the first one holds the headings."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
