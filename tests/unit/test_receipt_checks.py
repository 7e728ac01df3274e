"""A receipt's checks one by one, as pages show them."""

import pytest

from services.receipt import form
from services.receipt.checks import Check, check
from services.receipt.make import make
from tests.receipts import MARKET, MemorySource, a_market, eventful_job


async def a_receipt() -> bytes:
    source = MemorySource(a_market().records)
    return form.encode(await make(source, MARKET.key, eventful_job(source.records), source.signed_root))


def by(passed: bool | None, checks: list[Check]) -> list[str]:
    return [one.name for one in checks if one.passed is passed]


@pytest.mark.parametrize("market", [MARKET.key, None])
async def test_a_receipt_that_holds_passes_every_check_that_is_made(market: str | None) -> None:
    verified, checks = check(await a_receipt(), market=market)
    assert verified is not None
    assert verified.market == MARKET.key
    assert by(True, checks) == [
        *("form", "canonical", *(["key"] if market else []), "signature", "order", "inclusion"),
        *("events", "story", "money", "claims", "results"),
    ]
    assert len(checks) == len(by(True, checks))


async def test_a_receipt_of_another_event_fails_at_inclusion_and_is_checked_no_further() -> None:
    receipt = await a_receipt()
    place = receipt.rindex(b'"amount_msat":') + len(b'"amount_msat":')
    other = b"1" if receipt[place : place + 1] != b"1" else b"2"
    verified, checks = check(receipt[:place] + other + receipt[place + 1 :], market=MARKET.key)
    assert verified is None
    assert by(False, checks) == ["inclusion"]
    assert by(True, checks)[-1] == "order"
    assert by(None, checks) == ["events", "story", "money", "payment", "anchor", "block", "claims", "results"]
    (broken,) = (one.what for one in checks if one.what)
    assert broken == "its events are not those of the log that the market signed"


async def test_a_receipt_of_another_market_fails_at_the_key() -> None:
    _, checks = check(await a_receipt(), market="U" + "A" * 55)
    assert by(True, checks) == ["form", "canonical"]
    assert by(False, checks) == ["key"]
