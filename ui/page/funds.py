"""Funding and refunding the escrow of this machine's client."""

from typing import Final

import streamlit as st

from domain.errors import Refused
from services.client.words import in_sat
from services.projections.queries import Escrow
from ui.format import parse_msat
from ui.page import acting
from ui.page.context import Context
from ui.page.parts import dialogs, html

#: What is offered to begin with, in satoshi.
USUAL_SAT: Final = "100000"


def buttons(context: Context, escrow: Escrow | None) -> None:
    """What one can do with one's own account, if it is shown; where nothing can be done, the commands that do it."""
    if why := acting.hindrance(context):
        html.show("acting.html", context, why=why, lines=["pasar escrow fund 100000", "pasar escrow refund --all"])
        return
    client = acting.client()
    if escrow is not None and escrow.escrow != client.escrow:
        return
    own = acting.account(context.view, client.escrow)
    html.show("own_account.html", context, own=own, party=acting.PARTY)
    with st.container(horizontal=True):
        st.button("Fund it", key="fund", on_click=dialogs.open_, args=("fund",))
        st.button(
            "Take money back", key="refund", disabled=not own.usable_msat, on_click=dialogs.open_, args=("refund",)
        )
    if dialogs.shown() == "fund":
        _fund(context)
    elif dialogs.shown() == "refund":
        _refund(context, own)


@st.dialog("Fund the escrow", on_dismiss=dialogs.close)
def _fund(context: Context) -> None:
    st.write(
        "It is paid to an output that you, the market and the arbiter hold together, and that is yours alone once its "
        "term is over. Where the chain is this market's own it is play money, from a faucet."
    )
    amount_msat = amount("Amount in sat", "fund_amount", USUAL_SAT)
    html.show("command.html", context, line=f"pasar escrow fund {in_units(amount_msat or 0)}")
    ready = amount_msat is not None and amount_msat > 0
    if st.button(f"Fund {context.money(amount_msat or 0)}", key="fund_now", type="primary", disabled=not ready):
        with st.spinner("funding"):
            done = dialogs.do(lambda once: acting.client().fund(amount_msat or 0, once))
        if done:
            st.rerun()


@st.dialog("Take money back", on_dismiss=dialogs.close)
def _refund(context: Context, own: Escrow) -> None:
    st.write(
        f"{context.money(own.usable_msat)} are free. What is reserved for posted jobs stays until they are over. "
        "The next payout brings it to your wallet, less what that costs on the chain."
    )
    amount_msat = amount("Amount in sat", "refund_amount", in_units(own.usable_msat))
    html.show("command.html", context, line=f"pasar escrow refund {in_units(amount_msat or 0)}")
    ready = amount_msat is not None and 0 < amount_msat <= own.usable_msat
    if amount_msat is not None and amount_msat > own.usable_msat:
        st.warning(f"Only {context.money(own.usable_msat)} are free; take that or less.")
    if st.button(f"Take back {context.money(amount_msat or 0)}", key="refund_now", type="primary", disabled=not ready):
        with st.spinner("refunding"):
            done = dialogs.do(lambda once: acting.client().refund(amount_msat or 0, once))
        if done:
            st.rerun()


def amount(
    label: str, key: str, value: str = "", help_: str | None = None, wrong: list[Refused] | None = None
) -> int | None:
    """An amount that is typed in, in msat; absent while it is empty or none, which is said, and added to ``wrong``."""
    text = st.text_input(label, value, key=key, help=help_)
    if not text.strip():
        return None
    try:
        return parse_msat(text)
    except Refused as refused:
        st.warning(in_sat(str(refused)))
        if wrong is not None:
            wrong.append(refused)
        return None


def in_units(amount_msat: int) -> str:
    """An amount as the command line takes it: whole satoshi, or msat."""
    return f"{amount_msat}msat" if amount_msat % 1000 else str(amount_msat // 1000)
