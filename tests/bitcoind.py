"""A server that answers Bitcoin Core's JSON-RPC as its documentation says, over the embedded node.

Bitcoin Core itself cannot be had as a package. So the adapter meets the documented shapes, codes and reasons here, the
chain behind them being real; what it cannot make (other networks, old versions, estimates) is recorded in
``tests/golden/bitcoind`` and put into ``recorded``.

Source: Bitcoin Core 28 to 30, rpc/blockchain.cpp, rpc/mempool.cpp, rpc/fees.cpp, rpc/protocol.h, httprpc.cpp.
"""

import base64
import json
import re
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from domain.bitcoin import OutPoint, parse, parse_header, txid
from services.ports import BlockId, Unspent
from services.settlement.errors import Reason, TransactionRefused
from services.settlement.node import Node

#: What Bitcoin Core says where the embedded node says ``Reason``.
SAID: dict[Reason, str] = {
    "already-confirmed": "txn-already-known",
    "bad-amount": "bad-txns-txouttotal-toolarge",
    "coinbase": "coinbase",
    "dust": "dust, tx with dust output must be 0-fee",
    "duplicate-inputs": "bad-txns-inputs-duplicate",
    "fee-too-high": "max-fee-exceeded",
    "immature-coinbase": "bad-txns-premature-spend-of-coinbase",
    "in-belowout": "bad-txns-in-belowout",
    "mempool-conflict": "insufficient fee",
    "mempool-full": "mempool full",
    "min-fee": "min relay fee not met",
    "missing-or-spent": "missing-inputs",
    "non-BIP68-final": "non-BIP68-final",
    "non-final": "non-final",
    "nonstandard": "version",
    "script-verify": "mempool-script-verify-flag-failed (Operation not valid with the current stack size)",
    "too-large": "tx-size",
}


class Failure(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Bitcoind:
    """Serves while it is entered.

    Attributes:
        recorded: Answers by method that are given instead of the node's: a result, or a ``Failure``.
        asked: Every call so far.
    """

    def __init__(self, node: Node, *, user: str = "pasar", password: str = "p@ss:w/rd") -> None:
        self.node = node
        self.user, self.password = user, password
        self.recorded: dict[str, Any] = {}
        self.asked: list[tuple[str, list[Any]]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self.host}"

    def mine(self, blocks: int, script: bytes) -> BlockId:
        with self._lock:
            for _ in range(blocks):
                self.node.mine(script)
            return self.node.tip

    def fork(self, height: int, blocks: int, script: bytes, transactions: Sequence[bytes] = ()) -> BlockId:
        with self._lock:
            return self.node.fork(height, blocks, script, transactions)

    def coins(self, script: bytes) -> list[Unspent]:
        with self._lock:
            return self.node.coins(script)

    def answer(self, method: str, params: list[Any]) -> Any:
        self.asked.append((method, params))
        if method in self.recorded:
            recorded = self.recorded[method]
            if isinstance(recorded, Failure):
                raise recorded
            return recorded
        known = getattr(self, f"on_{method}", None)
        if known is None:
            raise Failure(-32601, "Method not found")
        with self._lock:
            return known(*params)

    def on_getblockchaininfo(self) -> Any:
        tip = self.node.tip
        return {
            "chain": "regtest",
            "blocks": tip.height,
            "headers": tip.height,
            "bestblockhash": tip.hash,
            "difficulty": 4.656542373906925e-10,
            "verificationprogress": 1,
            "initialblockdownload": True,
            "pruned": False,
            "warnings": [],
        }

    def on_getnetworkinfo(self) -> Any:
        return {"version": 290000, "subversion": "/Satoshi:29.0.0/", "relayfee": btc(1000), "networkactive": True}

    def on_getblockhash(self, height: int) -> str:
        if not 0 <= height <= self.node.tip.height:
            raise Failure(-8, "Block height out of range")
        return self.node.index.at(height).hash

    def on_getblock(self, name: str, verbosity: int = 1) -> Any:
        height = self._height(name)
        (block,) = self.node.blocks(height, 1)
        if verbosity == 0:
            return self.node.index.raw(height).hex()
        header = parse_header(block.header)
        return {
            "hash": name,
            "height": height,
            "confirmations": self.node.tip.height - height + 1,
            "merkleroot": header.merkle_root[::-1].hex(),
            "previousblockhash": block.previous,
            "tx": [txid(parse(raw)) for raw in block.transactions],
        }

    def on_getblockheader(self, name: str, verbose: bool = True) -> Any:
        height = self._height(name)
        (block,) = self.node.blocks(height, 1)
        if not verbose:
            return block.header.hex()
        return {"hash": name, "height": height, "confirmations": self.node.tip.height - height + 1}

    def on_gettxout(self, name: str, vout: int, include_mempool: bool = True) -> Any:
        outpoint = OutPoint(name, vout)
        coin = self.node.index.coins.get(outpoint)
        height = self.node.tip.height
        if include_mempool and self.node.pool.spender(outpoint) is not None:
            return None
        if coin is None:
            parent = self.node.pool.waiting.get(name) if include_mempool else None
            if parent is None or vout >= len(parent.tx.outputs):
                return None
            output = parent.tx.outputs[vout]
            coin = Unspent(outpoint, output.value_sat, output.script, height + 1, coinbase=False)
        return {
            "bestblock": self.node.tip.hash,
            "confirmations": height - coin.height + 1,
            "value": btc(coin.value_sat),
            "scriptPubKey": {"asm": "", "hex": coin.script.hex(), "type": "witness_v0_scripthash"},
            "coinbase": coin.coinbase,
        }

    def on_testmempoolaccept(self, raws: list[str], maxfeerate: Any = None) -> Any:
        (raw,) = map(bytes.fromhex, raws)
        answer: dict[str, Any] = {"txid": (name := txid(parse(raw))), "wtxid": name}
        if name in self.node.pool.waiting:
            return [answer | {"allowed": False, "reject-reason": "txn-already-in-mempool"}]
        try:
            checked = self.node.check(raw)
        except TransactionRefused as refusal:
            said = SAID[refusal.reason].partition(", ")[0]
            return [answer | {"allowed": False, "reject-reason": said, "reject-details": SAID[refusal.reason]}]
        fees = {"base": btc(checked.fee_sat), "effective-feerate": btc(checked.fee_sat * 1000 // checked.vsize)}
        return [answer | {"allowed": True, "vsize": checked.vsize, "fees": fees}]

    def on_sendrawtransaction(self, raw: str, maxfeerate: Any = None) -> str:
        try:
            name = txid(parse(bytes.fromhex(raw)))
            if name in self.node.index.confirmed:
                raise Failure(-27, "Transaction outputs already in utxo set")
            return self.node.send(bytes.fromhex(raw))
        except TransactionRefused as refusal:
            if refusal.reason == "missing-or-spent":
                raise Failure(-25, "bad-txns-inputs-missingorspent") from None
            if refusal.reason == "fee-too-high":
                raise Failure(-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)") from None
            raise Failure(-26, SAID[refusal.reason]) from None

    def on_getmempoolentry(self, name: str) -> Any:
        waiting = self.node.pool.waiting.get(name)
        if waiting is None:
            raise Failure(-5, "Transaction not in mempool")
        fees = {"base": btc(waiting.fee_sat), "modified": btc(waiting.fee_sat)}
        return {"vsize": waiting.vsize, "weight": waiting.weight, "fees": fees, "bip125-replaceable": True}

    def on_getrawtransaction(self, name: str) -> str:
        waiting = self.node.pool.waiting.get(name)
        if waiting is None:
            raise Failure(
                -5,
                "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain "
                "transaction queries. Use gettransaction for wallet transactions.",
            )
        return waiting.raw.hex()

    def on_estimatesmartfee(self, target: int, mode: str = "economical") -> Any:
        return {"errors": ["Insufficient data or no feerate found"], "blocks": max(target, 2)}

    def on_getmempoolinfo(self) -> Any:
        return {
            "loaded": True,
            "size": len(self.node.pool.waiting),
            "mempoolminfee": btc(1000),
            "minrelaytxfee": btc(1000),
        }

    def _height(self, name: str) -> int:
        if name not in self.node.index:
            raise Failure(-5, "Block not found")
        return self.node.index.place(name).height


def btc(sat: int) -> str:
    """An amount as the node writes it: a number with eight places, which ``_encode`` takes out of its quotes."""
    return f"BTC:{sat // 10**8}.{sat % 10**8:08d}"


def _encode(answer: Any) -> bytes:
    return re.sub(r'"BTC:([0-9.]+)"', r"\1", json.dumps(answer, default=lambda number: f"BTC:{number:f}")).encode()


def _handler(bitcoind: Bitcoind) -> type[BaseHTTPRequestHandler]:
    login = "Basic " + base64.b64encode(f"{bitcoind.user}:{bitcoind.password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Authorization") != login:
                self._reply(401, b"")
                return
            asked = json.loads(body)
            answers = [_answer(bitcoind, one) for one in asked] if isinstance(asked, list) else _answer(bitcoind, asked)
            self._reply(200, _encode(answers))

        def log_message(self, format: str, *args: object) -> None:
            return

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="jsonrpc"')
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _answer(bitcoind: Bitcoind, asked: Any) -> Any:
    try:
        return {"jsonrpc": "2.0", "result": bitcoind.answer(asked["method"], asked["params"]), "id": asked["id"]}
    except Failure as failure:
        error = {"code": failure.code, "message": failure.message}
        return {"jsonrpc": "2.0", "error": error, "id": asked["id"]}
