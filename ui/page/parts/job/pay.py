"""What of a job's rewards is paid on the chain, by which transactions, and what waits for what."""

from collections.abc import Sequence
from typing import Final

from services.projections.queries import Job
from services.viewing import dues
from services.viewing.history import EVENTS_MAX, Entry
from ui.page.context import Context
from ui.page.parts import html

#: Workers in the table.
SHARES_SHOWN: Final = 40


def draw(context: Context, job: Job, entries: Sequence[Entry]) -> None:
    """Nothing where the market has joined no chain, or nobody earned anything with the job."""
    next_ = dues.outlook(context.view)
    if next_ is None or not job.paid_msat:
        return
    shares = dues.of_job(context.view, job.job, entries, next_)
    html.show(
        "job_pay.html",
        context,
        job=job,
        shares=shares[:SHARES_SHOWN],
        number=len(shares),
        paid_msat=sum(one.paid_msat for one in shares),
        paying_msat=sum(one.paying_msat for one in shares),
        waiting_msat=sum(one.waiting_msat for one in shares),
        rows=context.view.settled.job_payouts(job.job),
        next=next_,
        rate=dues.rate,
        whole=len(entries) < EVENTS_MAX,
    )
