"""The one component of our own: it hears what happens, follows links without loading the page anew, and copies."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import streamlit as st
from streamlit.components.v2.bidi_component import ComponentResult

from ui.page.context import Context

_FOLDER: Final = Path(__file__).parent
KEY: Final = "live"
_GO: Final = "followed link"
#: Events after which another worker may take a task than before.
OFFERS: Final = (
    *("WorkerRegistered", "CapabilityMeasured", "AskPlaced", "AskWithdrawn"),
    *("WorkerPaused", "WorkerResumed", "WorkerRetired"),
    *("StakeDeposited", "StakeSlashed", "StakeWithdrawn"),
)


@cache
def _mounted() -> Callable[..., ComponentResult]:
    return st.components.v2.component(
        "pasar_live",
        css=(_FOLDER / "live.css").read_text(encoding="utf-8"),
        js=(_FOLDER / "live.js").read_text(encoding="utf-8"),
    )


class Watch(NamedTuple):
    """What a page is about.

    Attributes:
        keys: Ids, keys or names of events; none: all of the market.
        still: It is not to be drawn again by itself.
    """

    keys: tuple[str, ...] = ()
    still: bool = False


def strip(context: Context, watch: Watch) -> None:
    """The line that says how fresh the page is; it draws the page again when something has happened."""
    data = {
        "drawn": context.view.position,
        "live": context.present,
        "about": list(watch.keys),
        "still": watch.still,
    }
    _mounted()(key=KEY, data=data, on_moved_change=_nothing, on_go_change=_follow)


def ticker(context: Context, lines: int = 8) -> None:
    """The last events, moving in by themselves."""
    _mounted()(key="ticker", data={"ticker": lines, "href": context.href("event", position="POSITION")})


def followed() -> str:
    """The address of the link that was followed, once; empty if none was."""
    return str(st.session_state.pop(_GO, ""))


def go(address: str) -> None:
    """Show another page with the next run."""
    st.session_state[_GO] = address


def _follow() -> None:
    sent = st.session_state.get(KEY)  # what a browser sends may lack it
    go(str(sent["go"] or "") if sent is not None else "")


def _nothing() -> None: ...
