"""What settling on a chain costs, in virtual bytes, fees and seconds: ``just bench settling``.

Payouts are planned, signed by market and arbiter, verified by Bitcoin Core's code and mined, on the embedded chain. Of
what payees get, ``lost`` is what goes to the miners, in percent; where it would be above 2 the market waits until more
is due. Beside it the same without a market that gathers: a transaction of its own for each worker, or for each task.
"""

import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from domain.bitcoin import RBF, Tx, TxIn, TxOut, escrow_script, op_return, p2wsh, parse, txid, vsize
from domain.books import Books
from domain.events import EscrowReleased, FeeCharged
from domain.ids import escrow_id
from domain.money import MSAT_PER_SAT, PPM
from domain.payees import minimum_sat
from domain.payout import LADDER, fee_sat
from domain.planning import NothingToPay, plan
from services.config import CHAIN_PPM, FEE_PPM
from services.settlement import signing
from services.settlement.signing import Spend
from services.settlement.wallet import Role, p2wpkh, wallet
from tests.benchmarks import epoch, payday
from tests.bitcoin import coin
from tests.payroll import point, script
from tests.settling import Settling, settling
from tests.spec import OPERATOR

#: Payees of one payout; not many more than the last fit.
PAYEES: Final = (1, 10, 100, 1_000, 3_200)
#: Sat for a virtual byte.
RATES: Final = (1, 5, 20)
#: What each payee gets, in sat: the least that is paid at the rate, ten times that, and the same at every rate.
AMOUNTS: Final[dict[str, Callable[[int], int]]] = {
    "minimum": lambda rate: minimum_sat(rate * MSAT_PER_SAT),
    "ten_minimums": lambda rate: 10 * minimum_sat(rate * MSAT_PER_SAT),
    "fixed": lambda rate: minimum_sat(max(RATES) * MSAT_PER_SAT),
}
#: Tasks that each worker is paid for.
TASKS_EACH: Final = 10
#: What a client pays for a small job, in sat.
BUDGETS: Final = (10_000, 100_000, 1_000_000)
#: What a payout's signatures take at most: so many inputs, so many payees, by both, at each rung.
_INPUTS_MOST, _PAYEES_MOST = 100, 3_200
#: Enough for the largest payout at the highest rate.
_CLIENT_SAT: Final = 2_000_000_000


async def bench(payees: tuple[int, ...] = PAYEES, rounds: int = 3) -> dict[str, Any]:
    """Sizes and fees, a small job's whole life, and what the times are made of."""
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as home:
        async with settling(Path(home)) as market:
            signatures_s = _signatures_s(market)
            settled = await _sizes(market, payees)
    return {
        "settling": settled,
        "signatures_of_100_inputs_3200_payees_s": signatures_s,
        **await epoch.bench(rounds),
    }


# --------------------------------------------------------------------------------------------------------------- sizes
async def _sizes(market: Settling, counts: tuple[int, ...]) -> dict[str, Any]:
    """One payout for each number of payees, mined; and what it would cost at other rates and rewards."""
    (client,), workers = payday.parties("client", 1), payday.parties("worker", max(counts))
    await payday.enrol(market, workers)
    deposit_vb = await payday.fund(market, [client], _CLIENT_SAT)
    alone_vb = _alone_vb(market)
    found: dict[str, dict[str, Any]] = {}
    for count in counts:
        books = deepcopy(market.world.books)
        market.earned(workers[:count], count, AMOUNTS["ten_minimums"](1) * MSAT_PER_SAT, client)
        paid, raw = await payday.pay(market)
        assert len(paid.allotted) == count, f"{len(paid.allotted)} of {count} were paid"
        assert paid.confirmed is not None
        size_vb = vsize(raw)
        found[str(count)] = {
            "inputs": len(paid.planned.drawn),
            "vsize": size_vb,
            "vb_per_payee": round(size_vb / count, 1),
            "paid_fee_sat": paid.confirmed.fee_sat,
            **{f"at_{rate}_sat_vb": _lost(books, client, workers[:count], rate, size_vb) for rate in RATES},
        }
    return {
        "payees": found,
        "lost_one_a_worker": _lost_alone(alone_vb, 1),
        "lost_one_a_task": _lost_alone(alone_vb, TASKS_EACH),
        "one_a_worker_vb": alone_vb,
        "small_job": _small_job(deposit_vb, found["1"]["vsize"]),
    }


def _lost(books: Books, client: str, workers: list[str], rate: int, size_vb: int) -> dict[str, Any]:
    """The fee at a rate and what it is of the rewards, and whether the rules pay them now."""
    found: dict[str, Any] = {"fee_sat": fee_sat(size_vb, rate * MSAT_PER_SAT)}
    for name, amount in AMOUNTS.items():
        amount_sat = amount(rate)
        try:
            planned, allotted = plan(
                _earning(books, client, workers, amount_sat),
                OPERATOR,
                epoch=len(books.payouts) + 1,
                rate_msat=rate * MSAT_PER_SAT,
                size=0,
                root=books.anchor,
            )
            assert len(allotted) == len(workers), f"{len(allotted)} of {len(workers)} would be paid"
            cost_sat, paid = planned.fees_sat[0], True
        except NothingToPay:
            cost_sat, paid = found["fee_sat"], False
        found[name] = {"reward_sat": amount_sat, "lost": _percent(cost_sat, len(workers) * amount_sat), "paid": paid}
    return found


def _earning(books: Books, client: str, workers: list[str], amount_sat: int) -> Books:
    """The books once each worker has earned so much of one job's, and the market its shares."""
    books, amount_msat = deepcopy(books), amount_sat * MSAT_PER_SAT
    for number, worker in enumerate(workers):
        books.earn(EscrowReleased(escrow_id(client), "0" * 32, number, 0, worker, amount_msat))
    whole_msat = len(workers) * amount_msat
    fee_msat, chain_msat = whole_msat * FEE_PPM // PPM, whole_msat * CHAIN_PPM // PPM
    books.charge(FeeCharged(escrow_id(client), "0" * 32, fee_msat + chain_msat, chain_msat))
    return books


def _alone_vb(market: Settling) -> int:
    """A signed transaction of one key that pays one output and gets change."""
    signer = wallet(market.settings, "peer", network="regtest").signer(Role.payout, 0)
    own = p2wpkh(signer.key)
    tx = Tx((TxIn(coin(0), RBF),), (TxOut(1_550, bytes.fromhex(script("payee"))), TxOut(90_000, own)))
    return vsize(signing.sign_p2wpkh(tx, [Spend(100_000, own)], signer))


def _lost_alone(size_vb: int, transactions: int) -> dict[str, dict[str, float]]:
    """What is lost where a worker is paid by so many transactions of its own."""
    return {
        f"at_{rate}_sat_vb": {
            name: _percent(transactions * size_vb * rate, amount(rate)) for name, amount in AMOUNTS.items()
        }
        for rate in RATES
    }


def _small_job(deposit_vb: int, payout_vb: int) -> dict[str, Any]:
    """What is lost of a budget for one job of one worker, from the client's own money to the worker's."""
    lost = {
        f"budget_{budget_sat}_sat": {
            f"at_{rate}_sat_vb": _percent((deposit_vb + payout_vb) * rate, budget_sat) for rate in RATES
        }
        for budget_sat in BUDGETS
    }
    return {"deposit_vb": deposit_vb, "payout_vb": payout_vb, "lost": lost}


def _percent(part_sat: int, whole_sat: int) -> float:
    return round(100 * part_sat / whole_sat, 2)


# --------------------------------------------------------------------------------------------------------------- times
def _signatures_s(market: Settling) -> float:
    """Seconds for the largest payout's signatures by both parties at every rung, and for putting them together."""
    library, signer = market.cosigner
    keys = bytes.fromhex(point("client")), signer.key, market.arbiter_signer.key
    escrow = escrow_script(keys, bytes.fromhex(point("refund")), 1_000)
    outputs = [TxOut(10_000 + number, bytes.fromhex(script(str(number)))) for number in range(_PAYEES_MOST)]
    anchor, spends = TxOut(0, op_return(bytes(32))), [Spend(10_000_000, escrow)] * _INPUTS_MOST
    inputs = tuple(TxIn(coin(number), RBF) for number in range(_INPUTS_MOST))
    rungs = [Tx(inputs, (*outputs, anchor, TxOut(90_000_000 * rung, p2wsh(escrow)))) for rung in LADDER]
    began = time.perf_counter()
    for tx in rungs:
        signed = {one.key: signing.sign(tx, spends, one) for one in (signer, market.arbiter_signer)}
        raw = signing.combine(library, tx, spends, signed)
        assert txid(parse(raw)) == txid(tx)
    return round(time.perf_counter() - began, 2)


def table(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    settled = found["settling"]
    names = "".join(f"{name.replace('_', ' '):>16}" for name in AMOUNTS)
    lines = [
        f"{'':66}lost to miners, % of a reward of (x: the market waits)",
        f"{'payees':16}{'inputs':>8}{'vB':>8}{'vB each':>10}{'sat/vB':>8}{'fee, sat':>12}{names}",
    ]
    for count, row in settled["payees"].items():
        for rate in RATES:
            at = row[f"at_{rate}_sat_vb"]
            sizes = f"{row['inputs']:8}{row['vsize']:8}{row['vb_per_payee']:10}{rate:8}{at['fee_sat']:12,}"
            lost = "".join(f"{at[name]['lost']:14.2f}{'  ' if at[name]['paid'] else ' x'}" for name in AMOUNTS)
            lines.append(f"{count:16}{sizes}{lost}")
    for peer in ("one_a_worker", "one_a_task"):
        for rate in RATES:
            at = settled[f"lost_{peer}"][f"at_{rate}_sat_vb"]
            lost = "".join(f"{at[name]:14.2f}  " for name in AMOUNTS)
            lines.append(f"{peer.replace('_', ' '):16}{'':8}{settled['one_a_worker_vb']:8}{'':10}{rate:8}{'':12}{lost}")
    job = settled["small_job"]
    lines.append(
        f"a deposit of {job['deposit_vb']} vB and a payout of {job['payout_vb']} vB for one job, % of its budget"
    )
    for rate in RATES:
        lost = "".join(f"{job['lost'][f'budget_{one}_sat'][f'at_{rate}_sat_vb']:16.2f}" for one in BUDGETS)
        lines.append(f"{f'at {rate} sat/vB':62}{lost}")
    return lines
