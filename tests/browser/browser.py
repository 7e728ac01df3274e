"""A browser that keeps count of what goes wrong, and how it waits for a page."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

#: What Debian, Fedora, Arch and Google call it.
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Sizes of a window in pixels.
DESK, PHONE = (1280, 900), (390, 844)
PATIENCE_MS: Final = 20_000
#: What a browser says when a server goes away, which some tests want.
_LOST: Final = re.compile(r"WebSocket|ERR_CONNECTION_REFUSED|Failed to load resource|net::")


def chromium() -> str:
    """The browser of this machine; without one the test is skipped, and on continuous integration it fails."""
    found = os.environ.get("PASAR_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        why = "no Chromium is here: install it (apt-get install chromium), or name it in PASAR_CHROMIUM"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return found


class Tab:
    """One page of a browser.

    Attributes:
        wrong: Errors on the console, requests to other hosts, and what scripts raised.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        self.lost: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._asked)

    def open(self, path: str = "/") -> "Tab":
        """Go there, as with a pasted address."""
        self.page.goto(self.url + path)
        return self.settle()

    def settle(self) -> "Tab":
        """Until it is drawn: connected, no script at work, no placeholder left."""
        app = "[data-testid='stApp']"
        for attribute in ("[data-test-connection-state='CONNECTED']", "[data-test-script-state='notRunning']"):
            self.page.locator(app + attribute).wait_for(state="attached")
        expect(self.page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=PATIENCE_MS)
        expect(self.page.get_by_test_id("stException")).to_have_count(0)
        self.page.evaluate("document.fonts.ready")
        return self

    def sees(self, text: str | re.Pattern[str], *, within_s: float = PATIENCE_MS / 1000) -> Locator:
        """Wait until some visible text is there."""
        found = self.page.get_by_text(text).locator("visible=true").first
        expect(found).to_be_visible(timeout=within_s * 1000)
        return found

    def until(self, fact: Callable[[], object], *, within_s: float = PATIENCE_MS / 1000) -> None:
        """Wait until ``fact()`` is true."""
        deadline = monotonic() + within_s
        while not fact():
            assert monotonic() < deadline, "it did not come true in time"
            self.page.wait_for_timeout(50)

    def follow(self, name: str | re.Pattern[str]) -> "Tab":
        """Click a link, by its text."""
        self.page.get_by_role("link", name=name).first.click()
        return self

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            (self.lost if _LOST.search(message.text) else self.wrong).append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob") and place.netloc != urlsplit(self.url).netloc:
            self.wrong.append(f"request to {request.url}")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=chromium(),
            args=["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def tab(
    opened: Browser, url: str, *, size: tuple[int, int] = DESK, dark: bool = False, may_lose_server: bool = False
) -> Iterator[Tab]:
    """A fresh profile with one page; at its end nothing may have gone wrong."""
    settings: dict[str, Any] = {
        "viewport": {"width": size[0], "height": size[1]},
        "color_scheme": "dark" if dark else "light",
        "reduced_motion": "reduce",
        "timezone_id": "UTC",
        "locale": "en-GB",
        "has_touch": size == PHONE,
    }
    context = opened.new_context(**settings)
    try:
        found = Tab(context.new_page(), url)
        yield found
        assert not found.wrong
        assert may_lose_server or not found.lost
        expect(found.page.get_by_test_id("stException")).to_have_count(0)
    finally:
        context.close()
