"""Posting a job: what to run, on which terms, what it costs before anything is reserved, and who would run it."""

import hashlib
from typing import Final

import streamlit as st

from domain.deposits import deposit_sat
from domain.errors import Refused
from domain.money import MSAT_PER_SAT
from services.client import pricing
from services.client.bill import Quote, seconds
from services.client.session import Work
from services.client.words import in_sat
from services.projections.queries import Escrow
from ui.page import acting, live
from ui.page.context import Context
from ui.page.funds import in_units
from ui.page.live import OFFERS, Watch
from ui.page.parts import dialogs, html
from ui.page.posting import Draft, form

#: What changes a quote: the asks that stand, who is there, what is at stake, the fee.
KEYS: Final = (*OFFERS, "FeeSet")


def draw(context: Context) -> Watch:
    """The form beside its quote, which follows the form and the market."""
    html.show("post.html", context)
    left, right = st.columns([3, 2], gap="large")
    why = acting.hindrance(context)
    draft = None
    with left:
        try:
            draft = form()
        except Refused as refused:
            st.warning(in_sat(str(refused)))
    with right:
        if why:
            html.show("acting.html", context, why=why, lines=[] if draft is None else [draft.line])
            return Watch(still=True)
        client = acting.client()
        if draft is None:
            html.show("quote_none.html", context)
        else:
            _priced(context, draft, acting.account(context.view, client.escrow))
    if dialogs.shown() == "post":
        _confirm(context, *dialogs.about())
    return Watch((*KEYS, client.escrow), still=bool(dialogs.shown()))


def _priced(context: Context, draft: Draft, own: Escrow) -> None:
    """The quote, and the next step: post it, fund it, or what would let it pass."""
    try:
        with st.spinner("exporting the program and asking for its price"):
            goods = draft.goods()
            quoted = acting.client().quote(goods, draft.terms)
    except Refused as refused:
        html.show("quote_refused.html", context, why=in_sat(str(refused)), line=draft.line)
        return
    missing_msat = max(0, quoted.due_msat - own.usable_msat)
    html.show(
        "quote.html",
        context,
        quoted=quoted,
        reasons=[in_sat(str(one)) for one in quoted.reasons],
        remedies=pricing.remedies(quoted),
        eta=seconds(quoted.eta_s) if quoted.eta_s else "",
        own=own,
        missing_msat=missing_msat,
    )
    if pricing.passes(quoted) and missing_msat:
        _fund(context, own, missing_msat)
    elif pricing.passes(quoted):
        work = pricing.work(goods, draft.terms, quoted)
        st.button(
            f"Post for {context.money(quoted.due_msat)} …",
            key="post",
            type="primary",
            on_click=dialogs.open_,
            args=("post", (quoted, work, draft.line)),
        )
    html.show("command.html", context, line=draft.line)


def _fund(context: Context, own: Escrow, missing_msat: int) -> None:
    """Fund what is missing; the draw is named after the account as it is, so that a double click funds it once."""
    whole_msat = deposit_sat(missing_msat) * MSAT_PER_SAT
    if st.button(f"Fund {context.money(whole_msat)}", key="post_fund", type="primary"):
        once = hashlib.sha256(f"{own.escrow} {own.last_pos} {whole_msat}".encode()).hexdigest()[:32]
        try:
            with st.spinner("funding"):
                acting.client().fund(whole_msat, once)
        except Refused as refused:
            st.error(in_sat(str(refused)), icon=":material/error:")
        else:
            st.rerun()
    html.show("command.html", context, line=f"pasar escrow fund {in_units(whole_msat)}")


@st.dialog("Post this job?", on_dismiss=dialogs.close)
def _confirm(context: Context, quoted: Quote, work: Work, line: str) -> None:
    """What is about to be reserved, what comes back, and who signs."""
    client = acting.client()
    html.show("post_confirm.html", context, quoted=quoted, work=work, key=client.key, party=acting.PARTY, line=line)
    if st.button(f"Post, and reserve {context.money(quoted.due_msat)}", key="post_now", type="primary"):
        posted: list[str] = []
        with st.spinner("posting"):
            done = dialogs.do(lambda once: posted.append(client.post(work, once)))
        if done:
            live.go(context.href("job", id=posted[0]))
            st.rerun()
