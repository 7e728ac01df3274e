"""What a text can mean, and that it is watched for as long as it means nothing."""

from typing import Final

import streamlit as st

from services.viewing.search import search
from ui.page import live
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html

_WAITED: Final = "waited for"


def draw(context: Context) -> Watch:
    answer = search(context.view, st.query_params.get("q", ""))
    waited = st.session_state.pop(_WAITED, None)
    if len(answer.found) == 1 and waited == answer.text:  # it has come to be
        live.go(context.href(answer.found[0].page, **answer.found[0].query))
        st.rerun()
    waits = not answer.found and not answer.why
    if waits and context.present:
        st.session_state[_WAITED] = answer.text
    html.show("search.html", context, answer=answer, waits=waits)
    return Watch((answer.watch,) if answer.watch else (), still=not waits)
