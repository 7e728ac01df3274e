"""Who waits for money, and for what: what the next payout would pay, by the rules of ``domain.planning``.

A payout's exact plan needs the market's books; what is said here of its fee is an estimate from the read models, and
says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from domain.bitcoin import op_return, payout_vsize
from domain.books import RESERVE, State
from domain.drawing import CHANGE_VB, COINS_MAX, FEE_PPM, INPUT_VB
from domain.events import EscrowReleased, PayoutAllotted
from domain.money import MSAT_PER_SAT, PPM
from domain.payees import OUTPUT_VB, minimum_sat
from domain.payout import fee_sat
from services.client.words import sat
from services.projections.queries import Worker
from services.projections.settled import OnChain, Payout
from services.viewing import payouts
from services.viewing.history import Entry
from services.viewing.view import Totals, View

#: The rate before the first payout, for a virtual byte: the least that nodes relay.
RATE_MSAT: Final = 1_000
#: Payouts among which one that is not settled is looked for.
RECENT: Final = 24
#: The longest script of an account, which spending one of its outputs shows.
_SCRIPT_BYTES: Final = 148


class Outlook(NamedTuple):
    """What a payout would be like now.

    Attributes:
        rate_msat: Of the last payout's first rung. minimum_sat: The least reward that is paid at that rate.
        payees: Workers whose reward is worth an output. paid_sat: What they and the market would get.
        fee_sat: About what it would cost. allowed_sat: The most that may go to miners of what it pays.
        covered_sat: What the outputs hold that it would be paid from. fund_sat: Set aside for miners.
        open: The payout that has to be settled first, if one has.
    """

    rate_msat: int
    minimum_sat: int
    payees: int
    paid_sat: int
    fee_sat: int
    allowed_sat: int
    covered_sat: int
    fund_sat: int
    open: Payout | None

    @property
    def hindrance(self) -> str:
        """Why nothing would be paid; empty if something would."""
        if self.open is not None:
            return f"payout {self.open.epoch} has to be settled first"
        if not self.payees:
            return "no worker has enough due"
        if self.covered_sat < self.minimum_sat:
            return f"the outputs that it would be paid from hold {self.covered_sat:,} sat; payments have to come back"
        if self.fee_sat > self.fund_sat:
            return (
                f"its fee would be about {self.fee_sat:,} sat, and the fund for miners holds {self.fund_sat:,} sat: "
                "it grows with every job"
            )
        if self.fee_sat > self.allowed_sat:
            return (
                f"its fee would be about {self.fee_sat:,} sat, more than {FEE_PPM / 10_000:g} % of the "
                f"{self.paid_sat:,} sat that it would pay: it waits for more"
            )
        return ""


def outlook(view: View) -> Outlook | None:
    """What the next payout would be like; absent without a chain."""
    if view.settled.chain() is None:
        return None
    last = view.settled.payouts(RECENT)
    open_ = next((one for one in reversed(last) if one.open), None)
    rate_msat = last[0].rate_msat if last else RATE_MSAT
    totals, found, least_sat = view.totals(), view.settled.on_chain(), minimum_sat(rate_msat)
    ready = [ready_sat(one) for one in view.workers() if ready_sat(one) >= least_sat and one.payout_script]
    fund_sat = (found.fund_msat - found.miners_msat + found.borne_msat) // MSAT_PER_SAT
    fund_sat -= open_.fund_sat if open_ else 0
    market_sat = _market_sat(totals, found, open_)
    ready.sort(reverse=True)
    tries = _fewer(ready, market_sat if market_sat >= least_sat else 0)
    looks = (_look(view, rewards, with_sat, rate_msat, fund_sat, open_) for rewards, with_sat in tries)
    first = next(looks)
    if open_ is not None or not first.hindrance:
        return first
    return next((one for one in looks if not one.hindrance), first)


def _fewer(rewards: list[int], market_sat: int) -> Iterator[tuple[list[int], int]]:
    """Who is paid, and fewer each time, as a plan does it: the market waits first, then the smallest rewards."""
    yield rewards, market_sat
    while market_sat or len(rewards) > 1:
        rewards = rewards if market_sat else rewards[: -max(1, len(rewards) // 8)]
        market_sat = 0
        yield rewards, market_sat


def _look(
    view: View, rewards: list[int], market_sat: int, rate_msat: int, fund_sat: int, open_: Payout | None
) -> Outlook:
    paid_sat = sum(rewards) + market_sat
    vsize, covered_sat = _drawn(view, len(rewards) + bool(market_sat), paid_sat, rate_msat)
    costs = paid_sat, fee_sat(vsize, rate_msat), paid_sat * FEE_PPM // PPM, covered_sat
    return Outlook(rate_msat, minimum_sat(rate_msat), len(rewards), *costs, fund_sat, open_)


def ready_sat(worker: Worker) -> int:
    """What the worker has due that no payout under way pays, in whole satoshi."""
    return (worker.due_msat - worker.paying_msat) // MSAT_PER_SAT


def _market_sat(totals: Totals, found: OnChain, open_: Payout | None) -> int:
    due_msat = totals.charged_msat - found.fund_msat - found.market_msat
    return due_msat // MSAT_PER_SAT - (open_.market_sat if open_ else 0)


def _drawn(view: View, outputs: int, paid_sat: int, rate_msat: int) -> tuple[int, int]:
    """About how large a payout of so much is, and what it finds: it draws from the escrows that owe most first.

    What is in reserve, and stakes that were forfeited, pay rewards as well.
    """
    owing = sorted((one for one in view.escrows() if one.undrawn_msat), key=lambda one: -one.undrawn_msat)
    inputs = drawn = covered_sat = 0
    for escrow in owing:
        wanted_sat = min(escrow.undrawn_msat // MSAT_PER_SAT, paid_sat - covered_sat)
        coins, value_sat = 0, 0
        for coin in view.settled.coins(escrow.escrow)[:COINS_MAX] if wanted_sat > 0 else ():
            if value_sat < wanted_sat:
                coins, value_sat = coins + 1, value_sat + coin.value_sat
        got_sat = min(wanted_sat, value_sat)
        worth = fee_sat(INPUT_VB * coins + CHANGE_VB, rate_msat) * PPM <= got_sat * FEE_PPM
        if coins and (worth or not drawn):
            inputs, drawn, covered_sat = inputs + coins, drawn + 1, covered_sat + got_sat
    payee, change = bytes(22), bytes(34)
    scripts = [*[payee] * outputs, op_return(bytes(32)), *[change] * drawn]
    return payout_vsize([_SCRIPT_BYTES] * inputs, scripts), covered_sat + _beside_sat(view)


def _beside_sat(view: View) -> int:
    """What the reserve holds, and what stakes hold that was forfeited."""
    accounts = {one.key: one for one in view.settled.accounts()}
    found_sat = accounts[RESERVE].live_sat if RESERVE in accounts else 0
    for worker in view.workers():
        account = accounts.get(worker.worker)
        if account is not None:
            found_sat += min((worker.slashed_msat - account.drawn_msat) // MSAT_PER_SAT, account.live_sat)
    return found_sat


def of_worker(worker: Worker, next_: Outlook) -> str:
    """When a worker is paid what it has due, in a sentence or two; empty if nothing is due."""
    said = [waits_for(worker, next_)]
    if worker.paying_msat and next_.open is not None:
        said.insert(0, f"Payout {next_.open.epoch} pays {sat(worker.paying_msat)} of it: {stands(next_.open)}.")
    return " ".join(filter(None, said))


def waits_for(worker: Worker, next_: Outlook) -> str:
    """Why a worker waits for what no payout pays yet, as a sentence; empty if nothing waits."""
    waiting_msat = worker.due_msat - worker.paying_msat
    if not waiting_msat:
        return ""
    if worker.payout_script is None:
        return "It has no address to be paid at: it opens an account as soon as `pasar worker run` runs again."
    if waiting_msat // MSAT_PER_SAT < next_.minimum_sat:
        return f"{_less(next_, waiting_msat)}; it is carried over until it is as much."
    if next_.hindrance:
        return f"A payout takes it as soon as it can; now {next_.hindrance}."
    return "The next payout takes it."


class Share(NamedTuple):
    """What one worker earned with a job, and how far its pay is.

    Attributes:
        why: What the rest waits for; empty if nothing waits.
    """

    worker: str
    earned_msat: int
    paid_msat: int
    paying_msat: int
    why: str

    @property
    def waiting_msat(self) -> int:
        return self.earned_msat - self.paid_msat - self.paying_msat


def of_job(view: View, job: str, entries: Iterable[Entry], next_: Outlook) -> list[Share]:
    """How far the pay for a job is, by worker, those who wait for most first.

    Args:
        entries: The job's events.
    """
    earned, paid, paying = Counter[str](), Counter[str](), Counter[str]()
    for one in entries:
        if isinstance(one.event, EscrowReleased):
            earned[one.event.worker] += one.event.amount_msat
    for row in view.settled.job_payouts(job):
        if row.state is not State.ABANDONED:
            _, allotted = payouts.read(view, view.settled.payout(row.epoch))
            for owner, amount_msat in _shares(allotted, job):
                (paid if row.state is State.CONFIRMED else paying)[owner] += amount_msat
    workers = {one.worker: one for one in view.workers()}
    found = []
    for worker, amount_msat in earned.items():
        waits = amount_msat - paid[worker] - paying[worker] > 0 and worker in workers
        why = waits_for(workers[worker], next_) if waits else ""
        found.append(Share(worker, amount_msat, paid[worker], paying[worker], why))
    return sorted(found, key=lambda one: (-one.waiting_msat, -one.earned_msat, one.worker))


def _shares(allotted: Iterable[PayoutAllotted], job: str) -> Iterator[tuple[str, int]]:
    return ((one.owner, part.amount_msat) for one in allotted for part in one.paid if part.job == job)


def _less(next_: Outlook, waiting_msat: int) -> str:
    cost_sat = fee_sat(OUTPUT_VB, next_.rate_msat)
    return (
        f"{sat(waiting_msat)} are less than the {next_.minimum_sat:,} sat that are paid at least at "
        f"{rate(next_.rate_msat)}, where an output costs {cost_sat:,} sat and at most {FEE_PPM / 10_000:g} % may go to "
        "miners"
    )


def rate(rate_msat: int) -> str:
    """A fee rate: ``1.5 sat/vB``."""
    return f"{rate_msat / MSAT_PER_SAT:,.3f}".rstrip("0").rstrip(".") + " sat/vB"


def stands(payout: Payout) -> str:
    """How far a payout is, in a few words."""
    return {
        State.PLANNED: "it is being signed",
        State.CONTESTED: "the arbiter does not sign it, so it will be planned anew",
        State.SENT: "it is sent and waits for its block",
        State.CONFIRMED: "it is paid",
        State.ABANDONED: "it was given up",
    }[payout.state]
