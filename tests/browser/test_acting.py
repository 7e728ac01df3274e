import re
from typing import Any

from playwright.sync_api import Browser, expect

from tests.browser.browser import tab
from tests.e2e.pasar import Pasar


def escrow(market: Pasar) -> dict[str, Any]:
    return next(iter(market.json("escrow", "show", "--all")), {"funded_msat": 0, "refunded_msat": 0})


def test_job_is_funded_and_posted_by_double_clicks_once_each(chromium: Browser, market: Pasar, url: str) -> None:
    before, jobs = escrow(market), len(market.json("job", "list"))
    with tab(chromium, url) as one:
        one.open("/post")
        button = one.page.locator(".st-key-post_fund button, .st-key-post button").first
        expect(button).to_be_visible(timeout=60_000)
        if one.page.locator(".st-key-post_fund button").count():
            one.page.locator(".st-key-post_fund button").dblclick()
        one.page.locator(".st-key-post button").click()
        one.sees("Post this job?")
        one.page.locator(".st-key-post_now button").dblclick()
        one.page.wait_for_url(re.compile(r"/job\?id="), timeout=30_000)
    assert len(market.json("job", "list")) == jobs + 1
    assert escrow(market)["funded_msat"] - before["funded_msat"] <= 9_000_000


def test_money_put_in_and_taken_back_by_double_clicks_moves_once(chromium: Browser, market: Pasar, url: str) -> None:
    market.text("escrow", "fund", "1000sat")
    before = escrow(market)
    with tab(chromium, url) as one:
        one.open("/money")
        for name, amount in (("fund", "2000"), ("refund", "500")):
            one.page.locator(f".st-key-{name} button").click()
            field = one.page.locator(f".st-key-{name}_amount input")
            field.fill(amount)
            field.press("Enter")
            one.sees(f"pasar escrow {name} {amount}")
            one.page.locator(f".st-key-{name}_now button").dblclick()
            expect(one.page.get_by_role("dialog")).to_have_count(0)
        one.sees("live ·")
        expect(one.page.get_by_text("live ·")).to_have_count(1)  # behind dialogs, too, the line stands once
    after = escrow(market)
    assert after["funded_msat"] - before["funded_msat"] == 2_000_000
    assert after["refunded_msat"] - before["refunded_msat"] == 500_000
