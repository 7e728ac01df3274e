"""A market on the embedded chain with as many payees as wanted, and how long each step of one of its payouts takes.

Rules, chain, wallets and signatures are those of a running market, in one process and without a broker. Clients and
payees have no wallet: a payout is signed by market and arbiter.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from domain.bitcoin import parse, txid, vsize
from domain.books import Payout
from domain.commands import Command
from domain.settlement import OpenEscrow, OpenStake, PlanPayout
from domain.worker import RegisterWorker
from services.settlement import cosigning
from services.settlement.agent import Agent
from services.settlement.arbiter import Ledger
from tests.payroll import point, script
from tests.settling import Settling
from tests.simulate import key

#: Blocks until the accounts' terms end.
_TERM = 400


def parties(kind: str, count: int) -> list[str]:
    """Keys of so many parties, always the same."""
    return [key(f"{kind} {number}") for number in range(count)]


async def enrol(market: Settling, workers: Iterable[str]) -> None:
    """Have workers registered who can be paid."""
    height = (await market.chain.tip()).height + _TERM
    for worker in workers:
        market.send(worker, RegisterWorker("cpu", 2, 4096, "0.10.2"))
        market.send(worker, OpenStake(point(worker), point(f"{worker} refund"), height, script(worker)))


async def fund(market: Settling, clients: Iterable[str], amount_sat: int) -> int:
    """Have so much in the escrow of each client, in one output; the virtual bytes of one deposit."""
    height, name = (await market.chain.tip()).height + _TERM, ""
    for client in clients:
        market.send(client, OpenEscrow(point(client), point(f"{client} refund"), height, script(client)))
        name = await market.pay("escrow", client, amount_sat)
        await market.treasury.mine(1)
    tip = await market.chain.tip()
    await market.settle()
    return vsize(await _mined(market, name, tip.height))


async def pay(market: Settling) -> tuple[Payout, bytes]:
    """Settle what is due; the payout, and its transaction as it was mined.

    Raises:
        AssertionError: There was not exactly one, or it is not confirmed.
    """
    before = len(market.world.books.payouts)
    await market.settle()
    epochs = list(market.world.books.payouts)[before:]
    assert len(epochs) == 1, f"{len(epochs)} payouts: {market.agent.waits_for}"
    found = market.world.books.payouts[epochs[0]]
    assert found.confirmed is not None, f"payout {epochs[0]} is {found.state}: {market.agent.waits_for}"
    return found, await _mined(market, found.sent, found.confirmed.height)


async def _mined(market: Settling, name: str, height: int) -> bytes:
    (block,) = await market.chain.blocks(height, 1)
    (raw,) = [raw for raw in block.transactions if txid(parse(raw)) == name]
    return raw


@contextmanager
def steps() -> Iterator[dict[str, float]]:
    """Seconds that each step of a payout takes; ``confirm_s`` has all that is none of the others."""
    watch = _Watch()
    with ExitStack() as held:
        for holder, name, step in (
            (Agent, "_look_what_is_due", "look_s"),
            (Settling, "send", _of_command),
            (Ledger, "read", "arbiter_read_s"),
            (Ledger, "_judge", "arbiter_plan_s"),
            (cosigning, "sign", "sign_s"),
            (cosigning, "combine", "combine_s"),
        ):
            held.enter_context(watch.on(holder, name, step))
        began = time.perf_counter()
        yield watch.spent
        took = time.perf_counter() - began
    watch.spent["confirm_s"] += took - sum(watch.spent.values())


def _of_command(market: Settling, actor: str, command: Command) -> str:
    return "plan_s" if isinstance(command, PlanPayout) else "confirm_s"


class _Watch:
    """Adds up what functions take, each without what it calls of the others; one of them runs at a time."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._within: list[float] = []

    def on(self, holder: Any, name: str, step: str | Callable[..., str]) -> Any:
        inner: Callable[..., Any] = getattr(holder, name)

        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            self._within.append(0.0)
            try:
                return inner(*arguments)
            finally:
                took = time.perf_counter() - began
                self.spent[step if isinstance(step, str) else step(*arguments)] += took - self._within.pop()
                if self._within:
                    self._within[-1] += took

        return patch.object(holder, name, timed)
