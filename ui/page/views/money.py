"""Where the money is: accounts as sums that close, and a ledger of every movement.

Each part of the page is a function of its own; what a chain of Bitcoin adds, payouts and epochs, is one more of them.
"""

from typing import Any, ClassVar, Final

import streamlit as st

from domain.errors import Refused
from services.projections.queries import Escrow, Worker
from services.viewing import money
from services.viewing.money import Page
from ui.page import acting, funds
from ui.page.context import BadAddress, Context
from ui.page.live import Watch
from ui.page.parts import dialogs, html

LINES: Final = 40


class NoSuchMove(Refused):
    template: ClassVar[str] = "no movement of money is called {move}; leave it out, or take one of {known}"


def draw(context: Context) -> Watch:
    """``?escrow=`` or ``?stake=`` selects an account, ``?move=`` an event's name, ``?before=`` turns the page."""
    query, view = st.query_params, context.view
    chosen, before = query.get("move", ""), _position("before", query.get("before"))
    if chosen and chosen not in money.NAMES:
        raise NoSuchMove(move=chosen, known=", ".join(money.NAMES))
    escrow = view.escrow(query["escrow"].lower()) if query.get("escrow") else None
    worker = view.worker(query["stake"].upper()) if query.get("stake") else None
    _accounts(context, escrow, worker)
    if context.present and worker is None:
        funds.buttons(context, escrow)
    if escrow is not None:
        _ledger(context, {"escrow": escrow.escrow}, escrow, chosen, before)
        return Watch((escrow.escrow,), still=bool(dialogs.shown()))
    if worker is not None:
        _ledger(context, {"stake": worker.worker}, worker, chosen, before)
        return Watch((worker.worker,), still=bool(dialogs.shown()))
    page = money.ledger(view, LINES, before=before, names=(chosen,) if chosen else tuple(money.NAMES))
    _table(context, page, {}, chosen=chosen, before=before, names=tuple(money.NAMES))
    return Watch((*money.NAMES, "WorkerRegistered"), still=bool(dialogs.shown()))


def _accounts(context: Context, escrow: Escrow | None, worker: Worker | None) -> None:
    view, totals = context.view, context.view.totals()
    if escrow is not None:
        sums = [money.of_escrows(escrow)]
    elif worker is not None:
        sums = [money.of_stakes(worker)]
    else:
        sums = [money.of_escrows(totals), money.of_stakes(totals)]
    html.show(
        "money.html",
        context,
        escrow=escrow,
        worker=worker,
        sums=sums,
        escrows=[(one, money.of_escrows(one)) for one in view.escrows()],
        workers=[(one, money.of_stakes(one)) for one in view.workers()],
        names=acting.names(),
    )


def _ledger(context: Context, account: dict[str, str], row: Escrow | Worker, chosen: str, before: int | None) -> None:
    """The movements of one account; with all of them shown, each with the balance after it."""
    view = context.view
    if isinstance(row, Escrow):
        page = money.of_escrow(view, row, LINES, before=before, name=chosen)
    else:
        page = money.of_worker(view, row, LINES, before=before, name=chosen)
    names = money.ESCROW if isinstance(row, Escrow) else money.STAKE
    balances = "escrow" if isinstance(row, Escrow) else "stake"
    # a read model that is an event ahead of the page is no reason to say that an account does not close
    current = row.last_pos <= view.position
    _table(context, page, account, chosen=chosen, before=before, names=names, balances=balances, current=current)


def _table(context: Context, page: Page, account: dict[str, str], **facts: Any) -> None:
    facts = {"balances": "", "current": True, **facts}
    html.show("ledger.html", context, page=page, account=account, held=money.HELD, **facts)


def _position(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isdecimal() and 0 < len(text) < 19):
        raise BadAddress(name=name, value=text)
    return int(text)
