from tests.page.recorded import demo, look, text
from ui.page.app import PAGES


def test_every_page_keeps_the_position_and_the_unit_in_its_links() -> None:
    market = demo()
    for entry in PAGES:
        said = text(look(market, entry.path, {"upto": "200", "unit": "btc"}))
        assert 'href="/jobs?upto=200&amp;unit=btc"' in said, entry.path
        assert "as of event <b>200</b>" in said, entry.path


def test_every_page_works_before_anything_has_happened() -> None:
    market = demo()
    for entry in PAGES:
        look(market, entry.path, {"upto": "0"})
