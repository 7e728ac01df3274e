import re
import time
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.browser import tab
from tests.e2e.pasar import Pasar


def test_newcomer_buys_a_price_and_checks_the_receipt_with_no_command_after_the_first(
    chromium: Browser, tmp_path: Path
) -> None:
    began = time.monotonic()
    tmp_path.chmod(0o755)
    market = Pasar(tmp_path, PASAR_PAGE="1", PASAR_PAGE_PORT="0")
    said = market.text("up", "--workers", "2")
    try:
        found = re.search(r"look at it on (http\S+)", said)
        assert found is not None, said
        with tab(chromium, found[1]) as one:
            one.open()
            one.follow("Post the first one")
            one.sees("You pay for verified results only")
            program = one.page.locator(".st-key-post_program input")
            program.fill("option")
            program.press("Enter")
            one.sees("Paths", within_s=30)
            workers = one.page.locator(".st-key-post_replicas input")
            workers.fill("2")
            workers.press("Enter")
            one.sees("checking", within_s=60)
            one.page.locator(".st-key-post_fund button").click()
            one.page.locator(".st-key-post button").click()
            one.sees("Post this job?")
            one.page.locator(".st-key-post_now button").click()
            one.page.wait_for_url(re.compile(r"/job\?id=[0-9a-f]{24}"))
            one.sees(re.compile(r"Completed: 4 of 4 tasks verified, .* earned by workers"), within_s=60)
            one.page.locator(".st-key-verify button").click()
            one.sees("The receipt holds for job")
            expect(one.page.get_by_role("row").filter(has_text="✓ holds")).to_have_count(11)
            with one.page.expect_download() as download:
                one.page.locator(".st-key-receipt-file button").click()
            receipt = tmp_path / "job.receipt.json"
            download.value.save_as(receipt)
        took_s = time.monotonic() - began
        assert market.json("receipt", "verify", str(receipt))["ok"]
        assert took_s < 120  # what a newcomer is promised; it takes some 25 s
    finally:
        market.text("down")


def test_job_that_nobody_would_run_is_refused_with_what_would_let_it_pass(chromium: Browser, url: str) -> None:
    with tab(chromium, url) as one:
        one.open("/post")
        workers = one.page.locator(".st-key-post_replicas input")
        workers.fill("5")
        workers.press("Enter")
        one.sees(re.compile(r"2 of (the )?5 (needed )?workers"), within_s=60)
        expect(one.page.locator(".st-key-post button")).to_have_count(0)
