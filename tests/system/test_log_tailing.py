"""The attack that stock recorders lose: mixed transactions from many writers, and a reader at the end of the log."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import uuid4

from eventsourcing.persistence import InfrastructureFactory, StoredEvent

from services.ledger.recorder import Factory, LogRecorder

SECONDS = 5.0


def write(recorder: LogRecorder, events_at_once: int, deadline: float) -> list[int]:
    """Write until the deadline; returns the positions given."""
    written: list[int] = []
    while time.monotonic() < deadline:
        events = [StoredEvent(uuid4(), 1, "Tested.v1", b"x" * 300) for _ in range(events_at_once)]
        written += recorder.insert_events(events)
    return written


def tail(recorder: LogRecorder, stop: Event) -> list[int]:
    """Read on from the last position seen, until there is nothing left after ``stop``."""
    seen: list[int] = []
    while True:
        last_round = stop.is_set()
        found = recorder.select_notifications(seen[-1] if seen else 0, 2_000, inclusive_of_start=False)
        seen += [notification.id for notification in found]
        if last_round and not found:
            return seen


def test_tailing_reader_misses_no_event_of_six_writers_in_two_processes_logs(database_url: str) -> None:
    env = {"PERSISTENCE_MODULE": "services.ledger.recorder", "PASAR_DATABASE_URL": database_url}
    factories = [InfrastructureFactory.construct(env) for _ in range(2)]
    recorders = [LogRecorder(factory.log) for factory in factories if isinstance(factory, Factory)]
    stop, deadline = Event(), time.monotonic() + SECONDS
    with ThreadPoolExecutor(7) as threads:
        reader = threads.submit(tail, recorders[0], stop)
        writers = [threads.submit(write, recorders[n // 3], 1 if n % 2 else 400, deadline) for n in range(6)]
        try:
            written = sorted(position for writer in writers for position in writer.result())
        finally:
            stop.set()
        seen = reader.result()
    for factory in factories:
        factory.close()
    assert len(written) > 1_000
    assert written == list(range(1, len(written) + 1))
    assert seen == written
