"""The script that Streamlit runs for every viewer and every drawing: frame, navigation, one page."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import streamlit as st

from domain.errors import Corrupt, Refused
from ui.page import context as contexts
from ui.page import live
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import dialogs, frame, html
from ui.page.turns import turns
from ui.page.views import audit, event, job, jobs, market, money, post, search, subscribers, worker, workers

#: A page draws itself and says what it is about.
View = Callable[[Context], Watch]


class Entry(NamedTuple):
    """Attributes:
    title: What it is called in the navigation; empty for pages that are found by links.
    """

    path: str
    title: str
    draw: View


PAGES: Final = (
    Entry("market", "Market", market.draw),
    Entry("jobs", "Jobs", jobs.draw),
    Entry("post", "Post a job", post.draw),
    Entry("workers", "Workers", workers.draw),
    Entry("money", "Money", money.draw),
    Entry("audit", "Audit", audit.draw),
    Entry("subscribers", "Subscribers", subscribers.draw),
    Entry("job", "", job.draw),
    Entry("worker", "", worker.draw),
    Entry("event", "", event.draw),
    Entry("search", "", search.draw),
)
ICON: Final = Path(__file__).parent / "static" / "pasar.png"


def main() -> None:
    st.set_page_config(page_title="Pasar", page_icon=str(ICON), layout="wide", initial_sidebar_state="collapsed")
    pages = {
        entry.path: st.Page(_drawn(entry), title=entry.title or entry.path, url_path=entry.path, default=not place)
        for place, entry in enumerate(PAGES)
    }
    link = live.followed()
    if link:
        path, _, query = link.partition("?")
        st.switch_page(pages.get(path.strip("/") or "market", pages["market"]), query_params=dict(parse_qsl(query)))
    st.navigation(list(pages.values()), position="hidden").run()


def _drawn(entry: Entry) -> Callable[[], None]:
    def draw() -> None:
        dialogs.enter(entry.path)
        theme = st.context.theme.type
        html.style(dark=None if theme is None else theme == "dark")
        top, watch = st.container(), Watch()
        try:
            context, draw_page = contexts.read(frame.folding()), entry.draw
        except (Refused, Corrupt) as refused:
            context, draw_page = contexts.now(), partial(_refused, refused)
        with top:
            frame.navigation(context, [(one.path, one.title) for one in PAGES if one.title], entry.path)
            slot = st.container()
        try:
            watch = draw_page(context)
        except (Refused, Corrupt) as refused:
            frame.refused(refused)
        with slot:
            frame.position(context)
            live.strip(context, watch)

    return draw


def _refused(why: Refused | Corrupt, _: Context) -> Watch:
    frame.refused(why)
    return Watch(still=True)


with turns.take():
    main()
