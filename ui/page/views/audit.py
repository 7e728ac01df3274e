"""The market as of any event, what must hold on it, and how anybody checks that elsewhere."""

from typing import Final

import streamlit as st

from domain.errors import Refused
from services.keys import MarketUnknown, market_key
from services.ledger.codec import decode_stored
from services.ledger.root import SignedRoot
from services.receipt.checks import check
from services.viewing.proof import CHECK, Proof
from services.viewing.said import said
from services.viewing.view import NoSuchEvent
from ui.page import live, process
from ui.page.auditing import auditor
from ui.page.context import Context
from ui.page.live import Watch
from ui.page.parts import frame, html
from ui.page.parts.job.receipt import show_checks

#: The largest files that are taken.
LOG_MB: Final = 256
RECEIPT_MB: Final = 64
_SLIDER: Final = "audit_slider"
_NUMBER: Final = "audit_number"
_EVENT: Final = "proof_of"
_WANTED: Final = "audit wanted"


def draw(context: Context) -> Watch:
    _positions(context)
    _invariants(context)
    signed = _signed(context)
    _proof(context, signed)
    files, receipts = st.columns(2, gap="large")
    with files:
        _files(context)
    with receipts:
        _receipt(context)
    return Watch(still=True)


# ------------------------------------------------------------------------------------------------------- as of an event
def _positions(context: Context) -> None:
    view = context.view
    last, position = view.head(), view.position
    try:
        stored = view.event(position)
        told = said(decode_stored(stored))
    except NoSuchEvent:
        stored, told = None, ""
    html.show("audit_position.html", context, last=last, position=position, stored=stored, said=told)
    if last < 2:
        return
    st.session_state[_SLIDER] = st.session_state[_NUMBER] = max(1, position)
    slider, number = st.columns([5, 1], gap="medium", vertical_alignment="bottom")
    slider.slider("As of event", 1, last, key=_SLIDER, on_change=_moved, args=(context, _SLIDER, last))
    number.number_input("Event", 1, last, key=_NUMBER, on_change=_moved, args=(context, _NUMBER, last))
    html.show("audit_steps.html", context, last=last, position=position)


def _moved(context: Context, key: str, last: int) -> None:
    position = int(st.session_state[key])
    live.go(context.href("audit", upto=None if position >= last else position))


# ----------------------------------------------------------------------------------------------------- what must hold
def _invariants(context: Context) -> None:
    html.show("heading.html", context, text="Invariants")
    place = st.empty()
    st.button("Check now", key="audit_now", icon=":material/fact_check:", on_click=_want)
    if st.session_state.get(_WANTED):  # kept until it is done: another drawing may interrupt this one
        try:
            auditor.run(context, frame.folding("checking"))
        except Refused as refused:
            frame.refused(refused)
        del st.session_state[_WANTED]
    with place.container():
        html.show("audit_verdict.html", context, kept=auditor.kept(context))


def _want() -> None:
    st.session_state[_WANTED] = True


# -------------------------------------------------------------------------------------------------------- root, proof
def _signed(context: Context) -> SignedRoot | None:
    """The root, and what the market says of it."""
    signed, why, agrees = None, "", True
    if not context.log:
        try:
            signed = auditor.signed(context.view.position)
            agrees = context.view.root(signed.size).hex() == signed.root
        except Refused as refused:
            why = str(refused)
    root = context.view.root().hex()
    html.show("audit_root.html", context, root=root, signed=signed, agrees=agrees, why=why)
    return signed if agrees else None


def _proof(context: Context, signed: SignedRoot | None) -> None:
    last = context.view.position
    if not last:
        return
    asked = st.query_params.get("event", "")
    position = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 19 else 0
    if asked and not 0 < position <= last:
        frame.refused(NoSuchEvent(position=asked[:20], last=last))
    position = position if 0 < position <= last else last
    st.session_state[_EVENT] = position
    box, _ = st.columns([1, 3])
    box.number_input("Proof of event", 1, last, key=_EVENT, on_change=_asked, args=(context,))
    proof = Proof.of(context.view, position, signed)
    html.show("audit_proof.html", context, proof=proof, check=CHECK)
    st.download_button(
        "Download this proof",
        proof.file(),
        file_name="proof.json",
        mime="application/json",
        key="proof_file",
        on_click="ignore",
        icon=":material/download:",
    )


def _asked(context: Context) -> None:
    live.go(context.href("audit", event=int(st.session_state[_EVENT])))


# --------------------------------------------------------------------------------------------------------------- files
def _files(context: Context) -> None:
    html.show("audit_files.html", context)
    file = st.file_uploader(
        "Open a log",
        key="log_file",
        max_upload_size=LOG_MB,
        help="Downloaded here, or saved by `pasar log save`.",
    )
    if file is None:
        return
    try:
        name = process.archives.open(file.getvalue())
    except Refused as refused:
        frame.refused(refused)
        return
    if name != context.log:
        live.go(context.href("market", log=name, upto=None))
        st.rerun()


def _receipt(context: Context) -> None:
    html.show("audit_receipt.html", context)
    file = st.file_uploader("Check a receipt", key="receipt_file", max_upload_size=RECEIPT_MB, help="A job's receipt.")
    if file is None:
        return
    known = _known()
    verified, checks = check(file.getvalue(), market=known)
    show_checks(context, verified, checks, known)


def _known() -> str | None:
    settings = process.market().settings
    try:
        return None if settings is None else market_key(settings)
    except MarketUnknown:
        return None
