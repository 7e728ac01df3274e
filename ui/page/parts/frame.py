"""What every page has around it: navigation, search, the position that is shown, and what went wrong."""

from collections.abc import Sequence

import streamlit as st

from domain.errors import Corrupt, Refused
from services.client.words import in_sat
from services.viewing.past import Progress
from ui.page.context import Context
from ui.page.parts import html


def navigation(context: Context, pages: Sequence[tuple[str, str]], here: str) -> None:
    """The pages, and the units."""
    other = "sat" if context.unit == "btc" else "btc"
    html.show("navigation.html", context, pages=pages, here=here, other=other, query=st.query_params.to_dict())


def position(context: Context) -> None:
    """That the market is shown as it was, if it is."""
    if not context.present:
        html.show("position.html", context)


def refused(error: Refused | Corrupt) -> None:
    """What cannot be shown, and what to do."""
    st.error(in_sat(str(error)), icon=":material/error:")


def folding() -> Progress:
    """Shows how far a long replay has come."""
    bar = st.empty()

    def progress(done: int, all_: int) -> None:
        if done < all_:
            bar.progress(done / all_, f"folding the log: event {done:,} of {all_:,}")
        else:
            bar.empty()

    return progress
