"""All jobs, the newest first."""

from typing import Final

import streamlit as st

from services.client import sentences
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html

STATES: Final = ("open", "completed", "cancelled", "expired")
SHOWN: Final = 50
LIMIT_MAX: Final = 2_000


def draw(context: Context) -> Watch:
    html.show("heading.html", context, text="Jobs")
    state = st.segmented_control(
        "State", STATES, key="state", bind="query-params", label_visibility="collapsed", help="all of them, if none"
    )
    limit = _limit()
    found = context.view.jobs(limit + 1, state)
    jobs = [(one, sentences.of_job(one, now=context.at)) for one in found[:limit]]
    more = len(found) > limit
    html.show("jobs.html", context, jobs=jobs, state=state or "", more=more, limit=limit)
    if more and limit < LIMIT_MAX:
        st.button(f"Show {SHOWN} more", key="more", on_click=_show, args=(limit + SHOWN,))
    return Watch()


def _limit() -> int:
    said = st.query_params.get("limit", "")
    return min(LIMIT_MAX, max(1, int(said))) if said.isdecimal() and len(said) < 6 else SHOWN


def _show(limit: int) -> None:
    st.query_params["limit"] = str(limit)
