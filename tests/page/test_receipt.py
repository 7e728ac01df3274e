"""A receipt on a page: what it proves, and which payouts paid for the job."""

from services.receipt import form
from tests.page.recorded import demo, look, text
from tests.payroll import played
from tests.receipts import MARKET, receipt_of


async def shown(job: str) -> str:
    file = form.encode(await receipt_of(played(MARKET.key).records, job))
    at = look(demo(), "audit")
    at.file_uploader(key="receipt_file").set_value(("job.json", file, "application/json")).run()
    assert not at.exception
    return text(at)


async def test_payouts_are_shown_with_transaction_block_and_workers() -> None:
    game = played(MARKET.key)
    said = await shown(game.paid)
    assert "All 45,000 sat that workers earned are paid, by 2 transactions." in said
    for name in (game.market.txid_of(1), game.market.txid_of(2, rung=1), *game.blocks):
        assert f'data-copy="{name}"' in said
    assert all(f'title="worker {worker}"' in said for worker in game.market.workers)
    assert said.count("</span> holds</span>") == 13
    assert "<code>anchor</code>" in said
    assert "regtest, where anybody makes blocks at no cost" in said


async def test_what_is_not_paid_yet_is_said_and_nothing_claimed() -> None:
    said = await shown(played(MARKET.key).earned)
    assert "200 sat are earned, not paid yet: the next payout is planned when" in said
    assert "Payouts that paid for it" not in said
    assert "<code>anchor</code>" not in said
