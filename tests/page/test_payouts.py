"""Money on a chain, on the page: payouts, accounts, jobs and workers, now, as of any event, and out of a file."""

import html
import random
import re

import pytest

from domain import bitcoin, payout
from domain.books import State
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from tests.logs import zipped
from tests.page.recorded import Recorded, demo, look, payday, text
from tests.page.test_every_page import lines, parse
from tests.payouts import Payday, told
from ui.page import process
from ui.page.app import PAGES


def plain(said: str) -> str:
    """What is read of the page, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", said)))


def money(query: dict[str, str] | None = None, market: Recorded | None = None) -> str:
    return text(look(market or payday(), "money", query))


def test_money_shows_the_chain_and_closes_over_all_of_it() -> None:
    said = money()
    assert said.count("✓ adds up") == 4
    assert "✗ does not" not in said
    assert "regtest , block 116" in plain(said)
    assert "Play money: this chain is this machine's own." in plain(said)
    assert "paid in 4,185,000 sat" in plain(said)
    assert "held 4,063,664 sat in outputs, and missing" in plain(said)


def test_market_tells_earned_from_paid() -> None:
    assert "175,123 sat earned by workers, 66,120 sat of it paid on the chain" in plain(text(look(payday())))


def test_account_shows_what_was_drawn_at_the_rung_that_was_mined() -> None:
    day = Payday(2)
    day.job(8, 9_000_000)
    day.pay(rung=0)
    found = day.books.payouts[1]
    market = Recorded(day.records)
    drawn_sat = sum(one.amount_sat for one in found.allotted) + found.planned.fees_sat[0] + found.planned.market_sat
    assert found.planned.fund_sat > found.planned.fees_sat[0]
    said = plain(money({"escrow": market.view(None).escrows()[0].escrow}, market))
    other = plain(money({"escrow": market.view(None).escrows()[1].escrow}, market))
    assert f"of 2,000,000 sat {drawn_sat:,} sat" in said + other


def test_market_without_a_chain_shows_nothing_of_one() -> None:
    said = money(market=demo())
    assert "Payouts" not in said
    assert "On the chain" not in said
    assert "PayoutConfirmed" not in said


def test_payouts_are_listed_each_with_a_sentence_and_what_it_costs() -> None:
    said = plain(money())
    assert "◐ sent Sent: it waits for a block; a dearer rung replaces it" in said
    assert "✓ confirmed Paid: in block 115, 2 blocks deep." in said
    assert "⊘ abandoned Given up: the arbiter did not sign it" in said
    assert "1,366 sat 1.53 %" in said
    assert "Payout 4 is under way; the next one is planned when it is settled." in said
    assert "a reward of 2,350 sat or more is paid" in said


def test_payouts_turn_their_pages() -> None:
    day = Payday(7)
    for _ in range(14):
        day.job(8, 9_000_000)
        day.pay()
    market = Recorded(day.records)
    said = money(market=market)
    assert 'class="tight"><a href="/money?payout=14"' in said
    assert 'class="tight"><a href="/money?payout=2"' not in said
    older = re.search(r'href="(/money\?epochs=\d+)"', said)
    assert older is not None
    second = money({"epochs": older[1].partition("=")[2]}, market)
    assert 'class="tight"><a href="/money?payout=2"' in second
    assert 'class="tight"><a href="/money?payout=14"' not in second


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_payout_is_shown_whole_and_computed_again(epoch: int) -> None:
    said, books = money({"payout": str(epoch)}), told().books.payouts[epoch]
    raw = re.search(r'<pre class="payload"><code>([0-9a-f]+)</code>', said)
    assert raw is not None
    tx = bitcoin.parse(bytes.fromhex(raw[1]))
    ids = [
        bitcoin.txid(payout.transaction(books.planned, books.allotted, rung))
        for rung in range(len(books.planned.fees_sat))
    ]
    assert bitcoin.txid(tx) in ids
    assert all(one in said for one in ids)
    for out in tx.outputs:
        assert f"{out.value_sat:,} sat" in said
        if out.script[:1] != b"\x6a":
            assert bitcoin.address(out.script, "regtest") in said
    for spent in tx.inputs:
        assert f"{spent.outpoint.txid}:{spent.outpoint.vout}" in said
    assert said.count('class="ok"><span aria-hidden="true">✓</span>') == 3
    assert books.planned.anchor in said
    assert "✗" not in said


def test_payout_whose_log_is_another_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.viewing.past.Past.root", lambda self, size=None: bytes(32))
    assert "the log here has another root" in money({"payout": "1"})


def test_payout_that_was_undone_waits_again() -> None:
    day = told()
    undone = next(one.position for one in day.records if one.name == "PayoutReorged.v1")
    said = plain(money({"payout": "1", "upto": str(undone)}))
    assert "Sent: it waits for a block" in said
    assert "block none" in said
    assert "paid 0 sat to workers, by confirmed payouts" in plain(money({"upto": str(undone)}))


def test_payout_that_there_is_not_is_refused_with_where_they_are() -> None:
    for query in ({"payout": "9"}, {"payout": "1", "upto": "60"}):
        (error,) = look(payday(), "money", query).error
        assert "there is no payout" in error.value
    (error,) = look(payday(), "money", {"payout": "first"}).error
    assert "payout=first in the address" in error.value


def test_account_shows_where_to_pay_until_when_and_every_output() -> None:
    day = told()
    for key, terms in day.books.terms.items():
        kind = "escrow" if terms[0].account == "escrow" else "stake"
        said = money({kind: key})
        assert bitcoin.address(terms[-1].script, "regtest") in said
        assert bitcoin.address(terms[-1].payout_script, "regtest") in said
        assert f"Its term ends at block {terms[-1].expires_height:,}" in said
        assert said.count("✓ adds up") == 3
        for coin in (one for one in day.books.coins.values() if one.key == key):
            txid, vout = bitcoin.outpoint(coin.outpoint)
            assert f"{txid}:{vout}" in said
            assert f"{coin.value_sat:,} sat" in said
        assert f"after({terms[-1].expires_height})" in said


def test_account_that_is_not_open_says_when_it_will_be() -> None:
    said = money({"stake": told().workers[-1]})
    assert "No account is open on regtest yet" in said
    assert "pasar worker run" in said


def test_term_that_is_ending_or_over_says_so() -> None:
    day = Payday(3)
    day.advance(1_950)
    market = Recorded(day.records)
    client = market.view(None).escrows()[0].escrow
    assert "in 50 blocks: nothing new relies on it" in money({"escrow": client}, market)
    day.advance(50)
    market = Recorded(day.records)
    assert "Its term ended at block 2,110: its owner can take it back alone." in money({"escrow": client}, market)
    assert "2,110, over" in money(market=market)


def test_job_shows_what_is_paid_by_which_transaction_and_what_waits_for_what() -> None:
    market, day = payday(), told()
    first = market.view(None).jobs()[-1].job
    said = plain(text(look(market, "job", {"id": first})))
    assert "Of 40,000 sat that workers earned with it 30,000 sat are paid, 10,000 sat wait for a payout." in said
    assert day.txid(1, 1)[:10] in said
    assert "It has no address to be paid at" in said
    last = plain(text(look(market, "job", {"id": market.view(None).jobs()[0].job})))
    assert "82,500.5 sat are on their way" in last
    assert "0.75 sat are less than the 2,350 sat that are paid at least at 1.5 sat/vB" in last
    assert "all of it may cost 2 % of what it pays at most" in last
    assert "Pay on the chain" not in text(look(demo(), "job", {"id": demo().view(None).jobs()[0].job}))


def test_job_that_is_paid_says_so() -> None:
    day = Payday(4)
    day.open(day.workers[-1])
    day.job(8, 9_000_000)
    day.pay()
    market = Recorded(day.records)
    said = plain(text(look(market, "job", {"id": market.view(None).jobs()[0].job})))
    assert "All 72,000 sat that workers earned with it are paid." in said


def test_worker_shows_what_is_paid_and_due_and_where_it_is_paid() -> None:
    day, market = told(), payday()
    row = market.view(None).worker(day.workers[0])
    said = plain(text(look(market, "worker", {"id": row.worker})))
    assert "paid on the chain 19,040 sat" in said
    assert f"Payout 4 pays {row.paying_msat // 1000:,} sat of it: it is sent and waits for its block." in said
    assert bitcoin.address(bytes.fromhex(row.payout_script or ""), "regtest") in said
    assert "paid on the chain" not in text(look(demo(), "worker", {"id": demo().view(None).workers()[0].worker}))


def test_event_of_a_payout_leads_to_it() -> None:
    position = next(one.position for one in told().records if one.name == "PayoutBroadcast.v1")
    assert re.search(r'href="/money\?payout=1"', text(look(payday(), "event", {"position": str(position)})))


def test_amounts_in_bitcoin_are_the_same_money() -> None:
    said = money({"unit": "btc", "payout": "3"})
    assert "0.00089360 BTC" in said
    assert not re.search(r"\d sat<", said)


def test_movements_of_the_chain_are_in_the_ledger() -> None:
    said = plain(money({"move": "PayoutConfirmed"}))
    assert "paid out to workers 30,000 sat" in said
    assert "paid out back to owners 53,240 sat" in said
    assert "paid out to miners 760 sat" in said
    assert "payout undone , to workers 30,000 sat" in plain(money({"move": "PayoutReorged"}))
    assert "spent without the market" in plain(money({"move": "CoinTaken"}))


@pytest.mark.parametrize("seed", [None, 2, 6])
def test_money_of_any_history_closes_as_of_any_event(seed: int | None) -> None:
    day = told() if seed is None else Payday(seed).run(200)
    market, chance = Recorded(day.records), random.Random(seed)
    for position in (*sorted(chance.sample(range(1, len(day.records)), 6)), len(day.records)):
        light = {"upto": str(position)}
        said = money(light, market)
        assert "✗" not in said.replace("✗</span> contested", "")
        view = market.view(position)
        for found in view.settled.payouts(1):
            assert "✗ " not in money({"payout": str(found.epoch), **light}, market)
        for row in view.jobs(1):
            look(market, "job", {"id": row.job, **light})
        for worker in view.workers()[:1]:
            look(market, "worker", {"id": worker.worker, **light})


def test_every_page_of_a_market_on_a_chain_is_drawn_and_its_lines_are_commands() -> None:
    view = payday().view(None)
    about = {
        "job": {"id": view.jobs()[0].job},
        "worker": {"id": view.workers()[0].worker},
        "event": {"position": "71"},
        "search": {"q": told().txid(1, 1)[:9]},
    }
    queries = [(one.path, about.get(one.path, {})) for one in PAGES]
    queries += [("money", {"payout": "3"}), ("money", {"escrow": view.escrows()[0].escrow})]
    for page, query in queries:
        for line in lines(text(look(payday(), page, query))):
            parse(line)


def test_headings_of_columns_have_scopes_and_links_keep_the_file_that_is_looked_at() -> None:
    log = process.archives.open(zipped(told().records))
    for query in ({}, {"payout": "4"}, {"escrow": payday().view(None).escrows()[0].escrow}):
        said = text(look(demo(), "money", {"log": log, **query}))
        assert "✗" not in said
        assert all("scope=" in one for one in re.findall(r"<th\b[^>]*>", said))
        for link in re.findall(r'href="(/[^"]*)" data-page', said):
            leaves = "back to the market" in said.split(f'href="{link}"', 1)[1][:60]
            assert leaves or f"log={log}" in link


def test_page_of_a_payout_of_very_many_shows_the_first_and_says_where_the_rest_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ui.page.parts.settled.OUTPUTS_SHOWN", 2)
    said = money({"payout": "4"})
    outputs = payout.transaction(told().books.payouts[4].planned, told().books.payouts[4].allotted, 0).outputs
    assert f"2 of {len(outputs)} outputs" in said


def test_states_of_all_payouts_are_those_of_the_books() -> None:
    for seed in range(3):
        day = Payday(seed).run(200)
        archive = Archive(day.records)
        view = Past(Folds(archive).at(archive.head()), archive)
        assert {one.epoch: State(one.state) for one in view.settled.payouts(1_000)} == {
            epoch: found.state for epoch, found in day.books.payouts.items()
        }
