"""Bitcoin Core's adapter: who the node is, how it lets us in, what it says and what is never sent to it."""

import json
import socket
import threading
import traceback
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from domain.bitcoin import Network
from services.config import BadSetting, from_environment
from services.settlement.core import BitcoinCore
from services.settlement.errors import (
    BadNodeUrl,
    CookieUnreadable,
    NodeAccess,
    NodeAnswer,
    NodeNotReady,
    NodeTooOld,
    NodeUnreachable,
    TransactionRefused,
    WrongNetwork,
)
from services.settlement.rpc import Rpc, RpcError, sats
from tests.bitcoind import Bitcoind, Failure
from tests.chain import FEE_SAT, MINE, a_rich_node, build, output_of, shown, spend

GOLDEN = Path(__file__).parents[1] / "golden" / "bitcoind"


def golden(method: str) -> Any:
    return json.loads((GOLDEN / f"{method}.json").read_text(), parse_float=Decimal)


@pytest.fixture
def bitcoind(tmp_path: Path) -> Iterator[Bitcoind]:
    node = a_rich_node(tmp_path)
    with Bitcoind(node) as bitcoind:
        yield bitcoind
    node.close()


async def opened(bitcoind: Bitcoind, **options: int) -> BitcoinCore:
    return await BitcoinCore.open(Rpc(bitcoind.url), "regtest", **options)


async def test_node_of_another_network_is_refused(bitcoind: Bitcoind) -> None:
    network: Network = "main"
    with pytest.raises(WrongNetwork, match="is on regtest and the market on main"):
        await BitcoinCore.open(Rpc(bitcoind.url), network)
    bitcoind.recorded["getblockchaininfo"] = golden("getblockchaininfo")["signet"]
    with pytest.raises(WrongNetwork, match="is on signet and the market on regtest"):
        await opened(bitcoind)
    assert await BitcoinCore.open(Rpc(bitcoind.url), "signet")


async def test_node_that_is_too_old_is_refused_beside_one_that_is_not(bitcoind: Bitcoind) -> None:
    bitcoind.recorded["getnetworkinfo"] = golden("getnetworkinfo")["27"]
    with pytest.raises(NodeTooOld, match="270100; version 280000"):
        await opened(bitcoind)
    for version in ("28", "30"):
        bitcoind.recorded["getnetworkinfo"] = golden("getnetworkinfo")[version]
        assert await opened(bitcoind)


async def test_node_that_starts_or_downloads_is_waited_for(bitcoind: Bitcoind) -> None:
    bitcoind.recorded["getblockchaininfo"] = Failure(-28, "Loading block index…")
    with pytest.raises(NodeNotReady, match="Loading block index"):
        await opened(bitcoind)
    bitcoind.recorded["getblockchaininfo"] = golden("getblockchaininfo")["downloading"]
    core = await BitcoinCore.open(Rpc(bitcoind.url), "signet")
    with pytest.raises(NodeNotReady, match="1234 of 251000 blocks"):
        await core.tip()
    bitcoind.recorded["getblockchaininfo"] = golden("getblockchaininfo")["signet"]
    assert (await core.tip()).height == 251_000


async def test_wrong_password_is_told_without_being_shown(bitcoind: Bitcoind) -> None:
    wrong = Rpc(f"http://pasar:hunter2@{bitcoind.host}")
    with pytest.raises(NodeAccess, match="PASAR_BITCOIN_COOKIE") as refused:
        await BitcoinCore.open(wrong, "regtest")
    assert "hunter2" not in f"{refused.value} {refused.value.facts} {wrong!r}"
    with pytest.raises(NodeAccess):
        await BitcoinCore.open(Rpc(f"http://{bitcoind.host}"), "regtest")


async def test_cookie_is_read_again_at_each_call(bitcoind: Bitcoind, tmp_path: Path) -> None:
    cookie = tmp_path / ".cookie"
    rpc = Rpc(f"http://{bitcoind.host}", cookie=cookie)
    with pytest.raises(CookieUnreadable, match="No such file"):
        rpc.call("getnetworkinfo")
    cookie.write_text("__cookie__:of the last start")
    with pytest.raises(NodeAccess):
        rpc.call("getnetworkinfo")
    cookie.write_text(f"{bitcoind.user}:{bitcoind.password}\n")
    assert rpc.call("getnetworkinfo")["version"] == 290000


def test_node_that_does_not_listen_is_told_with_its_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        with pytest.raises(NodeUnreachable, match=f"{address} does not answer"):
            Rpc(f"http://pasar:hunter2@{address}").call("getnetworkinfo")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://u:hunter2@host:1", "neither http"),
        ("http://u:hunter2@host", "lacks the host or the port"),
        ("http://u:hunter2@:8332", "lacks the host or the port"),
        ("http://u:hunter2@host:99999", "cannot be read"),
        ("http://u:hunter2@[::1:8332", "cannot be read"),
    ],
)
def test_url_that_cannot_be_used_is_refused_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(BadNodeUrl, match=reason) as refused:
        Rpc(url)
    assert "hunter2" not in "".join(traceback.format_exception_only(refused.value))
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"7", b'{"result": 1, "id": 7}', b'[{"result": 1, "id": 0}]', b"null"]
)
def test_answer_of_another_server_is_no_answer(body: bytes) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(NodeAnswer):
            Rpc(f"http://127.0.0.1:{server.server_port}").call("getblockcount")
        thread.join()


def test_batch_puts_each_answer_in_its_place(bitcoind: Bitcoind) -> None:
    heights = [3, 1_000, 0, 2]
    answers = Rpc(bitcoind.url).batch([("getblockhash", (height,)) for height in heights])
    assert [answer for answer in answers if not isinstance(answer, RpcError)] == [
        bitcoind.node.index.at(height).hash for height in (3, 0, 2)
    ]
    assert (answers[1].code, answers[1].message) == (-8, "Block height out of range")
    assert Rpc(bitcoind.url).batch([]) == []


def test_amounts_are_read_to_the_satoshi() -> None:
    text = "[0.29, 20999999.97690000, 0.00000001, 1, 0.1, 1e-8]"
    amounts = json.loads(text, parse_float=Decimal)
    assert [sats(amount) for amount in amounts] == [29_000_000, 2_099_999_997_690_000, 1, 100_000_000, 10_000_000, 1]
    with pytest.raises(NodeAnswer):
        sats(Decimal("0.000000001"))


@pytest.mark.parametrize(
    ("estimate", "pool", "rate_msat"),
    [
        ("none", "empty", 5_000),
        ("bcoin", "empty", 5_000),
        ("low", "empty", 1_000),
        ("usual", "empty", 12_345),
        ("usual", "full", 25_000),
        ("spike", "empty", 1_000_000),
    ],
)
async def test_fee_rate_is_the_estimate_between_what_is_relayed_and_the_cap(
    bitcoind: Bitcoind, estimate: str, pool: str, rate_msat: int
) -> None:
    core = await opened(bitcoind)
    bitcoind.recorded["estimatesmartfee"] = golden("estimatesmartfee")[estimate]
    bitcoind.recorded["getmempoolinfo"] = golden("getmempoolinfo")[pool]
    assert await core.fee_rate(6) == rate_msat
    assert ("estimatesmartfee", [6, "conservative"]) in bitcoind.asked


@pytest.mark.parametrize("said", golden("testmempoolaccept"), ids=lambda said: said["reject-reason"][:40])
async def test_reason_of_the_node_gets_our_name(bitcoind: Bitcoind, said: dict[str, str]) -> None:
    core = await opened(bitcoind)
    raw = spend(bitcoind.node.coins(MINE)[0])
    answer = {name: value for name, value in said.items() if name != "is"}
    bitcoind.recorded["testmempoolaccept"] = [{"txid": "", "wtxid": "", "allowed": False, **answer}]
    with pytest.raises(TransactionRefused) as refused:
        await core.check(raw)
    assert refused.value.reason == said["is"]
    assert str(said.get("reject-details", said["reject-reason"])) in str(refused.value)


@pytest.mark.parametrize("said", golden("sendrawtransaction"), ids=lambda said: said["message"][:40])
async def test_refusal_after_the_check_gets_our_name(bitcoind: Bitcoind, said: dict[str, Any]) -> None:
    core = await opened(bitcoind)
    bitcoind.recorded["sendrawtransaction"] = Failure(said["code"], said["message"])
    with pytest.raises(TransactionRefused) as refused:
        await core.send(spend(bitcoind.node.coins(MINE)[0]))
    assert refused.value.reason == said["is"]


async def test_transaction_that_was_confirmed_after_the_check_is_no_error(bitcoind: Bitcoind) -> None:
    core = await opened(bitcoind)
    bitcoind.recorded["sendrawtransaction"] = Failure(-27, "Transaction outputs already in utxo set")
    raw = spend(bitcoind.node.coins(MINE)[0])
    assert await core.send(raw) == (await core.check(raw)).txid
    bitcoind.recorded["sendrawtransaction"] = Failure(-1, "something new")
    with pytest.raises(NodeAnswer, match="sendrawtransaction with -1: something new"):
        await core.send(raw)


async def test_node_never_sees_what_the_kernel_refuses_beside_what_it_does(bitcoind: Bitcoind) -> None:
    core = await opened(bitcoind)
    tx = build(bitcoind.node.coins(MINE)[:1], [(1_000_000, MINE)])
    with pytest.raises(TransactionRefused, match="script-verify"):
        await core.send(shown(tx, script=b"\x00"))
    shown_to = ("testmempoolaccept", "sendrawtransaction")
    assert not [method for method, _ in bitcoind.asked if method in shown_to]
    raw = spend(bitcoind.node.coins(MINE)[0])
    await core.send(raw)
    assert [call for call in bitcoind.asked if call[0] in shown_to] == [
        ("testmempoolaccept", [[raw.hex()], "0.01000000"]),
        ("sendrawtransaction", [raw.hex(), "0.01000000"]),
    ]


async def test_replacement_of_a_child_is_judged_against_its_waiting_parent(bitcoind: Bitcoind) -> None:
    core = await opened(bitcoind)
    parent = build(bitcoind.node.coins(MINE)[:1], [(4_000_000_000, MINE), (999_990_000, MINE)])
    name = await core.send(shown(parent))
    made = output_of(name, parent)
    child, better = (spend(made, fee_sat=fee_sat) for fee_sat in (FEE_SAT, 3 * FEE_SAT))
    await core.send(child)
    assert (await core.check(better)).fee_sat == 3 * FEE_SAT
    missing = made._replace(outpoint=made.outpoint._replace(vout=2))
    with pytest.raises(TransactionRefused, match="missing-or-spent"):
        await core.check(spend(missing))


async def test_blocks_of_two_branches_are_not_mixed(bitcoind: Bitcoind) -> None:
    core = await opened(bitcoind)
    raw = bitcoind.node.index.raw(119)
    bitcoind.recorded["getblock"] = raw.hex()
    assert [block.id.height for block in await core.blocks(117, 3)] == [117]


def test_settings_of_the_node_are_read_and_its_password_is_in_no_repr() -> None:
    settings = from_environment(
        {
            "PASAR_HOME": "/nowhere",
            "PASAR_BITCOIN_RPC_URL": "http://u:hunter2@host:8332",
            "PASAR_BITCOIN_COOKIE": "/data/.cookie",
            "PASAR_BITCOIN_CONFIRMATIONS": "3",
        }
    )
    assert settings.bitcoin_rpc_url is not None
    assert settings.bitcoin_rpc_url.reveal() == "http://u:hunter2@host:8332"
    assert (settings.bitcoin_cookie, settings.bitcoin_confirmations) == (Path("/data/.cookie"), 3)
    assert "hunter2" not in f"{settings!r} {settings}"
    for wrong in ("0", "145", "-1", "three"):
        with pytest.raises(BadSetting, match="from 1 to 144"):
            from_environment({"PASAR_HOME": "/nowhere", "PASAR_BITCOIN_CONFIRMATIONS": wrong})
