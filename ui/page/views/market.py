"""What is happening now."""

from typing import Final

import streamlit as st

from services.viewing.activity import PAYMENTS_MAX, activity
from ui.page import live
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html

JOBS_SHOWN: Final = 8
EVENTS_SHOWN: Final = 12


def draw(context: Context) -> Watch:
    view = context.view
    busy = activity(view.latest("EscrowReleased", PAYMENTS_MAX), now=context.at)
    settled = view.settled.on_chain() if view.settled.chain() is not None else None
    html.show("market.html", context, totals=view.totals(), settled=settled, activity=busy)
    left, right = st.columns([3, 2], gap="large")
    with left:
        html.show("jobs_table.html", context, jobs=view.jobs(JOBS_SHOWN), title="Latest jobs")
    with right:
        html.show("heading.html", context, text="Happening now" if context.present else "What happened last")
        if context.present:
            live.ticker(context, EVENTS_SHOWN)
        else:
            html.show("events_list.html", context, events=html.lines(view.latest(limit=EVENTS_SHOWN))[::-1])
    return Watch()
