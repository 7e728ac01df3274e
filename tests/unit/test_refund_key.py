"""The refund key for another wallet: as Bitcoin Core writes it, in a descriptor that signs, and nowhere else."""

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from embit.descriptor import Descriptor
from embit.descriptor.checksum import add_checksum
from embit.ec import PrivateKey
from embit.psbt import PSBT
from embit.transaction import Transaction, TransactionOutput
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from typer.testing import CliRunner, Result

from domain.bitcoin import Network, OutPoint, Tx, TxIn, TxOut, parse, script_of, serialize, with_witness
from domain.errors import Refused
from services.config import Settings
from services.settlement import wif
from services.settlement.errors import TransactionRefused
from services.settlement.kernel import verify_scripts
from services.settlement.refund import (
    BadEscrowReceipt,
    Coin,
    EscrowReceipt,
    ForeignWallet,
    describe,
    encode,
    refund,
    spending_descriptor,
)
from services.settlement.wallet import Role, Wallet, wallet
from tests.bitcoin import coin, library, signer
from ui.cli import app
from ui.commands.refunding import NotShown

DOCUMENT = (Path(__file__).parents[2] / "docs" / "refund.md").read_text()
INDEX, HEIGHT, HELD_SAT = 3, 2_016, 400_000
#: Bitcoin Core's src/test/data/key_io_valid.json and its predecessor base58_keys_valid.json.
WIF: list[tuple[Network, str, str]] = [
    (
        "main",
        "55c9bccb9ed68446d1b75273bbce89d7fe013a8acd1625514420fb2aca1a21c4",
        "Kz6UJmQACJmLtaQj5A3JAge4kVTNQ8gbvXuwbmCj7bsaabudb3RD",
    ),
    *(
        (
            network,
            "b9f4892c9e8282028fea1d2667c4dc5213564d41fc5783896a0d843fc15089f3",
            "cTpB4YiyKiBcPxnefsDpbnDxFDffjqJob8wGCEDXxgQ7zQoMXJdH",
        )
        for network in ("regtest", "signet", "testnet4")
    ),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    library()
    monkeypatch.setenv("PASAR_HOME", str(tmp_path / "home"))
    return Settings(home=tmp_path / "home")


@pytest.fixture
def client(home: Settings) -> Wallet:
    return wallet(home, "client", network="regtest")


@pytest.fixture
def receipt(client: Wallet) -> EscrowReceipt:
    return describe(
        network="regtest",
        account="5e" * 12,
        keys=(client.public(Role.release, INDEX), signer("market").key, signer("arbiter").key),
        refund_key=client.public(Role.refund, INDEX),
        expires_height=HEIGHT,
        key_index=INDEX,
        coins=(Coin(coin(0).txid, 0, HELD_SAT),),
    )


@pytest.fixture
def file(receipt: EscrowReceipt, tmp_path: Path) -> Path:
    path = tmp_path / "escrow.json"
    path.write_bytes(encode(receipt))
    return path


@pytest.mark.parametrize(("network", "secret", "text"), WIF)
def test_key_is_written_as_bitcoin_core_writes_it(network: Network, secret: str, text: str) -> None:
    assert wif.encode(bytes.fromhex(secret), network) == text


@given(st.integers(1, 2**250))
def test_key_is_written_as_another_library_writes_and_reads_it(number: int) -> None:
    secret = number.to_bytes(32, "big")
    text = wif.encode(secret, "regtest")
    assert text == PrivateKey(secret).wif({"wif": b"\xef"})
    assert PrivateKey.from_wif(text).secret == secret


def signed_elsewhere(descriptor: str, locktime: int) -> bytes:
    """The refund of the receipt's coin, made by another wallet of the descriptor alone."""
    compiled: Any = Descriptor.from_string(descriptor)
    spent = TxIn(OutPoint(coin(0).txid, 0), 0xFFFFFFFE)
    tx = Tx((spent,), (TxOut(HELD_SAT - 300, bytes.fromhex("0014" + "11" * 20)),), locktime)
    psbt: Any = PSBT(Transaction.read_from(BytesIO(serialize(tx))))
    psbt.inputs[0].witness_utxo = TransactionOutput(HELD_SAT, compiled.script_pubkey())
    psbt.inputs[0].witness_script = compiled.witness_script()
    assert psbt.sign_with(compiled) == 1
    (signature,) = psbt.inputs[0].partial_sigs.values()
    return with_witness(tx, [(signature, b"", b"", b"", compiled.witness_script().data)])


def test_another_wallet_takes_the_money_back_with_the_descriptor_alone(receipt: EscrowReceipt, client: Wallet) -> None:
    descriptor = spending_descriptor(receipt, client).reveal()
    spent = [TxOut(HELD_SAT, script_of(receipt.address, "regtest"))]
    verify_scripts(signed_elsewhere(descriptor, HEIGHT), spent)
    verify_scripts(refund(receipt, client, rate_msat=2_000), spent)
    with pytest.raises(TransactionRefused, match="input 0"):
        verify_scripts(signed_elsewhere(descriptor, HEIGHT - 1), spent)


def test_descriptor_with_the_key_is_the_receipts_with_a_checksum_of_its_own(
    receipt: EscrowReceipt, client: Wallet
) -> None:
    descriptor = spending_descriptor(receipt, client).reveal()
    bare, _, _ = descriptor.partition("#")
    assert descriptor == add_checksum(bare)
    key = client.refund_secret(INDEX).reveal()
    assert bare.replace(key, receipt.refund_key) == receipt.descriptor.partition("#")[0]
    assert f"and_v(v:pk({key}),after({HEIGHT}))" in bare
    assert PrivateKey.from_wif(key).get_public_key().sec().hex() == receipt.refund_key


def test_key_of_another_wallet_network_or_receipt_is_not_given(
    receipt: EscrowReceipt, client: Wallet, home: Settings
) -> None:
    with pytest.raises(ForeignWallet):
        spending_descriptor(receipt, wallet(home, "bob", network="regtest"))
    with pytest.raises(ForeignWallet):
        spending_descriptor(structs.replace(receipt, key_index=INDEX + 1), client)
    with pytest.raises(BadEscrowReceipt, match="opened for signet"):
        spending_descriptor(receipt, wallet(home, "client", network="signet"))
    with pytest.raises(BadEscrowReceipt, match="descriptor does not match"):
        spending_descriptor(structs.replace(receipt, expires_height=HEIGHT - 1), client)
    assert spending_descriptor(receipt, client)


def test_secret_is_shown_to_nobody_who_does_not_ask(receipt: EscrowReceipt, client: Wallet) -> None:
    for secret in (client.refund_secret(INDEX), spending_descriptor(receipt, client)):
        assert secret.reveal() not in f"{secret} {secret!r} {client!r}"


def pasar(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_command_prints_the_key_only_when_it_is_told_to(file: Path, receipt: EscrowReceipt, client: Wallet) -> None:
    key = client.refund_secret(INDEX).reveal()
    hidden = pasar("escrow", "refund-key", "--receipt", str(file))
    assert isinstance(hidden.exception, NotShown)
    assert "whoever sees it can take all" in str(hidden.exception)
    assert key not in hidden.output + str(hidden.exception) + repr(hidden.exception.facts)

    shown = pasar("escrow", "refund-key", "--receipt", str(file), "--show-secret")
    assert shown.stdout.strip() == spending_descriptor(receipt, client).reveal()
    assert "SECRET" in shown.stderr
    assert key not in shown.stderr

    told = json.loads(pasar("escrow", "refund-key", "--receipt", str(file), "--show-secret", "--json").stdout)
    assert told["descriptor"] == shown.stdout.strip()
    assert told["expires_height"] == HEIGHT


def test_command_leaves_the_key_in_no_file(file: Path, client: Wallet, home: Settings) -> None:
    key = client.refund_secret(INDEX).reveal().encode()
    assert pasar("escrow", "refund-key", "--receipt", str(file), "--show-secret").exit_code == 0
    files = [path for path in home.home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if key in path.read_bytes()]


def test_command_refuses_a_foreign_receipt(file: Path, client: Wallet) -> None:
    done = pasar("escrow", "refund-key", "--receipt", str(file), "--show-secret", "--as", "mallory")
    assert isinstance(done.exception, Refused)
    assert "no refund key" in str(done.exception)
    assert done.stdout == ""


def test_refund_signed_here_and_elsewhere_spend_the_same(receipt: EscrowReceipt, client: Wallet) -> None:
    here = parse(refund(receipt, client, rate_msat=2_000))
    there = parse(signed_elsewhere(spending_descriptor(receipt, client).reveal(), HEIGHT))
    assert (here.inputs, here.locktime) == (there.inputs, there.locktime)


def test_program_of_the_document_finds_the_same_key(file: Path, client: Wallet, home: Settings, tmp_path: Path) -> None:
    key = client.refund_secret(INDEX).reveal()
    (program,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    (tmp_path / "key.py").write_text(program)
    files = (home.keys / "client.wallet", file, home.keys / "passphrase")
    ran = subprocess.run(
        (sys.executable, tmp_path / "key.py", *files), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ran.stdout.strip() == key, ran.stderr


def line_of_the_document(start: str) -> str:
    (line,) = (line for line in DOCUMENT.splitlines() if line.startswith(start))
    return line


@pytest.mark.skipif(shutil.which("jq") is None, reason="the lines are typed with jq")
def test_lines_for_bitcoin_core_ask_for_the_refund_of_the_receipt(file: Path, receipt: EscrowReceipt) -> None:
    def bash(script: str) -> Any:
        return json.loads(subprocess.check_output(("bash", "-ec", script), cwd=file.parent, text=True))

    assert bash(f'{line_of_the_document("IN=")}; echo "$IN"') == [
        {"txid": coin(0).txid, "vout": 0, "sequence": 0xFFFFFFFE}
    ]
    (paid,) = bash(f'TO=here; {line_of_the_document("OUT=")}; echo "$OUT"')
    assert paid == {"here": (HELD_SAT - 2 * 152) / 1e8}
    found = {"unspents": [{"txid": "11" * 32, "vout": 7, "amount": 0.00000331, "scriptPubKey": "00"}]}
    (file.parent / "found.json").write_text(json.dumps(found))
    held = bash(line_of_the_document("jq --slurpfile").removesuffix(" > now.json"))
    assert held == {**json.loads(encode(receipt)), "coins": [{"txid": "11" * 32, "vout": 7, "value_sat": 331}]}
    watched = bash(line_of_the_document("jq -c '[{desc").partition(" | bitcoin-cli")[0])
    assert watched == [{"desc": receipt.descriptor, "timestamp": 0}]
