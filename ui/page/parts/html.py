"""HTML of our own: templates, escaped by default, in the light of a context."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import streamlit as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from msgspec import Struct

from domain.bitcoin import address
from domain.errors import Corrupt
from domain.money import MSAT_PER_SAT
from services.client import words
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.viewing.said import said
from ui.page.context import Context

TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = Path(__file__).parent / "style.css"

#: Of what is said of an error, in characters.
SENTENCE_MAX: Final = 600
_CODE: Final = re.compile("(`[^`]+`)")
#: What Streamlit's Markdown takes for more than text; and where it would make a link of an address.
_MARKS: Final = re.compile(r"[][\\`*_{}()<>#!|~$&]|:(?=[A-Za-z])")
_LINKS: Final = re.compile(r"https?:(?=//)|www(?=\.)", re.IGNORECASE)


def show(template: str, context: Context, **facts: Any) -> None:
    """Draw a template here."""
    st.html(render(template, context, **facts))


def render(template: str, context: Context, **facts: Any) -> str:
    """A template as HTML.

    Args:
        facts: By name; ``context`` and what is made of it (``money``, ``href``, ``ago``) are known in every template.
    """
    return _environment().get_template(template).render(**_of(context), **facts)


def _of(context: Context) -> dict[str, Callable[..., object] | Context]:
    return {
        "context": context,
        "href": context.href,
        "money": context.money,
        "sats": lambda amount_sat: context.money(amount_sat * MSAT_PER_SAT),
        "ago": lambda moment: words.ago(moment, now=context.now),
        "until": lambda moment: words.until(moment, now=context.now),
    }


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "short": words.short,
        "count": words.count,
        "utc": utc,
        "iso": _iso,
        "span": words.span,
        "coded": coded,
        "capital": lambda text: text[:1].upper() + text[1:],
        "address": lambda script, network: address(bytes.fromhex(script), network),
        "number": lambda digits: int(digits, 16),
    }
    return made


class Line(Struct, frozen=True):
    """An event as a sentence."""

    position: int
    at: datetime
    text: str


def lines(events: Sequence[Stored]) -> list[Line]:
    """Events as sentences; what cannot be read says so."""
    return [Line(stored.position, stored.recorded_at, _said(stored)) for stored in events]


def _said(stored: Stored) -> str:
    try:
        return said(decode_stored(stored))
    except Corrupt as error:
        return str(error)


def utc(moment: datetime) -> str:
    """A moment to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def coded(sentence: str) -> Markup:
    """A sentence for people, in which a command between backticks is set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def plain(sentence: str) -> str:
    """A sentence as Markdown that says just that, whatever an address or a file put into it; commands stay code."""
    shown = " ".join(sentence[: SENTENCE_MAX + 1].split())
    shown = shown if len(shown) <= SENTENCE_MAX else f"{shown[:SENTENCE_MAX]}…"
    parts = _CODE.split(shown)  # text and code in turns
    return "".join(
        part if code else _MARKS.sub(r"\\\g<0>", _LINKS.sub("\\g<0>\u2060", part))
        for part, code in zip(parts, cycle((False, True)), strict=False)
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def style(*, dark: bool | None) -> None:
    """The page's style sheet; colours follow the theme, or the system where that is not known."""
    scheme = "" if dark is None else f":root{{color-scheme:{'dark' if dark else 'light'}}}"
    st.html(Markup(f"<style>{scheme}{_sheet()}</style>"))


@cache
def _sheet() -> str:
    return STYLE.read_text(encoding="utf-8")
