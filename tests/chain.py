"""What tests of the chain share: money that anybody can spend, ways to spend it, and a clock that stands still."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from domain.bitcoin import RBF, OutPoint, Tx, TxIn, TxOut, p2wsh, with_witness
from services.ports import Unspent
from services.settlement.journal import Journal
from services.settlement.node import CHECKPOINT, Node

#: A witness script that is always satisfied, and the output that it spends.
TRUE = b"\x51"
MINE = p2wsh(TRUE)
#: Where money goes that no test spends again.
AWAY = p2wsh(b"\x00")
FEE_SAT = 1_000


class StillClock:
    """Always the same time: the chain's own time goes on all the same, by a second a block."""

    def now(self) -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC)


def a_node(directory: Path, journal: partial[Journal] | type[Journal] = Journal, checkpoint: int = CHECKPOINT) -> Node:
    return Node(directory, clock=StillClock(), journal=journal, checkpoint=checkpoint)


def a_rich_node(directory: Path, blocks: int = 120) -> Node:
    """A node with coins of 50 bitcoin, ``blocks - 99`` of which can be spent."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "journal").write_bytes(rich_journal(blocks))
    return a_node(directory)


@cache
def rich_journal(blocks: int) -> bytes:
    """The journal of a chain of so many blocks, mined once for all tests."""
    with TemporaryDirectory() as directory:
        node = a_node(Path(directory))
        for _ in range(blocks):
            node.mine(MINE)
        node.close()
        return (Path(directory) / "journal").read_bytes()


def build(
    coins: Sequence[Unspent],
    outputs: Sequence[tuple[int, bytes]],
    *,
    sequence: int = RBF,
    locktime: int = 0,
    version: int = 2,
) -> Tx:
    inputs = tuple(TxIn(coin.outpoint, sequence) for coin in coins)
    return Tx(inputs, tuple(TxOut(*output) for output in outputs), locktime, version)


def shown(tx: Tx, script: bytes = TRUE) -> bytes:
    """The transaction with a witness of nothing but a script, as ``TRUE`` asks for it."""
    return with_witness(tx, [[script]] * len(tx.inputs))


def spend(coin: Unspent, script: bytes = AWAY, *, fee_sat: int = FEE_SAT) -> bytes:
    """A transaction that moves all of one coin of ``MINE``."""
    return shown(build([coin], [(coin.value_sat - fee_sat, script)]))


def output_of(txid: str, tx: Tx, vout: int = 0) -> Unspent:
    """A transaction's output, to build on before it is confirmed."""
    output = tx.outputs[vout]
    return Unspent(OutPoint(txid, vout), output.value_sat, output.script, 0, coinbase=False)
