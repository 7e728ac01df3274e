"""What the command line and a notebook tell of payouts and of an escrow on the chain, out of a real database."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from domain import bitcoin, payout
from domain.settlement import UnknownPayout
from services.client.listing import Listing
from services.client.payouts import COLUMNS, Chain, payout_of
from services.config import Settings
from services.ledger.reader import LogReader
from services.projections.queries import Reader
from services.projections.runner import Projector
from tests.history import write_log
from tests.payouts import Payday, told
from tests.system.test_projections import running
from ui.cli import app
from ui.commands import escrow as escrow_command
from ui.commands import running as commands


async def keep(database_url: str, day: Payday) -> None:
    """The history as a log with its read models."""
    await write_log(database_url, day.records)
    log = await LogReader.open(database_url)
    async with running(Projector(log, database_url)) as projector:
        await projector.caught_up(len(day.records))
    await log.close()


@pytest.fixture
def market(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Payday:
    """A market whose commands read ``told()``."""
    settings = Settings(home=tmp_path, database_url=database_url)
    for module in (commands, escrow_command):
        monkeypatch.setattr(module, "attached", lambda: settings)
    asyncio.run(keep(database_url, told()))
    return told()


def pasar(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status, (done.output, done.exception)
    return done.stdout


def in_json(*arguments: str) -> Any:
    return json.loads(pasar(*arguments, "--json"))


def test_payouts_are_listed_and_shown_as_the_log_has_them(market: Payday) -> None:
    listed = in_json("payout", "list")
    assert [one["epoch"] for one in listed] == [4, 3, 2, 1]
    assert [one["state"] for one in listed] == ["sent", "confirmed", "abandoned", "confirmed"]
    assert len(in_json("payout", "list", "--limit", "2")) == 2
    for row in listed:
        found, books = in_json("payout", "show", str(row["epoch"])), market.books.payouts[row["epoch"]]
        assert found["holds"] == {"anchor": True, "receipts": True, "root": True}
        tx = bitcoin.parse(bytes.fromhex(found["raw"]))
        ids = [bitcoin.txid(payout.transaction(books.planned, books.allotted, n)) for n in range(len(found["ladder"]))]
        assert [rung["txid"] for rung in found["ladder"]] == ids
        assert found["txid"] == bitcoin.txid(tx)
        assert found["txid"] in (row["txid"], ids[0])
        assert [(out["value_sat"], out["script"]) for out in found["outputs"]] == [
            (out.value_sat, out.script.hex()) for out in tx.outputs
        ]
        spent = sum(one["value_sat"] for one in found["inputs"])
        assert spent - sum(out.value_sat for out in tx.outputs) == found["ladder"][ids.index(found["txid"])]["fee_sat"]


def test_payouts_are_told_in_words(market: Payday) -> None:
    said = pasar("payout", "list")
    assert "86,004 sat  3 payees  806 sat    0.94 %" in said
    one = pasar("payout", "show", "3")
    assert "Paid: in block 115, 2 blocks deep." in one
    assert "760 sat of it from those who take money out" in one
    assert "stake, taken back, less 380 sat of the fee" in one
    assert one.count(": it is the") == 1
    assert one.count(": it is that of") == 2
    assert "job bb527011 10,000 sat" in pasar("payout", "show", "1")


def test_payout_that_there_is_not_is_refused(market: Payday) -> None:
    for epoch in ("5", "99"):
        with pytest.raises(UnknownPayout, match=f"there is no payout {epoch}; `pasar payout list` shows"):
            CliRunner().invoke(app, ["payout", "show", epoch], catch_exceptions=False)


def test_payout_whose_log_was_changed_is_shown_as_wrong(database_url: str, market: Payday) -> None:
    async def tamper() -> None:
        import asyncpg

        connection = await asyncpg.connect(database_url)
        schema = await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'payouts'")
        await connection.execute(f"UPDATE {schema}.payouts SET root = repeat('0', 64) WHERE epoch = 1")
        await connection.close()

    asyncio.run(tamper())
    said = pasar("payout", "show", "1", status=1)
    assert "it is NOT that of this log" in said


def test_escrow_shows_its_address_term_outputs_and_descriptor(market: Payday) -> None:
    for key, terms in market.books.terms.items():
        if terms[0].account != "escrow":
            continue
        found = in_json("escrow", "show", key)
        chain, term = found["chain"], terms[-1]
        assert chain["address"] == bitcoin.address(term.script, "regtest")
        assert chain["paid_to"] == bitcoin.address(term.payout_script, "regtest")
        assert chain["descriptor"].startswith("wsh(or_d(multi(2,")
        assert f"after({term.expires_height})" in chain["descriptor"]
        assert f"Its term ends at block {term.expires_height:,}" in chain["term"]
        held = {
            "{}:{}".format(*bitcoin.outpoint(one.outpoint)): one.value_sat
            for one in market.books.coins.values()
            if one.key == key
        }
        assert {one["output"]: one["value_sat"] for one in chain["outputs"]} == held
        assert found["on_chain_msat"] == sum(held.values()) * 1000
        assert found in in_json("escrow", "show", "--all")
        said = pasar("escrow", "show", key)
        assert chain["address"] in said
        assert chain["descriptor"] in said


async def test_notebook_shows_the_chain_its_payouts_and_one_in_full(database_url: str) -> None:
    await keep(database_url, told())
    async with await Reader.open(database_url) as reader:
        row = await reader.settled.chain()
        assert row is not None
        chain, rows = Chain(row), Listing(await reader.settled.payouts(), COLUMNS)
        one = await payout_of(reader, 3)
    assert (chain.network, chain.height, chain.confirmations) == ("regtest", told().books.height, 1)
    assert "Play money: this chain is this machine's own." in repr(chain)
    assert "epoch" in repr(rows)
    assert "89,360 sat" in repr(rows)
    assert "<table>" in rows._repr_mimebundle_()["text/html"]
    card = one._repr_mimebundle_()
    assert "payout 3 of 89,360 sat to 5 payees" in card["text/plain"]
    assert "Paid: in block 115" in card["text/html"]
    assert all(one.holds.values())
    assert bitcoin.txid(bitcoin.parse(bytes.fromhex(one.raw))) == one.txid
