"""A receipt's checks one by one, as a page shows them."""

from services.receipt import form
from services.receipt.make import make
from services.viewing.checked import checked
from tests.receipts import MARKET, MemorySource, a_market, eventful_job


async def a_receipt() -> bytes:
    source = MemorySource(a_market().records)
    return form.encode(await make(source, MARKET.key, eventful_job(source.records), source.signed_root))


async def test_a_receipt_that_holds_passes_every_check_with_what_it_says() -> None:
    found = checked(await a_receipt(), market=MARKET.key)
    assert [one.name for one in found] == [
        *("form", "canonical", "key", "signature", "order", "inclusion"),
        *("events", "story", "money", "claims", "results"),
    ]
    assert all(one.passed and one.says for one in found)


async def test_a_receipt_of_another_event_fails_at_inclusion_and_is_checked_no_further() -> None:
    broken = await a_receipt()
    place = broken.rindex(b'"amount_msat":') + len(b'"amount_msat":')
    other = b"1" if broken[place : place + 1] != b"1" else b"2"
    found = {one.name: one for one in checked(broken[:place] + other + broken[place + 1 :], market=MARKET.key)}
    assert [one.name for one in found.values() if one.passed is False] == ["inclusion"]
    assert found["order"].passed
    assert found["money"].passed is None


async def test_a_receipt_of_another_market_fails_at_the_key() -> None:
    found = checked(await a_receipt(), market="U" + "A" * 55)
    assert [one.name for one in found if one.passed] == ["form", "canonical"]
    assert next(one for one in found if one.passed is False).name == "key"
