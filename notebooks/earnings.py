"""Counts what each worker earned, for ever: a service of one's own that follows the market.

    python earnings.py nats://127.0.0.1:4222 earnings.sqlite

It needs `pip install nats-py` and nothing of the market's code. An event's effect and its position are one transaction:
killed at whatever moment, it goes on behind the last event that it has counted.
"""

import asyncio
import json
import sqlite3
import sys

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

TABLES = """
    PRAGMA journal_mode = WAL; -- who reads the counts does not hold it up
    CREATE TABLE IF NOT EXISTS place (position INTEGER NOT NULL);
    INSERT INTO place SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM place);
    CREATE TABLE IF NOT EXISTS earned (worker TEXT PRIMARY KEY, payments INTEGER NOT NULL, msat INTEGER NOT NULL);
"""
PAY = """
    INSERT INTO earned VALUES (?, 1, ?)
    ON CONFLICT (worker) DO UPDATE SET payments = payments + 1, msat = msat + excluded.msat
"""


def count(book, position, event):
    """Count one event if it is the next one: both its effect and its position are kept, or neither."""
    with book:
        moved = book.execute("UPDATE place SET position = ? WHERE position = ?", (position, position - 1)).rowcount
        if moved and event["type"] == "EscrowReleased.v1":
            book.execute(PAY, (event["worker"], event["amount_msat"]))


async def follow(url, book):
    """Count every event behind the one that was counted last."""
    (position,) = book.execute("SELECT position FROM place").fetchone()
    client = await nats.connect(url)
    start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=position + 1)
    events = await client.jetstream().subscribe("pasar.events.>", stream="EVENTS", config=start, ordered_consumer=True)
    async for message in events.messages:
        count(book, message.metadata.sequence.stream, json.loads(message.data))


if __name__ == "__main__":
    url, path = sys.argv[1:]
    book = sqlite3.connect(path)
    book.executescript(TABLES)
    asyncio.run(follow(url, book))
