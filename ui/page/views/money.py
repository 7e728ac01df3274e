"""Where the money is: on the chain and in accounts, as sums that close; payouts, and a ledger of every movement."""

from typing import Any, ClassVar, Final

import streamlit as st

from domain.errors import Refused
from services.projections.queries import Escrow, Worker
from services.viewing import money
from services.viewing.money import Page
from ui.page import acting, funds
from ui.page.context import BadAddress, Context
from ui.page.live import Watch
from ui.page.parts import dialogs, html, settled

LINES: Final = 40
#: Movements on a market that has joined no chain.
PLAIN: Final = tuple(name for name in money.NAMES if name not in (*money.COINS, "PayoutConfirmed", "PayoutReorged"))


class NoSuchMove(Refused):
    template: ClassVar[str] = "no movement of money is called {move}; leave it out, or take one of {known}"


def draw(context: Context) -> Watch:
    """``?payout=`` selects a payout, ``?escrow=`` or ``?stake=`` an account, ``?move=`` an event's name.

    ``?before=`` turns the page of the ledger, ``?epochs=`` that of the payouts.
    """
    query, view = st.query_params, context.view
    epoch, epochs = _number("payout", query.get("payout")), _number("epochs", query.get("epochs"))
    if epoch is not None:
        settled.payout(context, epoch)
        return Watch(settled.EVENTS)
    chosen, before = query.get("move", ""), _number("before", query.get("before"))
    if chosen and chosen not in money.NAMES:
        raise NoSuchMove(move=chosen, known=", ".join(money.NAMES))
    escrow = view.escrow(query["escrow"].lower()) if query.get("escrow") else None
    worker = view.worker(query["stake"].upper()) if query.get("stake") else None
    still = bool(dialogs.shown())
    if escrow is not None:
        _accounts(context, escrow, None)
        if context.present:
            funds.buttons(context, escrow)
        settled.account(context, escrow)
        _ledger(context, {"escrow": escrow.escrow}, escrow, chosen, before)
        return Watch((escrow.escrow, *settled.EVENTS), still=still)
    if worker is not None:
        _accounts(context, None, worker)
        settled.account(context, worker)
        _ledger(context, {"stake": worker.worker}, worker, chosen, before)
        return Watch((worker.worker, *settled.EVENTS), still=still)
    _whole(context, chosen, before, epochs)
    return Watch((*money.NAMES, *settled.EVENTS, "WorkerRegistered"), still=still)


def _whole(context: Context, chosen: str, before: int | None, epochs: int | None) -> None:
    """All accounts, all payouts and all movements."""
    html.show("heading.html", context, text="Money")
    settled.chain(context)
    settled.table(context, epochs)
    _accounts(context, None, None)
    if context.present:
        funds.buttons(context, None)
    settled.accounts(context, dict(acting.names()))
    names = money.NAMES if context.view.settled.chain() is not None else PLAIN
    page = money.ledger(context.view, LINES, before=before, names=(chosen,) if chosen else tuple(names))
    _table(context, page, {}, chosen=chosen, before=before, names=tuple(names))


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
        settled=view.settled.chain() is not None,
    )


def _ledger(context: Context, account: dict[str, str], row: Escrow | Worker, chosen: str, before: int | None) -> None:
    """The movements of one account; with all of them shown, each with the balance after it."""
    view = context.view
    if isinstance(row, Escrow):
        page = money.of_escrow(view, row, LINES, before=before, name=chosen)
    else:
        page = money.of_worker(view, row, LINES, before=before, name=chosen)
    names = [
        name
        for name in (money.ESCROW if isinstance(row, Escrow) else money.STAKE)
        if name in PLAIN or view.settled.chain() is not None
    ]
    balances = "escrow" if isinstance(row, Escrow) else "stake"
    # a read model that is an event ahead of the page is no reason to say that an account does not close
    current = row.last_pos <= view.position
    _table(context, page, account, chosen=chosen, before=before, names=names, balances=balances, current=current)


def _table(context: Context, page: Page, account: dict[str, str], **facts: Any) -> None:
    facts = {"balances": "", "current": True, **facts}
    html.show("ledger.html", context, page=page, account=account, held=money.HELD, **facts)


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isdecimal() and 0 < len(text) < 19):
        raise BadAddress(name=name, value=text)
    return int(text)
