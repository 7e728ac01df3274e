"""One market and one browser for all tests of the page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browser import browser
from tests.e2e.pasar import Pasar


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pasar]:
    """A market with two workers and its page, as ``pasar up`` starts it."""
    home = tmp_path_factory.mktemp("market")
    home.chmod(0o755)
    pasar = Pasar(home, PASAR_PAGE="1", PASAR_PAGE_PORT="0")
    pasar.text("up", "--workers", "2")
    try:
        yield pasar
    finally:
        pasar.text("down")


@pytest.fixture(scope="package")
def url(market: Pasar) -> str:
    """Where the page is."""
    return str(market.json("status")["page_url"])
