"""An audit passes what the market did, and names the first event that it cannot have done."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit import Verdict, audit
from services.ledger import codec
from services.ledger.root import SignedRoot
from services.ports import Stored
from tests.history import MemoryLog, tree_of
from tests.simulate import CLOCK, OPERATOR, REFEREE, START, Simulation, key

Records = list[Stored]


@pytest.fixture(scope="module")
def records() -> Records:
    return Simulation(8).run(900).play_out().records


def first(records: Sequence[Stored], name: str, *, after: int = 0) -> int:
    """Position of the first event of that name behind ``after``."""
    return next(record.position for record in records[after:] if record.name == f"{name}.v1")


def forged(records: Records, position: int, *, actor: str | None = None, **fields: object) -> Records:
    """The history with other fields, or another actor, in one event."""
    old = records[position - 1]
    event = msgspec.structs.replace(codec.decode(old.name, old.data), **fields)
    meta = old.meta
    if actor is not None:
        meta = codec.encode_meta(msgspec.structs.replace(codec.decode_meta(old.meta), actor=actor))
    new = old._replace(data=codec.encode(event), meta=meta)
    return [*records[: position - 1], new, *records[position:]]


def without(records: Records, position: int) -> Records:
    """The history as if that event had never been: positions and versions are closed up, as a clever forger would."""
    gone = records[position - 1]
    left = []
    for record in records:
        if record.position == position:
            continue
        later = record.position > position
        version = record.version - (later and record.stream == gone.stream)
        left.append(record._replace(position=record.position - later, version=version))
    return left


def twice(records: Records, position: int) -> Records:
    """The history with one event again right behind itself."""
    again = records[position - 1]
    left = records[:position]
    for record in (again, *records[position:]):
        moved = record.version + (record.stream == again.stream)
        left.append(record._replace(position=record.position + 1, version=moved))
    left[position] = left[position]._replace(position=position + 1)
    return left


async def verdict_on(records: Records) -> Verdict:
    return await audit(MemoryLog(records))


async def broken(records: Records) -> dict[str, int]:
    """The invariants that do not hold, with the event that is named."""
    verdict = await verdict_on(records)
    assert verdict.ok == all(found.ok for found in verdict.invariants)
    return {f.name: f.first_violation.position for f in verdict.invariants if f.first_violation is not None}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(0, 300))
async def test_audit_passes_whatever_the_market_did(seed: int, steps: int) -> None:
    played = Simulation(seed).run(steps).records
    verdict = await audit(MemoryLog(played), roots={len(played): tree_of(played).root})
    assert verdict.ok, verdict
    assert verdict.checked == len(played)


async def test_audit_of_a_part_passes_at_any_event(records: Records) -> None:
    names = {record.position: record.name for record in records}
    within = [first(records, name) for name in ("JobCompleted", "PayoutPlanned", "PayoutConfirmed")]
    assert all(names[upto + 1] in ("FeeCharged.v1", "PayoutAllotted.v1", "LogAnchored.v1") for upto in within)
    for upto in (*within, *range(0, len(records), 97)):
        assert (await audit(MemoryLog(records), upto=upto)).ok


async def test_audit_finds_money_released_beyond_the_price(records: Records) -> None:
    position = first(records, "EscrowReleased")
    assert (await broken(forged(records, position, amount_msat=10**6)))["money"] == position


async def test_audit_finds_money_reserved_that_was_never_funded(records: Records) -> None:
    funded = first(records, "EscrowFunded")
    found = await broken(forged(records, funded, amount_msat=1))
    assert "money" in found
    assert found["money"] > funded


async def test_audit_finds_money_freed_twice(records: Records) -> None:
    position = first(records, "EscrowFreed")
    assert (await broken(twice(records, position)))["money"] == position + 1


async def test_audit_finds_a_payment_without_a_verdict(records: Records) -> None:
    position = first(records, "ResultVerified")
    paid = first(records, "EscrowReleased", after=position) - 1
    assert (await broken(without(records, position)))["paid_for_verified"] == paid


async def test_audit_finds_a_worker_paid_twice_for_a_task(records: Records) -> None:
    position = first(records, "EscrowReleased")
    assert (await broken(twice(records, position)))["paid_for_verified"] == position + 1


async def test_audit_finds_a_verified_result_that_was_not_paid(records: Records) -> None:
    position = first(records, "EscrowReleased")
    found = await broken(without(records, position))
    assert records[found["paid_for_verified"]].name == "JobCompleted.v1"


async def test_audit_finds_a_result_that_opens_another_commitment(records: Records) -> None:
    position = first(records, "ResultSubmitted")
    assert (await broken(forged(records, position, equality="f" * 64)))["bound_before_shown"] == position


async def test_audit_finds_a_verdict_on_a_result_never_submitted(records: Records) -> None:
    position = first(records, "ResultSubmitted")
    verified = first(records, "ResultVerified", after=position) - 1
    assert (await broken(without(records, position)))["bound_before_shown"] <= verified


async def test_audit_finds_a_slash_without_a_ruling(records: Records) -> None:
    rejected = first(records, "ResultRejected")
    ruled = max(r.position for r in records[:rejected] if r.name == "DisputeRuled.v1")
    found = await broken(forged(records, ruled, rejected=(), upheld=()))
    assert found["slashed_by_ruling"] in range(ruled, rejected + 1)


async def test_audit_finds_a_slash_beyond_the_stake(records: Records) -> None:
    position = first(records, "StakeSlashed")
    assert (await broken(forged(records, position, amount_msat=41)))["slashed_by_ruling"] == position


async def test_audit_finds_a_ruling_by_somebody_who_is_no_referee(records: Records) -> None:
    position = first(records, "DisputeRuled")
    found = await broken(forged(records, position, referee=key("a stranger"), actor=key("a stranger")))
    assert found["slashed_by_ruling"] == position
    assert found["actors"] == position


async def test_audit_finds_a_worker_that_rules_on_its_own_task(records: Records) -> None:
    position = first(records, "DisputeRuled")
    ruling = codec.decode_stored(records[position - 1])
    judge = (*ruling.upheld, *ruling.rejected)[0]  # type: ignore[union-attr]
    assert (await broken(forged(records, position, referee=judge)))["one_holder"] == position


async def test_audit_finds_a_replica_given_to_two_workers(records: Records) -> None:
    position = first(records, "TaskAssigned")
    assert (await broken(twice(records, position)))["one_holder"] == position + 1


async def test_audit_finds_an_answer_by_somebody_else(records: Records) -> None:
    position = first(records, "ResultCommitted")
    found = await broken(forged(records, position, worker=key("a stranger")))
    assert found["one_holder"] == position
    assert found["actors"] == position


async def test_audit_finds_an_expiry_that_the_clock_did_not_say(records: Records) -> None:
    position = first(records, "AssignmentExpired")
    assert codec.decode_meta(records[position - 1].meta).actor == CLOCK
    found = await broken(forged(records, position, actor=REFEREE))
    bound = first(records, "PayoutPlanned", after=position)  # whose anchor is over the log as it was
    assert found == {"actors": position, "anchored": bound}


async def test_audit_finds_a_missing_position(records: Records) -> None:
    assert (await broken([*records[:99], *records[100:]]))["log"] == 100


async def test_audit_finds_a_version_that_was_skipped(records: Records) -> None:
    bent = records[199]._replace(version=records[199].version + 1)
    assert (await broken([*records[:199], bent, *records[200:]]))["log"] == 200


async def test_audit_finds_an_event_on_another_stream(records: Records) -> None:
    bent = records[199]._replace(stream=bytes(16), version=1)
    assert (await broken([*records[:199], bent, *records[200:]]))["log"] == 200


async def test_audit_finds_an_event_that_does_not_decode(records: Records) -> None:
    bent = records[199]._replace(data=b"{}")
    assert (await broken([*records[:199], bent, *records[200:]]))["log"] == 200


async def test_audit_finds_a_root_that_the_log_does_not_extend(records: Records) -> None:
    roots = {size: tree_of(records[:size]).root for size in (1, 64, 500, len(records))}
    assert (await audit(MemoryLog(records), roots=roots)).ok
    bent = records[199]._replace(recorded_at=records[199].recorded_at + timedelta(microseconds=1))
    verdict = await audit(MemoryLog([*records[:199], bent, *records[200:]]), roots=roots)
    found = {one.name: one.first_violation for one in verdict.invariants if not one.ok}
    assert set(found) == {"merkle", "anchored"}
    assert found["merkle"] is not None
    assert found["merkle"].position == 500


async def test_audit_holds_the_log_against_roots_that_the_market_signed(records: Records) -> None:
    def signed(size: int, market: str = OPERATOR, *, of: Records = records) -> SignedRoot:
        root = tree_of(of[:size]).root.hex()
        return SignedRoot(market=market, size=size, root=root, at=START, signature="0" * 128)

    async def wrong(*roots: SignedRoot, upto: int | None = None) -> str | None:
        verdict = await audit(MemoryLog(records), signed=roots, upto=upto)
        (merkle,) = [found for found in verdict.invariants if found.name == "merkle"]
        return merkle.first_violation.what if merkle.first_violation else None

    end = len(records)
    other = forged(records, 20, actor=key("somebody"))
    assert await wrong(signed(0), signed(5), signed(500), signed(end)) is None
    assert await wrong(signed(500), signed(500, of=other)) == (
        "the published root over 500 events is not that of the log"
    )
    assert (
        await wrong(signed(20, key("somebody")))
        == f"the root is signed by {key('somebody')}, which does not keep this log"
    )
    longer = msgspec.structs.replace(signed(end), size=end + 1)
    assert await wrong(longer) == f"the market signed a root over {end + 1} events and the log has {end}"
    assert await wrong(longer, upto=end) is None
