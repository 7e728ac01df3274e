"""The receipt of a completed job: made, verified and handed out."""

from collections.abc import Sequence
from typing import Final

import streamlit as st

from domain.errors import Refused
from services import bootstrap
from services.bus.wire import BusError
from services.config import Settings
from services.ledger.root import SignedRoot
from services.projections.queries import Job
from services.receipt import form, sentences
from services.receipt.checks import Check, check
from services.receipt.make import make
from services.receipt.verify import Verified
from ui.page import process
from ui.page.context import Context
from ui.page.parts import frame, html

#: Workers of each payout that are listed.
WORKERS_MAX: Final = 40
_KEPT: Final = "receipt"


def draw(context: Context, job: Job) -> None:
    """Where the job is over."""
    html.show("heading.html", context, text="Receipt")
    if job.state != "completed":
        st.caption("When the job is over, its receipt proves without this market what was done and paid.")
        return
    settings = process.market().settings
    if settings is None or not context.present:
        html.show("command.html", context, line=f"pasar receipt save {job.job[:8]}")
        return
    _verified(context, settings, job)


@st.fragment
def _verified(context: Context, settings: Settings, job: Job) -> None:
    try:
        _shown(context, settings, bootstrap.operator(settings), job)
    except Refused as refused:
        frame.refused(refused)
    except (BusError, TimeoutError) as error:
        st.error(f"The market does not answer ({error or 'no reply in time'}); see `pasar status`.")


def _shown(context: Context, settings: Settings, market: str, job: Job) -> None:
    st.caption(
        "The job's events as the log holds them, and the proof that they are under the root that the market signed; "
        "what was paid, down to the block that holds the transaction."
    )
    if st.button("Verify now", key="verify"):
        made = process.market().ask(_make(settings, market, job.job))
        st.session_state[_KEPT] = job.job, made, check(made, market=market)
    kept: tuple[str, bytes, tuple[Verified | None, list[Check]]] | None = st.session_state.get(_KEPT)
    file = f"{job.job}.receipt.json"
    if kept is not None and kept[0] == job.job:
        _, made, (verified, checks) = kept
        show_checks(context, verified, checks, market)
        st.download_button(
            f"Download the receipt ({len(made):,} bytes)",
            made,
            file_name=file,
            mime="application/json",
            key="receipt-file",
            on_click="ignore",
        )
    html.show("command.html", context, line=f"pasar receipt save {job.job[:8]}")
    html.show("command.html", context, line=f"pasar receipt verify {file} --key {market}")


def show_checks(context: Context, verified: Verified | None, checks: Sequence[Check], known: str | None) -> None:
    """What a receipt proves, which payouts paid for the job, and every check by name.

    Args:
        known: The key that must have signed; absent if none is known here.
    """
    facts = {"verified": verified, "checks": checks, "known": known, "workers_max": WORKERS_MAX}
    html.show("receipt_checks.html", context, sentences=sentences, **facts)


async def _make(settings: Settings, market: str, job: str) -> bytes:
    async def root(covers: int) -> SignedRoot:
        return await bootstrap.signed_root(settings, covers=covers)

    return form.encode(await make(process.running().reader, market, job, root))
