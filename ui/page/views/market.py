"""What is happening now."""

import streamlit as st

from ui.page import live
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html

JOBS_SHOWN = 8


def draw(context: Context) -> Watch:
    view = context.view
    html.show("market.html", context, totals=view.totals())
    left, right = st.columns([3, 2], gap="large")
    with left:
        html.show("jobs_table.html", context, jobs=view.jobs(JOBS_SHOWN), title="Latest jobs")
    with right:
        if context.present:
            html.show("heading.html", context, text="Happening now")
            live.ticker(context, 12)
    return Watch()
