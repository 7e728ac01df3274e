"""A Bitcoin Core node, 28 or later, as ``services.ports.Chain``: any network, no wallet, no index, pruned or not.

Source: Bitcoin Core's RPC documentation and rpc/mempool.cpp, validation.cpp and policy/policy.cpp for the reasons.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from domain.bitcoin import Network, OutPoint, Tx, TxOut, merkle_branch, parse, parse_header
from domain.errors import Refused
from services.ports import Block, BlockId, Checked, Proof, Unspent
from services.settlement import policy
from services.settlement.blocks import HEADER_BYTES, split
from services.settlement.errors import (
    NodeAnswer,
    NodeNotReady,
    NodeTooOld,
    NotInBlock,
    Reason,
    TransactionRefused,
    WrongNetwork,
)
from services.settlement.kernel import verify_scripts
from services.settlement.rpc import Rpc, RpcError, sats

VERSION_MIN: Final = 280000
#: Msat for each virtual byte where the node has seen too little to tell.
FALLBACK_MSAT: Final = 5_000
_TARGET_MAX: Final = 1008
_NOT_FOUND, _OUT_OF_RANGE, _ALREADY_CONFIRMED = -5, -8, -27
_REJECTED: Final = (-25, -26)

#: It came in since we looked; with other witnesses it is the same transaction all the same.
_WAITING: Final = ("txn-already-in-mempool", "txn-same-nonwitness-data-in-mempool")

#: How Bitcoin Core begins its reasons, the longer of two like ones first.
_REASONS: Final[Mapping[str, Reason]] = {
    "txn-already-known": "already-confirmed",
    "Transaction outputs already in utxo set": "already-confirmed",
    "missing-inputs": "missing-or-spent",
    "bad-txns-inputs-missingorspent": "missing-or-spent",
    "txn-mempool-conflict": "mempool-conflict",
    "insufficient fee": "mempool-conflict",
    "too many potential replacements": "mempool-conflict",
    "replacement-": "mempool-conflict",
    "bad-txns-spends-conflicting-tx": "mempool-conflict",
    "bad-txns-premature-spend-of-coinbase": "immature-coinbase",
    "non-final": "non-final",
    "non-BIP68-final": "non-BIP68-final",
    "bad-txns-in-belowout": "in-belowout",
    "dust": "dust",
    "min relay fee not met": "min-fee",
    "mempool min fee not met": "min-fee",
    "tx-size-small": "nonstandard",
    "tx-size": "too-large",
    "bad-txns-oversize": "too-large",
    "bad-txns-vout-": "bad-amount",
    "bad-txns-txouttotal-toolarge": "bad-amount",
    "bad-txns-inputs-duplicate": "duplicate-inputs",
    "coinbase": "coinbase",
    "mandatory-script-verify-flag": "script-verify",
    "non-mandatory-script-verify-flag": "script-verify",
    "mempool-script-verify-flag": "script-verify",
    "block-script-verify-flag": "script-verify",
    "max-fee-exceeded": "fee-too-high",
    "Fee exceeds maximum": "fee-too-high",
    "mempool full": "mempool-full",
    "too-long-mempool-chain": "mempool-full",
    "too-large-cluster": "mempool-full",
}


class BitcoinCore:
    """Made by ``open``."""

    def __init__(self, rpc: Rpc, network: Network, *, cap_msat: int, fallback_msat: int) -> None:
        self._rpc, self._network = rpc, network
        self._cap_msat, self._fallback_msat = cap_msat, fallback_msat

    @classmethod
    async def open(
        cls,
        rpc: Rpc,
        network: Network,
        *,
        cap_msat: int = policy.CAP_MSAT,
        fallback_msat: int = FALLBACK_MSAT,
    ) -> "BitcoinCore":
        """Ask the node who it is.

        Args:
            cap_msat: The most that a transaction may pay for each virtual byte; the node refuses beyond it, too.
            fallback_msat: What to pay where the node has no estimate.
        Raises:
            WrongNetwork, NodeTooOld: It is another node than the market needs.
            Refused: It cannot be reached, refuses the login or is still starting.
        """
        core = cls(rpc, network, cap_msat=cap_msat, fallback_msat=fallback_msat)
        await asyncio.to_thread(core._verify_node)
        return core

    async def tip(self) -> BlockId:
        return await asyncio.to_thread(self._tip)

    async def blocks(self, start: int, limit: int) -> Sequence[Block]:
        return await asyncio.to_thread(self._blocks, start, limit)

    async def utxo(self, outpoint: OutPoint) -> Unspent | None:
        return await asyncio.to_thread(self._utxo, outpoint)

    async def check(self, raw: bytes) -> Checked:
        return await asyncio.to_thread(self._check, raw)

    async def send(self, raw: bytes) -> str:
        return await asyncio.to_thread(self._send, raw)

    async def fee_rate(self, target: int) -> int:
        return await asyncio.to_thread(self._fee_rate, target)

    async def proof(self, txid: str, height: int) -> Proof:
        return await asyncio.to_thread(self._proof, txid, height)

    def _verify_node(self) -> None:
        chain, node = self._all(("getblockchaininfo", ()), ("getnetworkinfo", ()))
        if chain["chain"] != self._network:
            raise WrongNetwork(address=self._rpc.address, found=chain["chain"], network=self._network)
        if node["version"] < VERSION_MIN:
            raise NodeTooOld(address=self._rpc.address, found=node["version"], needed=VERSION_MIN)

    def _tip(self) -> BlockId:
        chain = self._ask("getblockchaininfo")
        if chain["initialblockdownload"] and self._network != "regtest":  # there it says so until a block is recent
            reason = f"it has {chain['blocks']} of {chain['headers']} blocks"
            raise NodeNotReady(address=self._rpc.address, reason=reason)
        return BlockId(chain["blocks"], chain["bestblockhash"])

    def _blocks(self, start: int, limit: int) -> list[Block]:
        blocks = list[Block]()
        hashes = self._rpc.batch([("getblockhash", (height,)) for height in range(start, start + limit)])
        for height, name in enumerate(hashes, start):
            if isinstance(name, RpcError) and name.code == _OUT_OF_RANGE:
                break
            raw = bytes.fromhex(self._ask("getblock", _result("getblockhash", name), 0))
            header = raw[:HEADER_BYTES]
            previous = parse_header(header).previous[::-1].hex()
            if blocks and previous != blocks[-1].id.hash:  # the chain forked between two answers
                break
            blocks.append(Block(BlockId(height, name), previous, header, tuple(split(raw))))
        return blocks

    def _utxo(self, outpoint: OutPoint) -> Unspent | None:
        output = self._ask("gettxout", *outpoint, False)
        if output is None:
            return None
        seen_at = self._ask("getblockheader", output["bestblock"])["height"]
        height = seen_at - output["confirmations"] + 1
        return Unspent(outpoint, *_output(output), height, output["coinbase"])

    def _check(self, raw: bytes) -> Checked:
        sized = policy.read(raw)
        if (waiting := self._waiting(sized.txid)) is not None:
            return waiting
        spent = self._spent(sized.tx)
        if spent is not None:
            verify_scripts(raw, spent)
        (answer,) = self._ask("testmempoolaccept", [raw.hex()], self._cap())
        if not answer["allowed"]:
            said = answer.get("reject-reason", answer.get("package-error", ""))
            if said in _WAITING and (waiting := self._waiting(sized.txid)) is not None:
                return waiting
            raise _refusal(said, answer.get("reject-details", ""))
        if spent is None:  # it came into being between two answers; nothing passes here that the kernel did not judge
            raise TransactionRefused(reason="missing-or-spent", detail="an input is not known yet")
        return Checked(sized.txid, sats(answer["fees"]["base"]), answer["vsize"])

    def _send(self, raw: bytes) -> str:
        name = policy.read(raw).txid
        try:
            self._check(raw)
            self._rpc.call("sendrawtransaction", raw.hex(), self._cap())
        except TransactionRefused as refusal:
            if refusal.reason != "already-confirmed":
                raise
        except RpcError as error:
            if error.code in _REJECTED:
                raise _refusal(error.message) from error
            if error.code != _ALREADY_CONFIRMED:
                raise _unexpected("sendrawtransaction", error) from error
        return name

    def _fee_rate(self, target: int) -> int:
        blocks = min(max(target, 1), _TARGET_MAX)
        estimate, pool = self._all(("estimatesmartfee", (blocks, "conservative")), ("getmempoolinfo", ()))
        # BTC for each 1,000 virtual bytes is the same number of satoshi as of msat for each byte.
        rate_msat = sats(estimate.get("feerate", 0))
        if rate_msat <= 0:
            rate_msat = self._fallback_msat
        return min(max(rate_msat, sats(pool["mempoolminfee"]), policy.FLOOR_MSAT), self._cap_msat)

    def _proof(self, txid: str, height: int) -> Proof:
        try:
            name = self._rpc.call("getblockhash", height)
        except RpcError as error:
            if error.code == _OUT_OF_RANGE:
                raise NotInBlock(txid=txid, height=height) from error
            raise _unexpected("getblockhash", error) from error
        block, header = self._all(("getblock", (name, 1)), ("getblockheader", (name, False)))
        if txid not in block["tx"]:
            raise NotInBlock(txid=txid, height=height)
        index = block["tx"].index(txid)
        return Proof(bytes.fromhex(header), index, tuple(merkle_branch(block["tx"], index)))

    def _waiting(self, txid: str) -> Checked | None:
        try:
            entry = self._rpc.call("getmempoolentry", txid)
        except RpcError as error:
            if error.code == _NOT_FOUND:
                return None
            raise _unexpected("getmempoolentry", error) from error
        return Checked(txid, sats(entry["fees"]["base"]), entry["vsize"])

    def _spent(self, tx: Tx) -> list[TxOut] | None:
        """The outputs that a transaction spends, also where a transaction that waits made or spends them."""
        confirmed = self._all(*(("gettxout", (*source.outpoint, False)) for source in tx.inputs))
        spent = list[TxOut]()
        for source, output in zip(tx.inputs, confirmed, strict=True):
            found = _output(output) if output is not None else self._unconfirmed(source.outpoint)
            if found is None:
                return None
            spent.append(found)
        return spent

    def _unconfirmed(self, outpoint: OutPoint) -> TxOut | None:
        try:
            outputs = parse(bytes.fromhex(self._rpc.call("getrawtransaction", outpoint.txid))).outputs
        except RpcError as error:
            if error.code == _NOT_FOUND:
                return None
            raise _unexpected("getrawtransaction", error) from error
        return outputs[outpoint.vout] if outpoint.vout < len(outputs) else None

    def _cap(self) -> str:
        """The cap as the node reads it: BTC for each 1,000 virtual bytes."""
        return f"{self._cap_msat // 10**8}.{self._cap_msat % 10**8:08d}"

    def _ask(self, method: str, *params: object) -> Any:
        (answer,) = self._all((method, params))
        return answer

    def _all(self, *calls: tuple[str, Sequence[object]]) -> list[Any]:
        answers = self._rpc.batch(calls)
        return [_result(method, answer) for (method, _), answer in zip(calls, answers, strict=True)]


def _result(method: str, answer: Any) -> Any:
    if isinstance(answer, RpcError):
        raise _unexpected(method, answer)
    return answer


def _output(output: Any) -> TxOut:
    return TxOut(sats(output["value"]), bytes.fromhex(output["scriptPubKey"]["hex"]))


def _refusal(said: str, details: str = "") -> TransactionRefused:
    for start, reason in _REASONS.items():
        if said.startswith(start):
            return TransactionRefused(reason=reason, detail=details or said)
    return TransactionRefused(reason="nonstandard", detail=details or said or "no more is told")


def _unexpected(method: str, error: RpcError) -> Refused:
    return NodeAnswer(method=method, code=error.code, reason=error.message)
