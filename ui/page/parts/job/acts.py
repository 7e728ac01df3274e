"""What the job's own client can do here."""

import streamlit as st

from domain.errors import Refused
from services.client.words import in_sat
from services.projections.queries import Job
from ui.page import acting, process
from ui.page.context import Context
from ui.page.parts import html


def draw(context: Context, job: Job) -> None:
    """A button that cancels an open job of a party of this machine."""
    if process.market().settings is None or not context.present or job.state != "open":
        return
    name = acting.names().get(job.client)
    if name is not None and st.button("Cancel this job", key="cancel"):
        _confirm(context, job, name)


@st.dialog("Cancel this job?")
def _confirm(context: Context, job: Job, name: str) -> None:
    st.write("No further task is given out. What workers hold is still taken and paid; the rest is free again.")
    html.show("command.html", context, line=f"pasar job cancel {job.job[:8]} --as {name}")
    if st.button("Cancel the job", key="cancel-yes", type="primary"):
        try:
            acting.cancel(job.job, name)
        except Refused as refused:
            st.error(in_sat(str(refused)), icon=":material/error:")
            return
        st.rerun()
