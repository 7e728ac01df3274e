"""How long it takes to pay 10,000 rewards at once, from a log of 50,000 events: step by step, and by a running market.

Ten clients bought the work and a thousand workers did it, so a payout has ten inputs and a thousand payees.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg

from domain.bitcoin import is_key
from domain.events import ChainJoined, PayoutBroadcast, PayoutConfirmed, PayoutPlanned
from services.config import Settings
from services.keys import party
from services.ledger.codec import NAMES
from services.ports import Stored
from services.stack.roles import market_services
from services.stack.supervisor import Stack
from tests.benchmarks import payday
from tests.benchmarks.settle import pss_mb
from tests.history import write_log
from tests.settling import Settling, settling

REWARDS, WORKERS, CLIENTS = 10_000, 1_000, 10
EVENTS_MIN: Final = 50_000
_CLIENT_SAT: Final = 400_000_000
_REWARD_MSAT: Final = 3_100_000
#: How long the running market waits before it pays, which lets it come to rest after its start.
_EVERY: Final = timedelta(seconds=10)
_REST_S, _WAIT_S, _POLL_S = 5, 120, 0.05
_AT: Final = "SELECT recorded_at FROM ledger.event WHERE pos > $1 AND name = $2"


async def bench(rounds: int) -> dict[str, Any]:
    """Medians of the seconds that it takes, and what the two processes that settle hold before and after."""
    epochs = [await _in_process() for _ in range(rounds)]
    totals = [sum(epoch.values()) for epoch in epochs]
    return {
        "epoch_of_10000_rewards_s": round(median(totals), 2),
        "epoch_rounds_s": [round(total, 2) for total in totals],
        "epoch_steps_s": {step: round(median(epoch[step] for epoch in epochs), 3) for step in epochs[0]},
        **await _in_a_market(),
    }


async def _earn(market: Settling) -> None:
    """Have the rewards earned, and nothing paid."""
    clients, workers = payday.parties("client", CLIENTS), payday.parties("worker", WORKERS)
    await payday.enrol(market, workers)
    await payday.fund(market, clients, _CLIENT_SAT)
    for client in clients:
        market.earned(workers, REWARDS // CLIENTS, _REWARD_MSAT, client)
    assert market.tree.size > EVENTS_MIN, f"the log has {market.tree.size} events"


async def _in_process() -> dict[str, float]:
    """Seconds of each step."""
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as home:
        async with settling(Path(home)) as market:
            await _earn(market)
            is_key.cache_clear()  # the arbiter's process would not have seen any
            with payday.steps() as spent:
                paid, _ = await payday.pay(market)
            assert sum(len(one.paid) for one in paid.allotted) == REWARDS, "all are paid"
            assert len(paid.planned.drawn) == CLIENTS, "every escrow is drawn from"
            return dict(spent)


async def _in_a_market() -> dict[str, Any]:
    """The same with every process of its own: the arbiter reads the log off the stream, the log is PostgreSQL's."""
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as folder:
        settings = Settings(home=Path(folder), payout_every=_EVERY)
        keys = {"operator": party(settings, "market").key, "co_signer": party(settings, "arbiter").key}
        async with settling(settings.home, **keys) as market:
            await _earn(market)
        async with Stack(settings) as stack:
            assert stack.settings.database_url is not None
            await write_log(stack.settings.database_url, market.records)
        async with Stack(settings, market_services()) as stack:
            database = await asyncpg.connect(stack.settings.database_url)
            try:
                return await _watch(stack, database, market.records)
            finally:
                await database.close()


async def _watch(stack: Stack, database: asyncpg.Connection, records: Sequence[Stored]) -> dict[str, Any]:
    async def at(kind: type) -> datetime:
        """When the first event of this kind is recorded."""
        async with asyncio.timeout(_WAIT_S):
            while (found := await database.fetchval(_AT, len(records), NAMES[kind])) is None:  # noqa: ASYNC110  a log
                await asyncio.sleep(_POLL_S)
        assert isinstance(found, datetime)
        return found

    def held(when: str) -> dict[str, float]:
        pids = {one.name: one.pid for one in stack.status().services if one.pid}
        return {f"{name}_{when}_payout_mb": round(pss_mb(pids[name])) for name in ("settlement", "arbiter")}

    await at(ChainJoined)
    await asyncio.sleep(_REST_S)
    before = held("before")
    planned, sent, confirmed = [await at(kind) for kind in (PayoutPlanned, PayoutBroadcast, PayoutConfirmed)]
    return {
        "epoch_market_s": round((confirmed - planned).total_seconds(), 2),
        "epoch_market_steps_s": {
            "plan_to_broadcast": round((sent - planned).total_seconds(), 2),
            "broadcast_to_confirmed": round((confirmed - sent).total_seconds(), 2),
        },
        **before,
        **held("after"),
    }
