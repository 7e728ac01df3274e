import re

import pytest

from services.projections.queries import Escrow
from tests.page.recorded import Recorded, demo, look, text
from tests.simulate import Simulation


def the_escrow(market: Recorded) -> Escrow:
    (found,) = market.view(None).escrows()
    return found


def test_money_adds_up_for_clients_and_workers_alike() -> None:
    said = text(look(demo(), "money"))
    assert said.count("✓ adds up") == 2
    assert "✗" not in said
    assert "903.04 sat" in said
    assert "lost by rulings; nobody gets it" in said


def test_money_in_bitcoin_is_the_same_money() -> None:
    said = text(look(demo(), "money", {"unit": "btc"}))
    assert "0.0000090304 BTC" in said
    assert not re.search(r"\d sat<", said)


def test_amounts_are_links_to_the_movements_behind_them() -> None:
    market = demo()
    said = text(look(market, "money"))
    assert re.search(r'href="/money\?move=EscrowReleased"[^>]*>96 sat<', said)
    paid = text(look(market, "money", {"move": "EscrowReleased"}))
    assert paid.count("paid</span> to") == 40
    assert "older movements" in paid


def test_account_is_walked_back_to_nothing_page_by_page() -> None:
    market = demo()
    query = {"escrow": the_escrow(market).escrow[:10]}
    said = text(look(market, "money", query))
    assert "nothing is left before the first one" not in said
    older = re.search(r"before=(\d+)", said)
    assert older is not None
    last = text(look(market, "money", {**query, "before": older[1]}))
    assert "nothing is left before the first one" in last
    assert "put in</span>" in last


def test_account_whose_row_is_wrong_does_not_close(monkeypatch) -> None:
    market = demo()
    row = the_escrow(market)
    wrong = Escrow(**{name: getattr(row, name) for name in row.__struct_fields__} | {"free_msat": row.free_msat - 1})
    monkeypatch.setattr("services.viewing.past.Past.escrow", lambda self, id_: wrong)
    said = text(look(market, "money", {"escrow": row.escrow}))
    assert "✗ does not add up" in said
    assert "0.001 sat are missing" in said


@pytest.mark.parametrize(("on_chain", "sums"), [(False, 2), (True, 4)])
def test_money_of_any_history_adds_up(on_chain: bool, sums: int) -> None:
    said = text(look(Recorded(Simulation(5, on_chain=on_chain).run(600).records), "money"))
    assert said.count("✓ adds up") == sums
    assert "✗" not in said


def test_money_of_an_empty_market_says_what_to_do() -> None:
    said = text(look(Recorded([]), "money"))
    assert "pasar escrow fund 1000" in said
    assert "No such movement yet" in said


def test_movement_that_does_not_exist_is_refused_with_those_that_do() -> None:
    (error,) = look(demo(), "money", {"move": "Theft"}).error
    assert "no movement of money is called Theft" in error.value
