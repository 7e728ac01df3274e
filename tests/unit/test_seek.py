"""The box finds what other tools call a transaction, an output, an address or a block."""

import pytest

from domain.bitcoin import address, outpoint, script_beginnings
from domain.events import PayoutBroadcast
from services.ledger.codec import decode_stored
from services.viewing.archive import Archive
from services.viewing.past import Folds, Past
from services.viewing.search import Found, search
from tests.minting import p2wpkh
from tests.page.recorded import demo
from tests.payouts import told


@pytest.fixture(scope="module")
def view() -> Past:
    archive = Archive(told().records)
    return Past(Folds(archive).at(archive.head()), archive)


def places(view: Past, text: str) -> list[Found]:
    return list(search(view, text).found)


def test_every_transaction_and_anchor_of_a_payout_leads_to_it(view: Past) -> None:
    for payout in view.settled.payouts():
        for name in (payout.txid, payout.anchor, payout.root, payout.block):
            if name is not None:
                assert [(one.page, one.query) for one in places(view, name)] == [
                    ("money", {"payout": str(payout.epoch)})
                ]
                assert places(view, name[:12].upper())[0].name == name


def test_transaction_that_another_rung_replaced_still_leads_to_its_payout(view: Past) -> None:
    sent = [decode_stored(stored) for stored in view.events("PayoutBroadcast")]
    first = next(one for one in sent if isinstance(one, PayoutBroadcast))
    assert first.txid != view.settled.payout(first.epoch).txid
    (found,) = places(view, first.txid)
    assert (found.what, found.query) == ("transaction that payout 1 was sent as", {"payout": "1"})


def test_every_address_leads_to_its_account(view: Past) -> None:
    for term in view.settled.terms():
        query = {"escrow": term.key} if term.account == "escrow" else {"stake": term.key}
        for script in (term.script, term.paid_to):
            whole = address(bytes.fromhex(script), "regtest")
            assert [(one.name, one.query) for one in places(view, whole)] == [(whole, query)]
            assert whole in [one.name for one in places(view, whole[:14].upper())]
    assert places(view, address(bytes.fromhex(p2wpkh("market")), "regtest"))[0].what.startswith(
        "address that the market"
    )


def test_output_leads_to_its_account_however_it_is_written(view: Past) -> None:
    for account in view.settled.accounts():
        for coin in view.settled.coins(account.key):
            txid, vout = outpoint(coin.outpoint)
            for text in (f"{txid}:{vout}", coin.outpoint):
                assert account.key in [value for one in places(view, text) for value in one.query.values()]


@pytest.mark.parametrize(
    "text", ["bcrt1", "bcrt1b", "bcrt1qqqqqqqqqqqq", "bc1q42", "ffffffffffff", "f" * 64, "f" * 64 + ":7"]
)
def test_what_is_nothing_of_this_market_is_not_found(view: Past, text: str) -> None:
    assert places(view, text) == []


def test_addresses_of_other_networks_and_markets_without_a_chain_have_nothing(view: Past) -> None:
    script = view.settled.terms()[0].script
    assert places(view, address(bytes.fromhex(script), "main")) == []
    assert places(demo().view(None), address(bytes.fromhex(script), "regtest")) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("length", range(7, 43))
def test_beginning_of_an_address_begins_its_script(length: int) -> None:
    script = p2wpkh("anybody")
    whole = address(bytes.fromhex(script), "regtest")
    assert any(script.startswith(one) for one in script_beginnings(whole[:length], "regtest"))
