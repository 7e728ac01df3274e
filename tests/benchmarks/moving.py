"""Megabytes a second from the client's array to a worker and back to it: ``just bench moving``.

Beside the market: the same arrays through its peers, and what memory and a nats-server without storage could do.
"""

import asyncio
import os
import socket
import time
from statistics import median
from typing import Any, Final

import numpy as np

from services.bus import wire
from services.programs.export import export_program
from services.stack import nats_server
from tests.benchmarks import payload
from tests.benchmarks.desk import WORKERS, Desk, open_desk
from tests.benchmarks.peers import real_work

#: Bytes of an array, and rounds; the largest, with its name and shape, just fits into a blob.
SIZES: Final = {1_000_000: 5, 16_000_000: 3, 256_000_000: 2}
DIRECTIONS: Final = (payload.INPUT, payload.OUTPUT)
_CHUNK: Final = 128 << 10
_IN_FLIGHT: Final = 4 << 20
_MEGA: Final = 1e6


async def bench() -> dict[str, Any]:
    cases = [(direction, size, rounds) for direction in DIRECTIONS for size, rounds in SIZES.items()]
    async with open_desk() as desk:
        ours = [await _market(desk, *case) for case in cases]
    peers = await asyncio.to_thread(real_work, moves=cases)
    found = {}
    for number, (direction, size, _) in enumerate(cases):
        seconds = {"market": ours[number], **{peer: of_peer["moves"][number] for peer, of_peer in peers.items()}}
        rates = {f"{system}_mb_per_s": round(size / took / _MEGA, 1) for system, took in seconds.items()}
        over = {f"market_over_{peer}": round(seconds[peer] / seconds["market"], 3) for peer in peers}
        found[f"{direction}_{size / _MEGA:.0f}_mb"] = {**rates, **over}
    for size in SIZES:
        found[f"raw_{size / _MEGA:.0f}_mb"] = {
            "memcpy_mb_per_s": round(_memcpy(size)),
            "nats_mb_per_s": round(await _nats(size), 1),
        }
    return {"moving": found}


async def _market(desk: Desk, direction: str, size: int, rounds: int) -> float:
    """Median seconds; both workers have compiled the function before."""
    given = payload.argument(direction, size, 0)
    function = payload.function(direction, size)
    program = await asyncio.to_thread(export_program, function, given, None, ("cpu",))
    await desk.run(program, given, None, 2 * WORKERS * WORKERS if size < max(SIZES) else 1)
    took = []
    for number in range(1, rounds + 1):
        given = payload.argument(direction, size, number)
        began = time.perf_counter()
        (found,) = await desk.run(program, given, None, 1)
        took.append(time.perf_counter() - began)
        payload.check(direction, size, given, found)
    return median(took)


def _memcpy(size: int) -> float:
    source = np.ones(size, np.uint8)
    target = source.copy()
    began = time.perf_counter()
    np.copyto(target, source)
    return size / (time.perf_counter() - began) / _MEGA


async def _nats(size: int) -> float:
    """The bytes published in chunks, until a subscriber on another connection has them all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    argv = (nats_server.program(), "-a", "127.0.0.1", "-p", str(port))
    server = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.DEVNULL)
    try:
        while not await nats_server.greets(port):  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.02)
        url = f"nats://127.0.0.1:{port}"
        sender, receiver = [await wire.connect(url, party=None, inbox_prefix="_INBOX", name="bench") for _ in range(2)]
        got, more = 0, asyncio.Event()

        def count(messages: list[wire.Message]) -> None:
            nonlocal got
            got += sum(len(message.data) for message in messages)
            more.set()

        receiver.subscribe("bench", count)
        await receiver.flush()
        content, sent = os.urandom(size), 0
        began = time.perf_counter()
        while got < size:
            while sent < min(size, got + _IN_FLIGHT):
                sender.publish("bench", content[sent : sent + _CHUNK])
                sent = min(size, sent + _CHUNK)
            more.clear()
            await more.wait()
        took = time.perf_counter() - began
        sender.close()
        receiver.close()
        return size / took / _MEGA
    finally:
        server.terminate()
        await server.wait()


def table(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    return [
        f"{name:16}"
        + "".join(
            f"{what.replace('_', ' ').replace(' mb per s', ' MB/s'):>20} {value:9.2f}" for what, value in row.items()
        )
        for name, row in found["moving"].items()
    ]
