"""A client's money when the market is gone: wallet and receipt are enough."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from domain.bitcoin import script_of
from services.ports import SystemClock
from services.settlement.regtest import RegtestChain
from services.settlement.wallet import wallet
from tests.e2e.pasar import Pasar

DOCUMENT = Path(__file__).parents[2] / "docs" / "refund.md"
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    for line in block.splitlines()
]


@pytest.fixture
def pasar() -> Iterator[Pasar]:
    with tempfile.TemporaryDirectory(prefix="pasar-e2e-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # PostgreSQL runs as another account when the tests run as root
        found = Pasar(home)
        try:
            yield found
        finally:
            found.run("down")
            found.until_gone()


def unspent_sat(home: Path, address: str) -> list[int]:
    """What the chain on this disk holds at the address; no market runs."""

    async def look() -> list[int]:
        chain = await RegtestChain.open(home / "chain", clock=SystemClock())
        try:
            return [coin.value_sat for coin in await chain.coins(script_of(address, "regtest"))]
        finally:
            await chain.close()

    return asyncio.run(look())


def test_client_takes_its_money_back_with_every_service_stopped(pasar: Pasar) -> None:
    pasar.json("up", "--workers", "0", "--no-page")
    pasar.json("escrow", "fund", "50000")
    receipt = pasar.home / "escrow.json"
    pasar.text("escrow", "receipt", "-o", str(receipt))
    pasar.text("down")
    pasar.until_gone()

    refund = pasar.json("escrow", "refund", "--receipt", str(receipt))
    assert refund["value_sat"] + refund["fee_sat"] == 50_000
    assert "non-final" in pasar.run("chain", "send", refund["raw"]).stderr
    kept = msgspec.json.decode(receipt.read_bytes())
    height = pasar.json("chain", "mine")["height"]
    pasar.json("chain", "mine", str(kept["expires_height"] - height))
    assert pasar.json("chain", "send", refund["raw"])["txid"] == refund["txid"]
    own = wallet(pasar.settings, "client", network="regtest").payout_address()
    assert unspent_sat(pasar.home, own) == [refund["value_sat"]]

    pasar.json("up", "--workers", "0", "--no-page")  # the market comes back, and sees that the money is gone
    again = pasar.refusal("job", "post", "option", "--price", "1", "--tasks", "1")
    assert "term" in again or "free" in again
    assert pasar.json("audit")["ok"]


def test_refund_of_another_wallet_or_a_changed_receipt_is_refused(pasar: Pasar) -> None:
    pasar.json("up", "--workers", "0", "--no-page")
    pasar.json("escrow", "fund", "50000")
    receipt = pasar.home / "escrow.json"
    pasar.text("escrow", "receipt", "-o", str(receipt))
    assert "no refund key" in pasar.refusal("escrow", "refund", "--receipt", str(receipt), "--as", "mallory")
    kept = msgspec.json.decode(receipt.read_bytes())
    receipt.write_bytes(msgspec.json.encode(kept | {"expires_height": kept["expires_height"] - 1}))
    assert "descriptor does not match" in pasar.refusal("escrow", "refund", "--receipt", str(receipt))
    assert "amount and --all" in pasar.refusal("escrow", "refund", "5", "--receipt", str(receipt))


@pytest.mark.skipif(shutil.which("jq") is None, reason="the lines are typed with jq")
def test_lines_of_the_document_run_as_they_are_printed(pasar: Pasar) -> None:
    pasar.json("up", "--workers", "0", "--no-page")
    pasar.json("escrow", "fund", "50000")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environ = {**os.environ, "PATH": path, "PASAR_HOME": str(pasar.home)}
    said = dict[str, str]()
    for line in LINES:
        ran = subprocess.run(
            ("bash", "-c", line), cwd=pasar.home, env=environ, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, (line, ran.stderr)
        said[line] = ran.stdout
        if line == "pasar down":
            pasar.until_gone()
    kept = msgspec.json.decode((pasar.home / "escrow.json").read_bytes())
    assert said["pasar escrow refund --receipt escrow.json --json | jq .valid_from_height"].strip() == str(
        kept["expires_height"] + 1
    )
    own = wallet(pasar.settings, "client", network="regtest").payout_address()
    assert len(unspent_sat(pasar.home, own)) == 1
    assert f",after({kept['expires_height']}))))#" in said[LINES[-1]]
