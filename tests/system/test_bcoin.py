"""A second, independent implementation (bcoin, from npm) agrees with Bitcoin Core's code on our money.

Optional: ``npm install --ignore-scripts bcoin@1.0.2`` somewhere, and ``PASAR_TEST_BCOIN`` set to that directory. Its
RPC is no Bitcoin Core's: ``sendrawtransaction`` answers with the id of whatever it refused, so what counts is its pool
and its blocks.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.bitcoin import TIMELOCKED, OutPoint, p2wsh, parse, txid
from services.ports import Unspent
from services.settlement.errors import Reason, TransactionRefused
from services.settlement.node import Node
from services.settlement.rpc import Rpc
from tests.chain import FEE_SAT, MINE, a_node, build, shown, spend
from tests.spends import ARBITER, MARKET, OWNER, STRANGER, escrow_at, plain, refunded, released

MODULES = os.environ.get("PASAR_TEST_BCOIN", "")
#: Where its regtest has segregated witnesses and relative locks, which it takes from signalling miners.
SEGWIT = 432
ESCROW_SAT = 1_000_000

pytestmark = [
    pytest.mark.bcoin,
    pytest.mark.skipif(
        not MODULES, reason="set PASAR_TEST_BCOIN to where `npm install --ignore-scripts bcoin@1.0.2` was run"
    ),
]


class Bcoin:
    """The other node, and ours beside it, which takes every block that the other mines."""

    def __init__(self, rpc: Rpc, node: Node) -> None:
        self.rpc, self.node = rpc, node

    def mine(self, blocks: int) -> None:
        names = self.rpc.call("generate", blocks)
        self.node.submit([bytes.fromhex(self.rpc.call("getblock", name, False)) for name in names])
        assert self.rpc.call("getbestblockhash") == self.node.tip.hash

    def takes(self, raw: bytes) -> bool:
        """Whether the transaction waits there once it was sent."""
        name = self.rpc.call("sendrawtransaction", raw.hex())
        assert name == txid(parse(raw))
        return name in self.rpc.call("getrawmempool")

    def confirmed(self, raw: bytes) -> bool:
        (block,) = self.node.blocks(self.node.tip.height, 1)
        there = self.rpc.call("gettxout", txid(parse(raw)), 0, False) is not None
        return there and raw in block.transactions


@pytest.fixture(scope="module")
def bcoin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bcoin]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["node", str(Path(__file__).parents[1] / "bcoin.js"), MODULES, str(port), MINE.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        node = a_node(tmp_path_factory.mktemp("beside") / "chain")
        bcoin = Bcoin(Rpc(f"http://bitcoinrpc:sekret@127.0.0.1:{port}"), node)
        bcoin.mine(SEGWIT)
        yield bcoin
        node.close()
        process.stdin.close()


@pytest.fixture
def escrows(bcoin: Bcoin) -> tuple[bytes, Unspent, Unspent]:
    """An escrow script that is due two blocks from now, and two coins of it."""
    coin = bcoin.node.coins(MINE)[0]
    script = escrow_at(bcoin.node.tip.height + 3)
    outputs = [(ESCROW_SAT, p2wsh(script)), (ESCROW_SAT, p2wsh(script))]
    funding = shown(build([coin], [*outputs, (coin.value_sat - 2 * ESCROW_SAT - FEE_SAT, MINE)]))
    assert bcoin.takes(funding)
    bcoin.mine(1)
    assert bcoin.confirmed(funding)
    first, second = (bcoin.node.index.coins[OutPoint(txid(parse(funding)), vout)] for vout in (0, 1))
    return script, first, second


def refused_by_both(bcoin: Bcoin, raw: bytes, reason: Reason) -> None:
    with pytest.raises(TransactionRefused) as refused:
        bcoin.node.check(raw)
    assert refused.value.reason == reason
    assert not bcoin.takes(raw)


def taken_by_both(bcoin: Bcoin, *raws: bytes) -> None:
    for raw in raws:
        assert bcoin.node.check(raw)
        assert bcoin.takes(raw)
    bcoin.mine(1)
    assert all(bcoin.confirmed(raw) for raw in raws)


def test_both_take_a_release_by_any_two_and_refuse_all_others(
    bcoin: Bcoin, escrows: tuple[bytes, Unspent, Unspent]
) -> None:
    script, first, second = escrows
    refused_by_both(bcoin, released(first, [MARKET], script=script), "script-verify")
    refused_by_both(bcoin, released(first, [OWNER, STRANGER], script=script), "script-verify")
    refused_by_both(bcoin, released(first, [ARBITER, MARKET], script=script), "script-verify")
    refused_by_both(
        bcoin, released(first, [MARKET, ARBITER], script=script, signed_sat=ESCROW_SAT + 1), "script-verify"
    )
    taken_by_both(
        bcoin,
        released(first, [MARKET, ARBITER], script=script),
        released(second, [OWNER, MARKET], script=script),
    )
    refused_by_both(bcoin, released(first, [OWNER, ARBITER], script=script), "already-confirmed")


def test_both_take_a_refund_when_it_is_due_and_by_its_key_alone(
    bcoin: Bcoin, escrows: tuple[bytes, Unspent, Unspent]
) -> None:
    script, first, second = escrows
    due = bcoin.node.tip.height + 2
    refused_by_both(bcoin, refunded(first, script, due), "non-final")
    refused_by_both(bcoin, refunded(first, script, due - 2), "script-verify")
    bcoin.mine(2)
    refused_by_both(bcoin, refunded(first, script, due, key=MARKET), "script-verify")
    refused_by_both(bcoin, refunded(first, script, due, sequence=0xFFFFFFFF), "script-verify")
    taken_by_both(
        bcoin,
        refunded(first, script, due, sequence=TIMELOCKED),
        released(second, [OWNER, ARBITER], script=script),
    )


def test_both_refuse_more_out_than_in_and_a_second_spend(bcoin: Bcoin) -> None:
    coin = bcoin.node.coins(MINE)[0]
    refused_by_both(bcoin, plain(coin, less_sat=-1), "in-belowout")
    taken_by_both(bcoin, plain(coin))
    refused_by_both(bcoin, spend(coin, fee_sat=5 * FEE_SAT), "missing-or-spent")


def test_bcoin_takes_our_proof_of_a_transaction(bcoin: Bcoin) -> None:
    raws = [spend(coin) for coin in bcoin.node.coins(MINE)[:5]]
    taken_by_both(bcoin, *raws)
    name = txid(parse(raws[2]))
    proof = bcoin.node.proof(name, bcoin.node.tip.height)
    theirs = bcoin.rpc.call("gettxoutproof", [name])
    assert bytes.fromhex(theirs)[:80] == proof.header
    assert bcoin.rpc.call("verifytxoutproof", theirs) == [name]
    assert all(node in bytes.fromhex(theirs) for node in proof.branch)
