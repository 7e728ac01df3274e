"""What the job's own client can do here."""

from typing import Final

import streamlit as st

from services.projections.queries import Job
from ui.page import acting
from ui.page.context import Context
from ui.page.parts import dialogs, html

_CANCEL: Final = "cancel"


def draw(context: Context, job: Job) -> bool:
    """A button that cancels an open job of a party of this machine; whether it is being confirmed."""
    if acting.hindrance(context) or job.state != "open":
        return False
    name = acting.names().get(job.client)
    if name is None:
        return False
    st.button("Cancel this job", key="cancel", on_click=dialogs.open_, args=(_CANCEL, job.job))
    confirms = dialogs.shown() == _CANCEL and dialogs.about() == job.job
    if confirms:
        _confirm(context, job, name)
    return confirms


@st.dialog("Cancel this job?", on_dismiss=dialogs.close)
def _confirm(context: Context, job: Job, name: str) -> None:
    st.write("No further task is given out. What workers hold is still taken and paid; the rest is free again.")
    html.show("command.html", context, line=f"pasar job cancel {job.job[:8]} --as {name}")
    if st.button("Cancel the job", key="cancel-yes", type="primary"):
        with st.spinner("cancelling"):
            done = dialogs.do(lambda once: acting.client(name).cancel(job.job, once))
        if done:
            st.rerun()
