"""What every page has around it: navigation, search, the position that is shown, and what went wrong."""

from collections.abc import Sequence
from typing import Final

import streamlit as st

from domain.errors import Corrupt, Refused
from services.client.words import in_sat
from services.viewing.past import Progress
from services.viewing.search import TEXT_MAX, search
from ui.page import live
from ui.page.context import Context
from ui.page.parts import html

#: Of the box, which the key / puts the cursor into.
SEARCH: Final = "search"
_WANTED: Final = "searched"


def navigation(context: Context, pages: Sequence[tuple[str, str]], here: str) -> None:
    """The pages, the units, and the box that finds whatever has a name."""
    other = "sat" if context.unit == "btc" else "btc"
    links, box = st.columns([4, 1], gap="small", vertical_alignment="center")
    with links:
        html.show("navigation.html", context, pages=pages, here=here, other=other, query=st.query_params.to_dict())
    with box:
        st.text_input(
            "Search",
            key=SEARCH,
            placeholder="search: id, #event, time",
            help="A job, worker, client, escrow, program, digest, event or time, or its beginning; / comes here.",
            label_visibility="collapsed",
            on_change=_search,
        )
    wanted = str(st.session_state.pop(_WANTED, ""))
    if wanted:
        live.go(_place(context, wanted))
        st.rerun()


def _search() -> None:
    st.session_state[_WANTED] = st.session_state[SEARCH][: TEXT_MAX + 1]
    st.session_state[SEARCH] = ""


def _place(context: Context, wanted: str) -> str:
    """The only thing that the text can mean, or what is said of it."""
    try:
        answer = search(context.view, wanted)
    except Refused:  # the search page says it
        return context.href("search", q=wanted)
    if len(answer.found) == 1:
        return context.href(answer.found[0].page, **answer.found[0].query)
    return context.href("search", q=wanted)


def position(context: Context) -> None:
    """That the market is shown as it was, if it is."""
    if not context.present:
        html.show("position.html", context)


def refused(error: Refused | Corrupt) -> None:
    """What cannot be shown, and what to do."""
    st.error(html.plain(in_sat(str(error))), icon=":material/error:")


def folding(doing: str = "folding the log") -> Progress:
    """Shows how far a long replay has come."""
    bar = st.empty()

    def progress(done: int, all_: int) -> None:
        if done < all_:
            bar.progress(done / all_, f"{doing}: event {done:,} of {all_:,}")
        else:
            bar.empty()

    return progress
