"""Cards: what an object says in text and in HTML, whatever it is told."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.meter import Meter
from domain.quote import Needs, Offer, quote
from services.client import bill, live
from services.client.cards import BYTES_MAX, Card, html, text
from services.client.live import Live
from services.client.market import _terms
from services.client.money import Amount, msats, sats

HOSTILE = "<script>alert('x')</script><img src=x onerror=\"y\">&amp;"
_TAGS = {"a", "div", "strong", "progress", "span", "details", "summary"}
words = st.text(max_size=400) | st.just(HOSTILE * 40)
cards = st.builds(
    Card,
    title=words,
    sentence=words,
    lines=st.lists(st.tuples(words, words), max_size=40),
    more=st.lists(st.tuples(words, words), max_size=40),
    progress=st.none() | st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
)


class Tags(HTMLParser):
    """Notes every tag and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_address_of_a_page_is_a_link_and_nothing_else_is() -> None:
    said = html(
        Card(title="x", lines=[("page", "http://127.0.0.1:8501/job?id=3f&a='\""), ("no", "javascript:alert(1)")])
    )
    assert said.count("<a ") == 1
    assert 'href="http://127.0.0.1:8501/job?id=3f&amp;a=&#x27;&quot;"' in said


@given(cards)
def test_html_holds_no_more_than_its_own_tags(card: Card) -> None:
    said = html(card)
    tags = Tags()
    tags.feed(said)
    assert tags.seen <= _TAGS
    assert tags.attributes <= {"style", "value", "max", "href"}
    assert not tags.open
    assert len(said.encode()) < BYTES_MAX


def test_hostile_name_is_shown_and_not_obeyed() -> None:
    said = html(Card(title=HOSTILE, lines=[(HOSTILE, HOSTILE)]))
    assert "<script" not in said
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in said


def test_colours_are_the_theme_s_and_are_left_alone_without_one() -> None:
    said = html(Card(title="t", sentence="s", lines=[("a", "b")], more=[("c", "d")]))
    for colour in re.findall(r"(?<![-\w])color:[^;\"]*", said):
        assert colour.startswith("color:var(--jp-")
        assert colour.endswith(",inherit))")
    assert "background" not in said


def test_text_stands_alone() -> None:
    card = Card(title="job 1 f", sentence="Completed.", lines=[("fee", "1 sat"), ("total", "2 sat")], more=[("x", "y")])
    assert text(card) == "job 1 f\nCompleted.\n  fee    1 sat\n  total  2 sat"


@pytest.mark.parametrize(
    ("amount", "shown"), [(sats(2_000), "2,000 sat"), (sats("1.5"), "1.5 sat"), (msats(1), "0.001 sat")]
)
def test_amount_shows_itself_in_satoshi(amount: Amount, shown: str) -> None:
    assert repr(amount) == str(amount) == shown
    assert amount + 1 == int(amount) + 1


@pytest.mark.parametrize("amount", [1.5, "0.0001"])
def test_amount_that_is_none_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match=r"float|finer"):
        sats(amount)


def a_quote(*, replicas: int = 1, workers: int = 3, budget_msat: int | None = None) -> bill.Quote:
    offers = [Offer(f"w{n}", True, "cpu", 2048, 1_000, flops_per_s=10**9, bytes_per_s=10**9) for n in range(workers)]
    meter = Meter(2_500_000, 0, 3_000_000, 1 << 20, 8, 8)
    found = quote(meter, offers, Needs(4, replicas, ("cpu",), 130), fee_ppm=10_000)
    return bill.of_quote(found, function="f", budget_msat=budget_msat, timeout_s=60, memory_mb=130)


def test_bill_adds_up() -> None:
    said = repr(a_quote(replicas=2))
    assert "4 tasks, each by 2 workers: 2.5 MFLOP, 3 MB moved" in said
    assert [line.split()[:2] for line in said.splitlines() if line.split()[-1] and "sat" in line][1:] == [
        ["compute", "4"], ["checking", "4"], ["fee", "0.08"], ["total", "8.08"],
    ]  # fmt: skip
    assert said.splitlines()[1] == "8.08 sat in all; what is not used is free again."


def test_quote_says_what_is_in_the_way() -> None:
    assert "which is more than the budget of 1 sat" in repr(a_quote(budget_msat=1_000))
    assert "the market has no worker; start one with `pasar worker run`" in repr(a_quote(workers=0))
    assert "total" not in repr(a_quote(workers=0))


class Clock:
    """Time that passes when it is told to, for what is called later."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, function))

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        due, self.due = [one for one in self.due if one[0] <= self.now], [one for one in self.due if one[0] > self.now]
        for _, function in due:
            function()


class Handle:
    """Notes what a notebook is shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        self.shown.append(bundle["text/plain"])


def test_card_changes_at_most_four_times_a_second_and_ends_in_its_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, handle, said = Clock(), Handle(), ["0"]
    monkeypatch.setattr(live, "monotonic", lambda: clock.now)
    shown = Live(lambda: Card(title=said[-1]), clock.later)
    shown.changed()
    assert not clock.due  # nowhere to show it
    shown._handle = handle
    for number in range(1, 101):
        said.append(str(number))
        shown.changed()
        clock.pass_(0.01)
    clock.pass_(1)
    assert len(handle.shown) <= 6
    assert handle.shown[-1] == "100"
    shown.flush()
    assert handle.shown.count("100") == 1


@pytest.mark.parametrize("term", ["budget", "price", "stake"])
def test_bare_number_is_no_amount(term: str) -> None:
    with pytest.raises(TypeError, match=rf"{term}= is an amount .* say pasar\.sats\(10_000\)"):
        _terms(**{term: 10_000})
    assert getattr(_terms(**{term: sats(10)}), f"{term}_msat") == 10_000


def test_sums_of_amounts_are_amounts() -> None:
    for amount in (sats(1) + sats(2), sats(4) - sats(1), 3 * sats(1), sats(6) // 2, sum([sats(1), sats(2)])):
        assert (amount, repr(amount)) == (3_000, "3 sat")
