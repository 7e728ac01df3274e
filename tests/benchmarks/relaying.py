"""How many events a second the relay carries from the log to JetStream, and the raw limit beside it.

python -m tests.benchmarks.relaying [TASKS]
"""

import asyncio
import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from services import bootstrap
from services.bus.events import BATCH_MAX
from services.bus.relay import Relay
from services.config import Settings
from services.ledger.reader import LogReader
from services.ports import SystemClock
from services.stack.supervisor import Stack
from tests.benchmarks.history import plain_history
from tests.history import write_log

POLL_S = 0.002


async def bench(tasks: int) -> dict[str, float]:
    """Relay the history of so many settled tasks, then send as many empty batches past it."""
    records = plain_history(tasks)
    with tempfile.TemporaryDirectory(prefix="pasar-bench-") as home:
        async with Stack(Settings(home=Path(home)), ()) as stack:
            assert stack.settings.database_url is not None
            await write_log(stack.settings.database_url, records)
            reader = await LogReader.open(stack.settings.database_url)
            connect = bootstrap.wires(stack.settings, "relay", "bench")
            relay = Relay(reader, connect, SystemClock())
            began = time.perf_counter()
            running = asyncio.ensure_future(relay.run())
            while relay.position < len(records):  # noqa: ASYNC110  the relay tells nobody
                await asyncio.sleep(POLL_S)
            relayed = len(records) / (time.perf_counter() - began)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await reader.close()
            wire = await connect()
            raw = await _raw(wire, len(records))
            wire.close()
    return {"relay_events_per_s": relayed, "raw_atomic_batch_messages_per_s": raw}


async def _raw(wire: "bootstrap.wire.Wire", messages: int) -> float:
    """Messages of 300 bytes without any header but the batch's, in batches of 1,000."""
    body, sent = b"x" * 300, 0
    began = time.perf_counter()
    while sent < messages:
        token, answer = wire.ask("")
        for number in range(1, BATCH_MAX + 1):
            commit = "Nats-Batch-Commit: 1\r\n" if number == BATCH_MAX else ""
            headers = f"NATS/1.0\r\nNats-Batch-Id: {sent}\r\nNats-Batch-Sequence: {number}\r\n{commit}\r\n"
            reply = token if commit else ""
            wire.publish("pasar.events.market.raw.Raw", body, reply=reply, headers=headers.encode())
        assert b'"error"' not in await answer
        sent += BATCH_MAX
    return sent / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(bench(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))))
