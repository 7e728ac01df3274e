"""Dialogs before money moves. One is open at a time; it stays open while the page is drawn anew behind it.

What is done in it carries a name that was fixed when it opened, so that a double click does it once.
"""

from collections.abc import Callable
from typing import Any, Final

import streamlit as st

from domain.errors import Refused
from services.bus.client import RefusedByMarket
from services.bus.commands import new_nonce
from services.client.words import in_sat
from ui.page.acting import NothingCame

_OPEN: Final = "dialog"
_ONCE: Final = "dialog once"
_ABOUT: Final = "dialog about"
_PAGE: Final = "dialog page"


def open_(what: str, about: Any = None) -> None:
    """Open it at the next drawing: the callback of a button.

    Args:
        about: What the dialog is about, as it was when it was opened.
    """
    st.session_state.update({_OPEN: what, _ONCE: new_nonce(), _ABOUT: about})


def shown() -> str:
    """Which one is open; empty if none is."""
    return str(st.session_state.get(_OPEN, ""))


def about() -> Any:
    return st.session_state[_ABOUT]


def close() -> None:
    for name in (_OPEN, _ONCE, _ABOUT):
        st.session_state.pop(name, None)


def enter(page: str) -> None:
    """A page is drawn; what was open on another one is not any more."""
    if st.session_state.get(_PAGE) != page:
        close()
        st.session_state[_PAGE] = page


def do(work: Callable[[str], None]) -> bool:
    """Do what the dialog is for under its name; whether it was done, and its refusal is shown if not."""
    try:
        work(st.session_state[_ONCE])
    except Refused as refused:
        if isinstance(refused, RefusedByMarket | NothingCame):  # used up its name; after all else it may yet be done
            st.session_state[_ONCE] = new_nonce()
        st.error(in_sat(str(refused)), icon=":material/error:")
        return False
    close()
    return True
