"""A receipt holds as it was made, and no byte of it can be changed."""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from domain.blobs import blob_ref
from domain.events import FeeSet, JobCancelled, JobReused, ResultCommitted
from domain.ids import Kind, stream_of
from services.ledger import codec
from services.ledger.root import sign_root
from services.ports import Stored
from services.receipt import form
from services.receipt.form import Content, NoReceiptYet, Receipt
from services.receipt.make import collect
from services.receipt.verify import contents_of, verify
from tests.receipts import MARKET, MemorySource, a_market, broken, completed_jobs, eventful_job, receipt_of
from tests.simulate import START, key
from tests.unit.test_commands import MALLORY

GAME = a_market()
RECORDS = GAME.records
JOB = eventful_job(RECORDS)


@pytest.fixture
async def receipt() -> Receipt:
    return await receipt_of(RECORDS, JOB)


async def test_receipt_of_every_job_holds() -> None:
    source = MemorySource(RECORDS)
    for job in completed_jobs(RECORDS):
        receipt = await receipt_of(source.records, job)
        verified = verify(form.encode(receipt), market=MARKET.key)
        assert (verified.job, verified.market, verified.size) == (job, MARKET.key, len(RECORDS))
        owner = GAME.world.jobs[job]
        assert verified.claims.verified == owner.verified
        assert verified.claims.client == owner.terms.client


async def test_receipt_tells_all_that_the_log_knows_of_its_job(receipt: Receipt) -> None:
    known = {stored.position for stored in RECORDS if f'"job":"{JOB}"'.encode() in stored.data}
    told = {event.position for event in receipt.events}
    names = {event.name for event in receipt.events}
    assert known <= told
    assert {"RoleGranted.v1", "ProgramAdmitted.v1", "EscrowFunded.v1", "DisputeRuled.v1", "ResultRejected.v1"} <= names
    claims = verify(form.encode(receipt)).claims
    assert claims.reserved_msat == claims.paid_msat + claims.charged_msat + claims.freed_msat
    assert {settled.task for settled in claims.results} <= set(range(claims.tasks))
    for event in receipt.events:
        assert event.stored == RECORDS[event.position - 1]


async def test_receipt_of_a_job_that_was_given_earlier_results_tells_how_those_were_verified() -> None:
    events = [codec.decode_stored(stored) for stored in RECORDS]
    reused = next(event for event in events if isinstance(event, JobReused))
    given = await receipt_of(RECORDS, reused.job)
    claims = verify(form.encode(given)).claims
    assert claims.original == reused.original
    original = await receipt_of(RECORDS, reused.original)
    assert claims.results == original.claims.results
    assert {event.position for event in original.events} <= {event.position for event in given.events}
    assert (claims.paid_msat, claims.charged_msat) == (0, claims.reserved_msat)


async def test_no_byte_of_a_receipt_can_be_changed(receipt: Receipt) -> None:
    file = form.encode(receipt)
    chance = random.Random(1)
    checks = set()
    for _ in range(1_000):
        at = chance.randrange(len(file))
        other = chance.choice([byte for byte in range(256) if byte != file[at]])
        checks.add(broken(file[:at] + bytes([other]) + file[at + 1 :]))
    assert checks <= {"form", "canonical", "signature", "order", "inclusion", "events", "story", "money", "claims"}
    assert {"form", "order", "inclusion"} <= checks


async def test_every_byte_of_a_small_receipt_counts() -> None:
    small = min([await receipt_of(RECORDS, job) for job in completed_jobs(RECORDS)], key=lambda one: len(one.events))
    file = form.encode(small)
    for at in range(len(file)):
        broken(file[:at] + bytes([file[at] ^ (1 << at % 8)]) + file[at + 1 :])
        broken(file[:at] + file[at + 1 :])


@pytest.mark.parametrize("file", [b"", b"\n", b"{}", b"null", b"\xff", b'{"format":"pasar receipt"}', b"[" * 100_000])
def test_what_is_no_receipt_is_said_to_be_none(file: bytes) -> None:
    assert broken(file) == "form"


async def test_receipt_is_written_in_one_way_only(receipt: Receipt) -> None:
    file = form.encode(receipt)
    for other in (file[:-1], file + b"\n", b" " + file, msgspec.json.format(file), file.replace(b'Z"', b'+00:00"', 1)):
        assert broken(other) == "canonical"
    earlier = receipt.events[0]
    moved = earlier.recorded_at.astimezone(timezone(timedelta(hours=1)))
    assert broken(replace(receipt, events=(replace(earlier, recorded_at=moved), *receipt.events[1:]))) == "canonical"


async def test_receipt_of_another_market_is_told_by_the_key_that_is_asked_for(receipt: Receipt) -> None:
    assert broken(form.encode(receipt), market=MALLORY.key) == "key"
    root = sign_root(MALLORY, receipt.root.size, bytes.fromhex(receipt.root.root), START)
    assert broken(replace(receipt, root=root)) == "signature"
    assert broken(replace(receipt, market=MALLORY.key)) == "signature"
    # whoever signs a history of the market under another key is caught by who granted the roles
    assert broken(replace(receipt, market=MALLORY.key, root=root)) == "events"


async def forged(change: Callable[[list[Stored]], Sequence[Stored]]) -> Receipt:
    """A receipt that the market itself signed, over a history that it forged."""
    records = list(change(list(RECORDS)))
    return await receipt_of(records, JOB)


def at(name: str, number: int = 0) -> int:
    """Index in the log of an event of the job."""
    found = [i for i, stored in enumerate(RECORDS) if stored.name == f"{name}.v1" and JOB.encode() in stored.data]
    return found[number]


def opened(number: int = 0) -> int:
    """Index of a commitment that a submission opens."""
    shown = codec.decode_stored(RECORDS[at("ResultSubmitted", number)])
    place = ("task", "replica", "worker")
    for index in range(at("ResultSubmitted", number), 0, -1):
        event = codec.decode_stored(RECORDS[index])
        if isinstance(event, ResultCommitted) and [getattr(event, f) for f in place] == [
            getattr(shown, f) for f in place
        ]:
            return index
    raise AssertionError("it opens nothing")


def with_fields(index: int, **fields: Any) -> Callable[[list[Stored]], list[Stored]]:
    def change(records: list[Stored]) -> list[Stored]:
        event = replace(codec.decode_stored(records[index]), **fields)
        records[index] = records[index]._replace(data=codec.encode(event))
        return records

    return change


def by(index: int, actor: str) -> Callable[[list[Stored]], list[Stored]]:
    def change(records: list[Stored]) -> list[Stored]:
        meta = codec.encode_meta(replace(codec.decode_meta(records[index].meta), actor=actor))
        records[index] = records[index]._replace(meta=meta)
        return records

    return change


def without(index: int) -> Callable[[list[Stored]], list[Stored]]:
    """As if it had never been: positions and versions are closed up."""

    def change(records: list[Stored]) -> list[Stored]:
        gone = records.pop(index)
        for place in range(index, len(records)):
            one = records[place]
            version = one.version - (one.stream == gone.stream)
            records[place] = one._replace(position=one.position - 1, version=version)
        return records

    return change


def swapped(index: int, other: int) -> Callable[[list[Stored]], list[Stored]]:
    def change(records: list[Stored]) -> list[Stored]:
        one, two = records[index], records[other]
        records[index] = two._replace(position=one.position)
        records[other] = one._replace(position=two.position)
        return records

    return change


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (with_fields(at("ResultSubmitted"), nonce="0" * 32), "story"),
        (with_fields(at("ResultSubmitted"), result=blob_ref(b"other", "0" * 32)), "story"),
        (with_fields(opened(), commitment="0" * 64), "story"),
        (with_fields(at("ResultVerified"), worker=key("somebody")), "story"),
        (with_fields(at("EscrowReleased"), amount_msat=1), "story"),
        (with_fields(at("EscrowReserved"), amount_msat=1), "story"),
        (with_fields(at("JobPosted"), tasks=99), "story"),
        (with_fields(at("JobCompleted"), verified=0, failed=0), "story"),
        (with_fields(at("DisputeRuled"), referee=key("somebody")), "story"),
        (with_fields(at("TaskAssigned"), task=5_000), "events"),
        (by(at("JobPosted"), key("somebody")), "story"),
        (by(at("ResultSubmitted"), key("somebody")), "story"),
        (by(0, key("somebody")), "story"),
        (without(opened()), "story"),
        (without(at("ResultSubmitted")), "story"),
        (without(at("EscrowReleased")), "story"),
        (without(at("EscrowReserved")), "story"),
        (without(at("TaskAssigned")), "story"),
        (without(at("DisputeRuled")), "story"),
        (swapped(opened(), at("ResultSubmitted")), "order"),
    ],
)
async def test_market_that_signs_a_forged_history_is_caught(change: Any, check: str) -> None:
    assert broken(await forged(change)) == check


async def test_receipt_that_leaves_an_event_out_is_caught(receipt: Receipt) -> None:
    """Every event that it holds is proven; what is missing shows in its streams, its story or its sums."""
    source = MemorySource(RECORDS)
    for left_out in (event for event in receipt.events if event.name != "EscrowFunded.v1"):
        kept = [event for event in receipt.events if event is not left_out]
        positions = [event.position - 1 for event in kept]
        nodes = tuple(source.tree.cover(positions, receipt.root.size))
        changed = replace(receipt, events=tuple(kept), nodes=nodes)
        assert broken(changed) in ("order", "story", "money"), left_out.name


@pytest.mark.parametrize("kind", [Kind.job, Kind.task, Kind.stake, Kind.escrow, Kind.program, Kind.settlement])
@pytest.mark.parametrize("stray", [FeeSet(1), JobCancelled("z" * 24)])
async def test_event_in_a_stream_of_no_sense_is_caught(receipt: Receipt, kind: Kind, stray: FeeSet) -> None:
    """The market signs it, so nothing but the event itself is wrong."""
    last = RECORDS[-1]
    place = {"position": last.position + 1, "stream": stream_of(kind, "0" * 24), "version": 1}
    added = last._replace(**place, name=codec.NAMES[type(stray)], data=codec.encode(stray))
    source = MemorySource([*RECORDS, added])
    events = (*receipt.events, form.logged(added))
    nodes = tuple(source.tree.cover([event.position - 1 for event in events], added.position))
    changed = replace(receipt, events=events, nodes=nodes, root=await source.signed_root())
    assert broken(changed) == "events"


async def test_claims_are_what_the_events_say(receipt: Receipt) -> None:
    for field in receipt.claims.__struct_fields__:
        value = getattr(receipt.claims, field)
        other: Any = value[1:] if isinstance(value, tuple | str) else None if value else "x"
        if isinstance(value, int):
            other = value + 1
        elif field.endswith("_at"):
            other = value + (START - START.replace(year=2029))
        if other is None or other == value:
            continue
        changed = replace(receipt, claims=replace(receipt.claims, **{field: other}))
        assert broken(changed) in ("claims", "form"), field


async def test_result_file_is_recognised(receipt: Receipt) -> None:
    task = receipt.claims.results[0].task
    content = f"{JOB} {task}".encode()
    file = form.encode(receipt)
    assert verify(file, results=[content]).given == ((task,),)
    assert broken(file, results=[content, content + b"!"]) == "results"


async def test_results_can_be_kept_in_the_receipt(receipt: Receipt) -> None:
    kept = {one.result.address: f"{JOB} {one.task}".encode() for one in receipt.claims.results}
    contents = [Content(address, kept[address]) for address in sorted(kept)]
    full = replace(receipt, contents=tuple(contents))
    assert verify(form.encode(full)).contents == len(contents)
    assert dict(contents_of(full)) == {one.task: kept[one.result.address] for one in receipt.claims.results}
    first = contents[0]
    for wrong in (
        [replace(first, stored=first.stored + b"!")],
        [first, first],
        [Content("sha256:" + "0" * 64, b"x")],
    ):
        assert broken(replace(receipt, contents=tuple(wrong))) == "results"


async def test_job_that_is_not_over_has_no_receipt() -> None:
    until = at("JobCompleted")
    with pytest.raises(NoReceiptYet, match="when `pasar job show"):
        await receipt_of(RECORDS[:until], JOB)
    assert await collect(MemorySource(RECORDS), MARKET.key, "0" * 24) == ([], [])


def test_verifier_needs_no_database_no_broker_and_no_accelerator() -> None:
    told = "import sys, services.receipt.verify; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run((sys.executable, "-c", told), capture_output=True, text=True, check=True).stdout
    assert "'nacl'" in loaded
    for driver in ("asyncpg", "nats", "jax", "eventsourcing", "bitcoinlib", "pbk", "Crypto", "sqlalchemy"):
        assert f"'{driver}'" not in loaded
