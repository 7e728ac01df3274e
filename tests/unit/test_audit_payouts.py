"""The audit of what the log says of the chain: every lie about a payout is found, and named by its event."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from domain.events import Paid
from services import audit
from services.ledger import codec
from services.ports import Stored
from tests.history import MemoryLog
from tests.payouts import Payday, told

Records = Sequence[Stored]


@pytest.fixture(scope="module")
def records() -> Records:
    """A history with payouts of every fate."""
    return told().records


def last(records: Records, name: str) -> int:
    """Position of the last event of this name."""
    return next(one.position for one in reversed(records) if one.name == name)


def forged(records: Records, position: int, **fields: Any) -> Records:
    """The history with other fields in one event; the roots that later payouts bind are left as they are."""
    found = records[position - 1]
    data = msgspec.json.decode(found.data) | {name: msgspec.to_builtins(value) for name, value in fields.items()}
    changed = list(records)
    changed[position - 1] = found._replace(data=msgspec.json.encode(data))
    return changed


def event(records: Records, position: int) -> Any:
    return codec.decode_stored(records[position - 1])


async def broken(records: Records) -> dict[str, int]:
    """Where each invariant is broken first."""
    verdict = await audit.audit(MemoryLog(records))
    return {one.name: one.first_violation.position for one in verdict.invariants if one.first_violation is not None}


async def test_audit_passes_a_history_with_payouts_of_every_fate(records: Records) -> None:
    names = {one.name for one in records}
    assert {"PayoutConfirmed.v1", "PayoutReorged.v1", "PayoutAbandoned.v1", "CoinTaken.v1"} <= names
    assert await broken(records) == {}


@pytest.mark.parametrize("seed", range(4))
async def test_audit_passes_whatever_happens_to_payouts(seed: int) -> None:
    assert await broken(Payday(seed).run(150).records) == {}


async def test_audit_finds_a_reward_for_work_that_was_not_done(records: Records) -> None:
    at = next(one.position for one in records if one.name == "PayoutAllotted.v1" and event(records, one.position).paid)
    allotted = event(records, at)
    more = (Paid("ab" * 12, allotted.paid[0].amount_msat), *allotted.paid[1:])
    assert (await broken(forged(records, at, paid=more)))["payouts"] == at


async def test_audit_finds_a_reward_that_is_more_than_its_work(records: Records) -> None:
    at = next(one.position for one in records if one.name == "PayoutAllotted.v1" and event(records, one.position).paid)
    amount_sat = event(records, at).amount_sat + 1
    assert (await broken(forged(records, at, amount_sat=amount_sat)))["payouts"] == at


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("PayoutBroadcast.v1", {"txid": "ab" * 32}),
        ("PayoutConfirmed.v1", {"txid": "ab" * 32}),
        ("PayoutConfirmed.v1", {"fee_sat": 1}),
        ("PayoutConfirmed.v1", {"index": 0}),
        ("PayoutConfirmed.v1", {"branch": ["ab" * 32]}),
        ("PayoutConfirmed.v1", {"header": "ab" * 80}),
        ("PayoutConfirmed.v1", {"block": "ab" * 32}),
        ("PayoutPlanned.v1", {"previous": "ab" * 32}),
        ("LogAnchored.v1", {"root": "ab" * 32}),
        ("EscrowFunded.v1", {"term": 7}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_audit_finds_what_is_not_as_the_chain_has_it(records: Records, name: str, fields: dict[str, Any]) -> None:
    at = last(records, name)
    assert (await broken(forged(records, at, **fields)))["payouts"] == at


@pytest.mark.parametrize("field", ["anchor", "receipts"])
async def test_audit_finds_a_payout_that_binds_something_else(records: Records, field: str) -> None:
    at = last(records, "PayoutPlanned.v1")
    assert (await broken(forged(records, at, **{field: "ab" * 32})))["payouts"] > at


async def test_audit_finds_a_payout_that_binds_another_log(records: Records) -> None:
    at = last(records, "PayoutPlanned.v1")
    assert (await broken(forged(records, at, root="ab" * 32)))["merkle"] == at


async def test_audit_finds_an_output_that_is_spent_twice(records: Records) -> None:
    plans = [one.position for one in records if one.name == "PayoutPlanned.v1"]
    first, second = event(records, plans[0]), plans[1]
    assert (await broken(forged(records, second, drawn=first.drawn)))["payouts"] == second


async def test_audit_finds_a_deposit_that_is_counted_twice(records: Records) -> None:
    deposits = [one.position for one in records if one.name == "EscrowFunded.v1"]
    again, first = deposits[1], event(records, deposits[0])
    assert (await broken(forged(records, again, reference=first.reference, vout=first.vout)))["payouts"] == again


async def test_audit_finds_a_payout_that_settlement_did_not_plan(records: Records) -> None:
    at = last(records, "PayoutPlanned.v1")
    meta = codec.decode_meta(records[at - 1].meta)
    other = codec.encode_meta(msgspec.structs.replace(meta, actor="U" + "A" * 55))
    changed = [one._replace(meta=other) if one.position == at else one for one in records]
    assert (await broken(changed))["actors"] == at
