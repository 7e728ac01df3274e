"""A party's own side of its accounts: the term that is open is used, and only where this market can have it open."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from services.bus.chain import Tip
from services.config import Settings
from services.settlement.accounts import RENEW_BLOCKS, SAFETY_BLOCKS, TERM_BLOCKS, Accounts, receipt_of
from tests.onchain import point

TIP = Tip("regtest", 1_000, "00" * 32, 1, True, point("market"), point("arbiter"))
RENEWS = 1_000 + TERM_BLOCKS - SAFETY_BLOCKS - RENEW_BLOCKS


@pytest.mark.parametrize(
    ("tip", "is_new"),
    [
        (replace(TIP, height=RENEWS - 1), False),
        (replace(TIP, height=RENEWS), True),
        (replace(TIP, market_key=point("another")), True),
        (replace(TIP, arbiter_key=point("another")), True),
        (replace(TIP, height=10), True),
    ],
    ids=["in its term", "at its end", "another market", "another arbiter", "another chain"],
)
async def test_term_is_used_again_while_this_market_can_have_it_open(tmp_path: Path, tip: Tip, is_new: bool) -> None:
    accounts = Accounts(Settings(home=tmp_path), "alice")
    first, second = await accounts.escrow(TIP), await accounts.escrow(tip)
    assert (first != second) == is_new
    assert (first.release_key != second.release_key) == is_new
    newest = receipt_of(accounts.terms()[-1], "regtest", "E")
    assert (newest.market_key, newest.arbiter_key) == (tip.market_key, tip.arbiter_key)
