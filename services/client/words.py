"""How amounts, times and numbers are said to people: on the command line and in a notebook."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.money import MSAT_PER_SAT

_MSAT: Final = re.compile(r"\b(\d[\d,]*) msat\b")


def sat(amount_msat: int) -> str:
    """An amount in satoshi, to the last msat: ``1,234.5 sat``."""
    whole, rest = divmod(abs(amount_msat), MSAT_PER_SAT)
    fraction = f".{rest:03}".rstrip("0") if rest else ""
    return f"{'-' if amount_msat < 0 else ''}{whole:,}{fraction} sat"


def in_sat(sentence: str) -> str:
    """A sentence of the market, which counts in msat, as it is shown here."""
    return _MSAT.sub(lambda found: sat(int(found[1].replace(",", ""))), sentence)


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
