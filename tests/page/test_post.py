"""Posting, on a market that was recorded: prices are its own, and what would be sent is kept."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from domain.errors import Refused, Unavailable
from domain.events import FeeSet
from domain.ids import escrow_id
from services.bus.inspection import Finding
from services.client import pricing
from services.client.bill import Quote
from services.client.goods import Goods
from services.client.session import Work
from services.client.terms import Terms
from services.config import Settings
from services.ports import SystemClock
from services.projections.queries import NotShownYet, ReadModelStopped
from services.stack.page import Options
from services.viewing.view import View
from tests.page.recorded import Recorded, demo, look, text
from ui.page import acting, process


class Asked:
    """What prices are made of, out of a view, as a reader gives it."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def workers(self) -> Any:
        return self._view.workers()

    async def fees(self) -> FeeSet:
        return FeeSet(self._view.fee_ppm())

    async def verified(self, client: str, work_key: str, replicas: int) -> None:
        return None


class Till:
    """A client that keeps what it would have sent."""

    def __init__(self, market: Recorded) -> None:
        self._view = market.view(None)
        program = self._view.program(self._view.jobs(1)[0].program)
        assert program is not None
        self._finding = Finding(program.program, program.identity, program.meter, ("cpu",), program.jax_version)
        self.key = self._view.jobs(1)[0].client
        self.escrow = escrow_id(self.key)
        self.posted: list[tuple[Work, str]] = []
        self.funded: list[tuple[int, str]] = []
        self.refusal: Refused | None = None

    def quote(self, goods: Goods, terms: Terms) -> Quote:
        return asyncio.run(pricing.quote(Asked(self._view), self.key, goods.name, goods, terms, self._finding))  # type: ignore[arg-type]

    def fund(self, amount_msat: int, once: str) -> None:
        self.funded.append((amount_msat, once))

    def refund(self, amount_msat: int, once: str) -> None: ...

    def post(self, work: Work, once: str) -> str:
        self.posted.append((work, once))
        if self.refusal is not None:
            raise self.refusal
        return self._view.jobs(1)[0].job


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> Till:
    found = Till(demo())
    monkeypatch.setattr(acting, "hindrance", lambda context: "" if context.present else "as it was")
    monkeypatch.setattr(acting, "client", lambda: found)
    return found


def form(till: Till) -> AppTest:
    at = look(demo(), "post")
    at.selectbox(key="post_program").select("square").run()
    return at


def test_quote_is_itemised_and_follows_the_form(till: Till) -> None:
    at = form(till)
    at.number_input(key="post_tasks").set_value(10)
    at.number_input(key="post_replicas").set_value(2).run()
    said = text(at)
    assert "40.4 sat</b> in all" in said
    assert "20 sat" in said  # compute, and as much for checking
    assert "0.4 sat" in said
    assert "<b>2</b> of 3 would run it" in said
    assert "1 worker takes no work now" in said
    assert "pasar job post square --tasks 10 --replicas 2" in said


def test_quote_that_nobody_takes_says_what_would_let_it_pass(till: Till) -> None:
    at = form(till)
    at.number_input(key="post_memory").set_value(4096).run()
    said = text(at)
    assert "Nobody can run it so: 0 of 1 needed worker would" in said
    assert "give a run 2,048 MB of memory or less" in said
    assert not [one for one in at.button if one.key == "post"]


def test_quote_beyond_the_budget_says_what_it_costs(till: Till) -> None:
    at = form(till)
    at.text_input(key="post_budget").input("3").run()
    assert "raise the budget to 8.08 sat" in text(at)
    assert not [one for one in at.button if one.key == "post"]


def test_escrow_that_is_too_small_offers_to_fund_what_is_missing_once(till: Till) -> None:
    at = form(till)
    at.number_input(key="post_tasks").set_value(1000).run()
    assert "pasar escrow fund 1117" in text(at)  # 2,020 sat, of which 903.04 are there
    at.button(key="post_fund").click().run()
    at.button(key="post_fund").click().run()
    (first, second) = till.funded
    assert first == second
    assert first[0] == 1_117_000


@pytest.mark.parametrize(
    "lost_answer",
    [
        acting.NoAnswer(reason="no reply in time"),
        process.NoAnswer(seconds=30),
        NotShownYet(position=7, wanted="event 9"),
        ReadModelStopped(name="jobs", position=7),
        Unavailable(reason="the database does not answer"),
    ],
    ids=lambda refused: type(refused).__name__,
)
def test_job_is_posted_after_the_dialog_under_one_name_and_then_shown(till: Till, lost_answer: Refused) -> None:
    at = form(till)
    at.button(key="post").click().run()
    assert not till.posted
    said = text(at)
    assert "reserved now" in said
    assert "costs nothing" in said
    assert 'party "client" of this machine' in said
    till.refusal = lost_answer
    at.button(key="post_now").click().run()
    assert at.error[0].value == str(lost_answer)
    till.refusal = None
    at.button(key="post_now").click().run()
    (lost, again) = till.posted
    assert lost == again  # the same command: done once at most
    assert again[0].tasks == 4
    assert again[0].price_msat == 2_000
    assert at.query_params["id"] == demo().view(None).jobs(1)[0].job


def test_refused_command_is_sent_under_a_new_name_next_time(till: Till) -> None:
    at = form(till)
    at.button(key="post").click().run()
    till.refusal = acting.NothingCame()
    at.button(key="post_now").click().run()
    at.button(key="post_now").click().run()
    (first, second) = till.posted
    assert first[1] != second[1]


def test_amount_that_is_none_is_explained_beside_it(till: Till) -> None:
    at = form(till)
    at.text_input(key="post_budget").input("a lot").run()
    assert "'a lot' is no amount of money" in at.warning[0].value


async def test_page_open_to_others_sends_nothing_whatever_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASAR_PAGE_HOST", "0.0.0.0")
    market = process.Running(Settings(home=Path("/nowhere")), None, None, SystemClock())  # type: ignore[arg-type]
    process.show(market)
    client = acting.client()
    for command in (client.fund, client.refund, client.cancel):
        with pytest.raises(acting.OpenToOthers):
            await asyncio.to_thread(command, 1_000, "once")  # type: ignore[arg-type]
    assert acting.names() == {}


@pytest.mark.parametrize(
    ("environ", "spends"),
    [
        ({}, True),
        ({"PASAR_PAGE_HOST": "0.0.0.0"}, False),
        ({"PASAR_PAGE_HOSTS": "pasar.example.org"}, False),  # whoever is let in by what stands behind that name
        ({"PASAR_PAGE_HOSTS": "*"}, False),
        ({"PASAR_PAGE_HOST": "0.0.0.0", "PASAR_PAGE_SPEND": "1"}, True),
    ],
)
def test_page_that_others_may_reach_spends_only_where_its_owner_says_so(environ: dict[str, str], spends: bool) -> None:
    options = Options.from_environment(environ)
    assert options.spend == spends
    assert Options.from_environment(options.environment) == options


@pytest.mark.parametrize("query", [{"upto": "300"}, {}])
def test_page_on_which_nothing_can_be_done_says_why_and_shows_the_command(query: dict[str, str]) -> None:
    said = text(look(demo(), "post", query))
    assert "go back to now" in said or "was recorded" in said
    assert "pasar job post mandelbrot --tasks 4" in said
