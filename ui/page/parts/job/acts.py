"""What the job's own client can do here."""

import os

import streamlit as st

from domain.errors import Refused
from services.client.names import known
from services.client.session import session
from services.client.words import in_sat
from services.config import Settings
from services.projections.queries import Job
from services.stack.page import Options
from ui.page import process
from ui.page.context import Context
from ui.page.parts import html


def draw(context: Context, job: Job) -> None:
    """A button that cancels an open job of a party of this machine."""
    settings = process.market().settings
    if settings is None or not context.present or job.state != "open":
        return
    if not Options.from_environment(os.environ).spend:
        return
    name = known(settings).get(job.client)
    if name is not None and st.button("Cancel this job", key="cancel"):
        _confirm(context, settings, job, name)


@st.dialog("Cancel this job?")
def _confirm(context: Context, settings: Settings, job: Job, name: str) -> None:
    st.write("No further task is given out. What workers hold is still taken and paid; the rest is free again.")
    html.show("command.html", context, line=f"pasar job cancel {job.job[:8]} --as {name}")
    if st.button("Cancel the job", key="cancel-yes", type="primary"):
        try:
            process.market().ask(_cancel(settings, job.job, name))
        except Refused as refused:
            st.error(in_sat(str(refused)), icon=":material/error:")
            return
        st.rerun()


async def _cancel(settings: Settings, job: str, name: str) -> None:
    async with session(settings, name) as client:
        await client.cancel(job)
