"""What tests of receipts share: a market in memory, and a job of it that is as eventful as a job can be."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from domain.events import JobCompleted
from services.ledger import codec, merkle
from services.ledger.root import SignedRoot, sign_root
from services.ports import Stored
from services.projections.event_index import keys
from services.receipt import form
from services.receipt.form import Receipt, ReceiptBroken
from services.receipt.make import make
from services.receipt.verify import verify
from tests.simulate import START, Simulation
from tests.unit.test_commands import ANNA

MARKET = ANNA


class MemorySource:
    """A log in memory as the maker of receipts reads it."""

    def __init__(self, records: Sequence[Stored]) -> None:
        self.records = list(records)
        self.tree = merkle.Tree(map(merkle.leaf, records))
        self.log = self
        self._by_key: dict[str, list[Stored]] = defaultdict(list)
        for stored in records:
            for key in keys(codec.decode_stored(stored)):
                self._by_key[key].append(stored)

    async def events(self, key: str, *, after: int = 0) -> list[Stored]:
        return [stored for stored in self._by_key[key] if stored.position > after][:1_000]

    async def stream(self, stream: bytes) -> list[Stored]:
        return [stored for stored in self.records if stored.stream == stream]

    async def stream_named(self, stream: bytes, name: str) -> list[Stored]:
        return [stored for stored in await self.stream(stream) if stored.name == name]

    async def within(self, spans: Sequence[tuple[int, int]]) -> list[Stored]:
        return [stored for after, upto in spans for stored in self.records[after:upto]]

    async def nodes(self, wanted: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        return {(level, place): self.tree._levels[level][place] for level, place in wanted}

    async def signed_root(self, covers: int = 0) -> SignedRoot:
        assert covers <= len(self.records)
        return sign_root(MARKET, len(self.records), self.tree.root(), START)


def a_market(seed: int = 11, *, steps: int = 900) -> Simulation:
    return Simulation(seed, operator=MARKET.key, on_chain=False).run(steps).play_out()


def eventful_job(records: Sequence[Stored]) -> str:
    """The completed job with most kinds of events, and of these the one with most events."""
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for stored in records:
        told[getattr(codec.decode_stored(stored), "job", "")][stored.name] += 1
    del told[""]
    return max(told, key=lambda job: (len(told[job]), told[job].total()))


def completed_jobs(records: Sequence[Stored]) -> list[str]:
    events = map(codec.decode_stored, records)
    return [event.job for event in events if isinstance(event, JobCompleted)]


async def receipt_of(records: Sequence[Stored], job: str) -> Receipt:
    source = MemorySource(records)
    return await make(source, MARKET.key, job, source.signed_root)


def broken(file: bytes | Receipt, **options: Any) -> str:
    """The check that a receipt does not pass."""
    with pytest.raises(ReceiptBroken) as refused:
        verify(file if isinstance(file, bytes) else form.encode(file), **options)
    assert refused.value.check in str(refused.value)
    return refused.value.check
