"""How objects show themselves: one small form, as plain text that stands alone and as HTML without scripts.

The HTML takes its colours from the theme of Jupyter or VS Code where there is one, and inherits them elsewhere; all
text in it is escaped. What matters is open, the rest is folded away.
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from msgspec import Struct

#: Lines of each part of a card, characters of any text in it, and bytes of its HTML.
LINES_MAX: Final = 24
TEXT_MAX: Final = 160
BYTES_MAX: Final = 10_000

_COLOUR: Final = "color:var(--jp-ui-font-color1,var(--vscode-editor-foreground,inherit))"
_FAINT: Final = "color:var(--jp-ui-font-color2,var(--vscode-descriptionForeground,inherit));cursor:pointer"
_BORDER: Final = "border:1px solid var(--jp-border-color2,var(--vscode-widget-border,rgba(128,128,128,.4)))"
_BOX: Final = f"{_COLOUR};{_BORDER};border-radius:4px;padding:.5em .8em;max-width:46em;width:fit-content"
_GRID: Final = "display:grid;grid-template-columns:max-content 1fr;gap:0 1em;margin-top:.3em"

_ADDRESS: Final = re.compile(r"https?://[!-~]+")

Line = tuple[str, str]


class Card(Struct, frozen=True, kw_only=True):
    """Attributes:
    title: What it is. sentence: How it is, and what comes next.
    lines: Names and values that are always shown; ``more`` is folded away in HTML and left out of the text.
    progress: Done and all, where something is being done.
    """

    title: str
    sentence: str = ""
    lines: Sequence[Line] = ()
    more: Sequence[Line] = ()
    progress: tuple[int, int] | None = None


def text(card: Card) -> str:
    """The card for terminals, logs and readers of text."""
    width = max((len(name) for name, _ in card.lines), default=0)
    lines = [card.title, *([card.sentence] if card.sentence else [])]
    lines += [f"  {name.ljust(width)}  {value}" for name, value in card.lines]
    return "\n".join(lines)


def html(card: Card) -> str:
    """The card for notebooks; below ``BYTES_MAX`` whatever it is told."""
    for most in (TEXT_MAX, 48, 12):
        said = _html(card, most)
        if len(said.encode()) < BYTES_MAX:
            break
    return said


def _html(card: Card, most: int) -> str:
    parts = [f'<div style="{_BOX}"><strong>{_clipped(card.title, most)}</strong>']
    if card.progress is not None:
        done, all_ = card.progress
        parts.append(f' <progress value="{int(done)}" max="{max(1, int(all_))}"></progress>')
    if card.sentence:
        parts.append(f"<div>{_clipped(card.sentence, 3 * most)}</div>")
    parts.append(_table(card.lines[:LINES_MAX], most))
    if card.more:
        rest = len(card.more) - LINES_MAX
        more = [*card.more[:LINES_MAX], *([("…", f"{rest:,} more")] if rest > 0 else [])]
        parts.append(f'<details><summary style="{_FAINT}">details</summary>{_table(more, most)}</details>')
    parts.append("</div>")
    return "".join(parts)


def bundle(card: Card) -> dict[str, str]:
    """The card as the formats that a notebook may show."""
    return {"text/plain": text(card), "text/html": html(card)}


class Shown:
    """An object with a card."""

    def card(self) -> Card:
        raise NotImplementedError

    def __repr__(self) -> str:
        return text(self.card())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return bundle(self.card())


def _table(lines: Sequence[Line], most: int) -> str:
    rows = [f'<span style="opacity:.7">{_clipped(a, most)}</span><span>{_value(b, most)}</span>' for a, b in lines]
    return f'<div style="{_GRID}">{"".join(rows)}</div>' if rows else ""


def _value(value: str, most: int) -> str:
    """A value; an address of a page is a link to it."""
    if not _ADDRESS.fullmatch(value) or len(value) > most:
        return _clipped(value, most)
    return f'<a href="{escape(value)}">{escape(value)}</a>'


def _clipped(value: str, most: int) -> str:
    return escape(value if len(value) <= most else value[: most - 1] + "…")
