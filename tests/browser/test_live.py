import os
import re
import signal
import urllib.request

from playwright.sync_api import Browser, expect

from tests.browser.browser import tab
from tests.e2e.pasar import Pasar


def pid_of(market: Pasar, name: str) -> int:
    return next(int(one["pid"]) for one in market.json("status")["processes"] if one["name"] == name)


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_market_shows_what_happens_without_being_asked(chromium: Browser, market: Pasar, url: str) -> None:
    with tab(chromium, url) as one:
        one.open()
        one.sees(re.compile(r"live · event \d+"))
        before = one.page.locator(".ticker li").first.text_content()
        market.text("escrow", "fund", "1012sat")
        expect(one.page.locator(".ticker li").first).not_to_have_text(before or "", timeout=5_000)
        one.sees("put 1,012 sat into escrow", within_s=2)


def test_page_says_that_the_feed_stopped_and_recovers(chromium: Browser, market: Pasar, url: str) -> None:
    with tab(chromium, url) as one:
        one.open()
        one.sees(re.compile(r"live · event \d+"))
        broker = pid_of(market, "nats")
        os.kill(broker, signal.SIGSTOP)
        try:
            one.sees(re.compile(r"The feed stopped"), within_s=15)
        finally:
            os.kill(broker, signal.SIGKILL)
        one.sees(re.compile(r"live · event \d+"), within_s=30)
        market.text("escrow", "fund", "1013sat")
        one.sees("put 1,013 sat into escrow", within_s=5)


def test_page_comes_back_after_its_server_was_killed(chromium: Browser, market: Pasar, url: str) -> None:
    with tab(chromium, url, may_lose_server=True) as one:
        one.open()
        one.sees(re.compile(r"live · event \d+"))
        os.kill(pid_of(market, "page"), signal.SIGKILL)
        one.until(lambda: healthy(url), within_s=30)
        one.sees(re.compile(r"live · event \d+"), within_s=30)
        market.text("escrow", "fund", "1014sat")
        one.sees("put 1,014 sat into escrow", within_s=10)
