"""Receipts that were made before they knew of payouts hold for ever."""

import random
from pathlib import Path

import msgspec
import pytest

from services.receipt import form
from services.receipt.verify import verify
from tests.receipts import MARKET, broken

OLD = Path(__file__).parents[1] / "golden" / "receipts"


@pytest.mark.parametrize("name", ["disputed", "reused"])
def test_receipt_of_the_first_version_still_holds(name: str) -> None:
    """Made by the code from before the chain, and never again."""
    file = (OLD / f"{name}.v1.json").read_bytes()
    verified = verify(file, market=MARKET.key)
    assert (verified.bytes, bool(verified.claims.original)) == (len(file), name == "reused")
    claims = verified.claims
    assert claims.reserved_msat == claims.paid_msat + claims.charged_msat + claims.freed_msat
    assert (claims.network, claims.settled_msat, claims.payouts) == (None, 0, ())
    assert form.decode(file).payments == ()


@pytest.mark.parametrize("name", ["disputed", "reused"])
def test_no_byte_of_a_receipt_of_the_first_version_can_be_changed(name: str) -> None:
    file = (OLD / f"{name}.v1.json").read_bytes()
    chance = random.Random(7)
    for at in (*range(200), *chance.sample(range(len(file)), 300)):
        broken(file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :])
    for other in (file[:-1], b" " + file, msgspec.json.format(file)):
        assert broken(other) == "canonical"


def test_receipt_says_of_what_version_it_is() -> None:
    file = (OLD / "disputed.v1.json").read_bytes()
    for version in (b"2", b"3"):
        assert broken(file.replace(b'"version":1', b'"version":' + version, 1)) == "form"
    assert broken(file.replace(b'"contents":[]', b'"contents":[],"payments":[]', 1)) == "form"
