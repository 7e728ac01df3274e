import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browser import PHONE, Tab, tab
from tests.e2e.pasar import Pasar

PAGES = ("/", "/jobs", "/post", "/workers", "/money", "/audit", "/subscribers", "/job", "/worker", "/event", "/search")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_a_phone(chromium: Browser, market: Pasar, url: str, dark: bool) -> None:
    with tab(chromium, url, size=PHONE, dark=dark) as one:
        for path in PAGES:
            one.open(path)
            one.sees("live ·")
            wide = one.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{path} is {wide} px too wide"
            background = one.page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) == dark


def test_market_as_it_was_is_a_link_away_and_so_is_the_way_back(chromium: Browser, market: Pasar, url: str) -> None:
    with tab(chromium, url) as one:
        one.open("/audit")
        position = one.page.get_by_label("Event", exact=True)
        position.fill("9")
        position.press("Enter")
        one.sees("as of event 9")
        one.page.wait_for_url(re.compile(r"upto=9"))
        one.follow("Workers")
        one.page.wait_for_url(re.compile(r"/workers\?.*upto=9"))
        one.sees("as of event 9")
        one.follow("back to now")
        expect(one.page.get_by_text("as of event")).to_have_count(0)
        assert "upto" not in one.page.url


def slash_leads_to_search(one: Tab) -> bool:
    one.page.keyboard.press("/")
    return bool(one.page.evaluate("document.activeElement.closest('.st-key-search') !== null"))


def test_search_goes_to_what_has_the_name(chromium: Browser, market: Pasar, url: str) -> None:
    worker = market.json("worker", "list")[0]["worker"]
    with tab(chromium, url) as one:
        one.open()
        one.sees("live ·")
        for text, seen in (
            ("#7", "Event 7"),
            (worker[:8], f"Worker {worker[:10]}"),
            ("StakeDeposited", "StakeDeposited"),
        ):
            box = one.page.locator(".st-key-search input")
            one.until(lambda: slash_leads_to_search(one))  # the key is heard once the page that was gone to is drawn
            box.fill(text)
            box.press("Enter")
            one.sees(re.compile(f"^{seen}"))
            one.page.evaluate("document.activeElement.blur()")


def test_event_that_has_not_happened_is_watched_for_and_shows_itself(
    chromium: Browser, market: Pasar, url: str
) -> None:
    market.text("escrow", "fund", "1001sat")
    last = market.json("status")["services"]
    head = max(one["position"] or 0 for one in last)
    with tab(chromium, url) as one:
        one.open(f"/event?position={head + 2}")  # the block comes before the deposit in it
        one.sees("has not happened")
        market.text("escrow", "fund", "1016sat")
        one.sees("put 1,016 sat into escrow", within_s=5)


def test_links_open_without_loading_the_page_anew_and_go_back(chromium: Browser, market: Pasar, url: str) -> None:
    with tab(chromium, url) as one:
        one.open()
        one.sees("live ·")
        one.page.evaluate("window.same = true")
        one.follow("Money")
        one.sees("Escrow accounts")
        one.follow("sat ⇄ BTC")
        one.page.wait_for_url(re.compile(r"/money\?unit=btc"))
        one.sees(re.compile(r"0\.0000\d+ BTC"))
        one.page.go_back()
        one.page.go_back()
        one.sees("tasks settled")
        assert one.page.evaluate("window.same")


def test_downloaded_log_is_looked_at_on_every_page(chromium: Browser, market: Pasar, url: str, tmp_path: Path) -> None:
    file = tmp_path / "market.jsonl.gz"
    market.text("log", "save", str(file))
    with tab(chromium, url) as one:
        one.open("/audit")
        one.page.locator(".st-key-log_file input[type=file]").set_input_files(file)
        one.page.wait_for_url(re.compile(r"log=[0-9a-f]{16}"))
        one.sees("A downloaded log of")
        for page, seen in (("Workers", "take work now"), ("Money", "Escrow accounts"), ("Market", "tasks settled")):
            one.follow(re.compile(f"^{page}$"))
            one.sees(seen)
            one.sees("A downloaded log of")
