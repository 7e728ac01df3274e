"""One job: how it is and why, its history, its money, its evidence, its results and its receipt."""

import re
from datetime import datetime, timedelta
from typing import Final

import streamlit as st

from domain.errors import UnknownJob
from services.client import sentences, waiting
from services.client.waiting import Waiting
from services.projections.queries import Job
from services.viewing import flow, history
from ui.page import process
from ui.page.context import Context
from ui.page.live import OFFERS, Watch
from ui.page.parts import html, settled
from ui.page.parts.job import acts, pay, receipt, result, told
from ui.page.parts.subscribing import origin, server

_ID: Final = re.compile(r"[0-9a-f]{24}")
_UNDER_WAY: Final = ("assigned", "committed", "submitted")


def draw(context: Context) -> Watch:
    asked = st.query_params.get("id", "").strip().lower()
    if not asked:
        html.show("heading.html", context, text="Which job?")
        html.show("jobs_table.html", context, jobs=context.view.jobs(20), title="Latest jobs")
        return Watch(("JobPosted",))
    try:
        job = context.view.job(asked)
    except UnknownJob:
        html.show("job_unknown.html", context, id=asked)
        return Watch((asked,) if _ID.fullmatch(asked) else ("JobPosted",))
    entries = history.read(context.view, job.job)
    story = history.story(entries)
    waits = _head(context, job)
    confirms = acts.draw(context, job)
    if job.verified:
        result.draw(context, job, story)
    html.show("job_money.html", context, job=job, money_flow=flow.flow(job, entries), bill=flow.bill(job))
    pay.draw(context, job, entries)
    told.draw(context, job, entries, story)
    told.evidence(context, job, story)
    receipt.draw(context, job)
    _subscribe(context, job)
    paying = settled.PAYOUTS if job.paid_msat and context.view.settled.chain() is not None else ()
    return Watch((job.job, *(OFFERS if waits else ()), *paying), still=confirms)


def _head(context: Context, job: Job) -> bool:
    """How it is; whether some of it waits for workers."""
    view, now = context.view, context.at
    last, runs = view.latest(job.job, 1), view.tasks(job.job)
    since = last[-1].recorded_at if last else job.posted_at
    waits = waiting.waits(job, runs, since=since, now=since + waiting.PATIENCE)
    why = _why(context, job, since) if waiting.waits(job, runs, since=since, now=now) else None
    settled = {run.task for run in runs if run.state == "verified"}
    html.show(
        "job.html",
        context,
        job=job,
        sentence=sentences.of_job(job, now=now),
        trouble=sentences.of_trouble(runs) if job.state == "open" else "",
        waiting=why,
        lost=job.failed or job.given_up,
        working=len({run.task for run in runs if run.state in _UNDER_WAY} - settled),
        program=view.program(job.program),
    )
    if context.present and waits and why is None:
        _look_again(since)
    return context.present and waits


def _why(context: Context, job: Job, since: datetime) -> Waiting:
    view = context.view
    program = view.program(job.program)
    meter = None if program is None else program.meter
    return waiting.why(job, meter, view.workers(), fee_ppm=view.fee_ppm(), since=since)


@st.fragment(run_every=waiting.PATIENCE + timedelta(seconds=1))
def _look_again(since: datetime) -> None:
    """Nothing happens while a job waits, so a timer asks why."""
    if process.market().clock.now() - since >= waiting.PATIENCE:
        st.rerun()


def _subscribe(context: Context, job: Job) -> None:
    if context.present:
        html.show(
            "job_subscribe.html",
            context,
            server=server(),
            origin=origin(),
            subject=f"pasar.events.*.{job.job}.>",
            job=job.job,
        )
