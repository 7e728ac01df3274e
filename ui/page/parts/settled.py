"""The money on the chain: what the market settles on, its accounts' outputs, and its payouts."""

from typing import Final

from domain.books import RESERVE, SAFETY_BLOCKS
from services.client import sentences
from services.projections.queries import Escrow, Worker
from services.projections.settled import Account, Payout
from services.viewing import dues, money, payouts
from ui.onchain import descriptor
from ui.page.context import Context
from ui.page.parts import html

#: Payouts in a table, outputs of one, and payouts of one account.
PAYOUTS_SHOWN: Final = 12
OUTPUTS_SHOWN: Final = 100
OF_ACCOUNT: Final = 12
#: Events after which it is another question who is paid.
PAYOUTS: Final = (
    *("PayoutPlanned", "PayoutContested", "PayoutBroadcast", "PayoutConfirmed", "PayoutReorged", "PayoutAbandoned"),
)
#: Events after which the chain's part of a page says something else.
EVENTS: Final = (
    *("ChainJoined", "ChainAdvanced", "ChainReorganised", "DepositReorged", "DepositRestored", "CoinTaken"),
    *PAYOUTS,
)


def chain(context: Context) -> None:
    """The chain, and all money on it as sums that close; nothing where the market has joined none."""
    view = context.view
    found = view.settled.chain()
    if found is None:
        return
    sums = view.settled.on_chain()
    html.show(
        "chain.html",
        context,
        chain=found,
        worth=sentences.NETWORKS[found.network],
        whole=money.of_chain(sums),
        held=money.of_holdings(view.totals(), sums),
        missing_msat=sums.missing_msat,
    )


def table(context: Context, before: int | None) -> None:
    """The latest payouts, those in front of an epoch if given, and what the next one waits for."""
    found = context.view.settled.chain()
    if found is None:
        return
    rows = context.view.settled.payouts(PAYOUTS_SHOWN + 1, before)
    html.show(
        "payouts.html",
        context,
        rows=[(row, sentences.of_payout(row, found.height), payouts.share_ppm(row)) for row in rows[:PAYOUTS_SHOWN]],
        older=rows[PAYOUTS_SHOWN - 1].epoch if len(rows) > PAYOUTS_SHOWN else None,
        before=before,
        next=dues.outlook(context.view),
        rate=dues.rate,
    )


def accounts(context: Context, names: dict[str, str]) -> None:
    """Every account's address, term and outputs."""
    found = context.view.settled.chain()
    if found is None:
        return
    rows = context.view.settled.accounts()
    html.show(
        "accounts.html",
        context,
        chain=found,
        rows=[(row, money.of_account(row)) for row in rows],
        names=names,
        safety=SAFETY_BLOCKS,
        reserve=RESERVE,
    )


def account(context: Context, of: Escrow | Worker) -> None:
    """One account on the chain: where to pay to it, until when, what it holds, and what payouts did to it."""
    view, key = context.view.settled, of.escrow if isinstance(of, Escrow) else of.worker
    found, row = view.chain(), view.account(key)
    if found is None:
        return
    html.show(
        "account.html",
        context,
        chain=found,
        row=row,
        sum=None if row is None else money.of_account(row),
        whose=None if row is None else money.of_outputs(of, row),
        term=_term(row, found.height),
        descriptor="" if row is None else descriptor(row),
        terms=view.terms(key),
        coins=view.coins(key),
        draws=[one for one in view.draws_of(key, OF_ACCOUNT) if one.pool_sat],
        payments=[] if row is None else view.payments_of(row.owner, OF_ACCOUNT),
        key=key,
    )


def _term(row: Account | None, height: int) -> str:
    return "" if row is None or row.expires_height is None else sentences.of_term(row.expires_height, height)


def payout(context: Context, epoch: int) -> Payout:
    """One payout in full.

    Raises:
        UnknownPayout: There is none.
    """
    view = context.view
    row, found = view.settled.payout(epoch), view.settled.chain()
    height = 0 if found is None else found.height
    detail = payouts.of(view, row)
    html.show(
        "payout.html",
        context,
        row=row,
        chain=found,
        sentence=sentences.of_payout(row, height),
        detail=detail,
        outputs=detail.outputs[:OUTPUTS_SHOWN],
        share_ppm=payouts.share_ppm(row),
        root=view.root(row.size).hex() if row.size <= view.position else "",
        size=len(detail.raw) // 2,
        rate=dues.rate,
    )
    return row
