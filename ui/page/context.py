"""What one drawing of a page knows: the view that its URL names, its units, and how it links to others."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final, Literal, NamedTuple
from urllib.parse import urlencode

import streamlit as st

from domain.errors import Refused
from domain.money import MSAT_PER_SAT
from services.client.words import sat
from services.viewing.past import Progress
from services.viewing.view import View
from ui.page import process

Unit = Literal["sat", "btc"]
#: What every link keeps: the position and the log that are looked at, and the unit.
KEPT: Final = ("upto", "log", "unit")
#: Characters of a value in an address; ids, keys and what people search for are far shorter.
VALUE_MAX: Final = 1_000
#: What people type, which its pages look at themselves.
_TYPED: Final = ("q", "event")
_SAT_PER_BTC: Final = 100_000_000


class BadAddress(Refused):
    template: ClassVar[str] = "{name}={value} in the address is no position of an event; take it out, or give a number"


class NoName(Refused):
    template: ClassVar[str] = "what the address gives for {name} is no name of anything here; take it out"


class Context(NamedTuple):
    """Attributes:
    now: The machine's time. unit: In which amounts are shown.
    upto: The event as of which the page is shown; absent: now. log: The opened file that is shown; empty: the market.
    """

    view: View
    now: datetime
    unit: Unit
    upto: int | None
    log: str

    @property
    def present(self) -> bool:
        """Whether this is the market now, on which one can act."""
        return self.upto is None and not self.log

    @property
    def at(self) -> datetime:
        """The time of what is shown: now, or that of the last event that is shown."""
        return self.now if self.present else self.view.at or self.now

    def href(self, page: str, /, **query: object) -> str:
        """The address of a page in the same light; an absent value is left out."""
        kept: Mapping[str, object] = {
            "upto": self.upto,
            "log": self.log,
            "unit": "" if self.unit == "sat" else self.unit,
        }
        asked = {name: value for name, value in {**kept, **query}.items() if value not in (None, "")}
        path = "" if page == "market" else page
        return f"/{path}?{urlencode(asked)}" if asked else f"/{path}"

    def money(self, amount_msat: int) -> str:
        """An amount in the chosen unit, to the last msat."""
        return sat(amount_msat) if self.unit == "sat" else btc(amount_msat)


def btc(amount_msat: int) -> str:
    """An amount in bitcoin, to the last msat: ``0.000 012 34 BTC`` without the spaces."""
    whole, rest = divmod(abs(amount_msat), _SAT_PER_BTC * MSAT_PER_SAT)
    digits = f"{rest:011}"
    fraction = digits[:8] + digits[8:].rstrip("0")
    return f"{'-' if amount_msat < 0 else ''}{whole:,}.{fraction} BTC"


def read(progress: Progress | None = None) -> Context:
    """The context that the address names.

    Raises:
        BadAddress: It names no position.
        NoName: It has what neither the database nor a number can hold.
        NoSuchLog: It names a file that is not open.
    """
    query, plain = st.query_params, now()
    for name, value in query.items():
        if name not in _TYPED and (len(value) > VALUE_MAX or "\0" in value):
            raise NoName(name=name[:20])
    log, upto = query.get("log", ""), query.get("upto")
    if upto is not None and not (upto.isdecimal() and len(upto) < 19):
        raise BadAddress(name="upto", value=upto)
    position = None if upto is None else int(upto)
    if log:
        return plain._replace(view=process.archives.view(log, position, progress), upto=position, log=log)
    if position is not None:
        return plain._replace(view=process.market().view(position, progress), upto=position)
    return plain


def now() -> Context:
    """The market as it is, whatever else the address names."""
    market = process.market()
    unit: Unit = "btc" if st.query_params.get("unit") == "btc" else "sat"
    return Context(market.view(None), market.clock.now(), unit, None, "")
