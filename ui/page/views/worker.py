"""One worker: how it is, what it did and earned, what it has at stake, and when it could be had."""

from typing import Final

import streamlit as st

from domain.errors import UnknownWorker
from services.client.sentences import of_worker
from services.viewing import dues, money, uptime, worklog
from services.viewing.uptime import DAY, DAYS, HOUR, HOURS
from ui.page import acting
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import html, settled
from ui.page.parts.subscribing import origin, server
from ui.page.views.workers import rate, standing

#: Events of the worker that its latest tasks are told from, and how many of these are shown.
EVENTS: Final = 400
TASKS: Final = 20
STAKE_LINES: Final = 12
PAYMENTS: Final = 8


def draw(context: Context) -> Watch:
    """``?id=`` is its key or the beginning of it; one that is not known yet is watched for."""
    asked, view = st.query_params.get("id", "").strip().upper(), context.view
    try:
        if not asked:
            raise UnknownWorker(worker=asked)
        row = view.worker(asked)
    except UnknownWorker:
        html.show("worker_unknown.html", context, asked=asked)
        return Watch(("WorkerRegistered",))
    turns = uptime.of_all(view).get(row.worker, [])
    stake, next_ = money.of_worker(view, row, STAKE_LINES), dues.outlook(view)
    html.show(
        "worker.html",
        context,
        server=server(),
        origin=origin(),
        row=row,
        name=acting.names().get(row.worker, ""),
        standing=standing(row),
        sentence=of_worker(row),
        rate=rate(row),
        earned=worklog.earned(view, row.worker, context.at),
        hours=uptime.dots(turns, context.at, HOUR, HOURS),
        days=uptime.dots(turns, context.at, DAY, DAYS),
        stakes=money.of_stakes(row),
        stake=stake,
        rulings=worklog.rulings(view, [line.move for line in stake.lines]),
        tasks=worklog.lately(view.latest(row.worker, EVENTS), TASKS),
        chain=view.settled.chain(),
        due=None if next_ is None else dues.of_worker(row, next_),
        payments=view.settled.payments_of(row.worker, PAYMENTS),
    )
    return Watch((row.worker, *(settled.PAYOUTS if next_ is not None else ())))
