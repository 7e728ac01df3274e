"""A chain of blocks for tests of money: transactions that spend outputs, blocks that hold them, and forks.

It knows what may be in a block (inputs are there and unspent) and nothing of scripts: who may spend is up to the test.
"""

from collections.abc import Sequence
from functools import cache
from struct import pack
from typing import NamedTuple

from domain import bitcoin
from domain.bitcoin import OutPoint, Tx, TxIn, TxOut
from services.ports import Block, BlockId
from tests.onchain import digest


class Mined(NamedTuple):
    """A block of the best chain; ``txids`` without its coinbase."""

    id: BlockId
    header: bytes
    coinbase: str
    txids: tuple[str, ...]


@cache
def header_over(previous: str, root: bytes) -> bytes:
    """A header with as much work as regtest asks for."""
    for nonce in range(1 << 16):
        found = pack("<I32s32sIII", 0x20000000, bytes.fromhex(previous)[::-1], root, 1_900_000_000, 0x207FFFFF, nonce)
        if bitcoin.has_work(found):
            return found
    raise AssertionError("every other nonce has enough work")


class Chain:
    """The best chain above ``start``, and every transaction that anybody ever made.

    Attributes:
        mined: The height of each transaction in the best chain.
        spent: By output, the transaction of the best chain that spends it.
    """

    def __init__(self, start: BlockId) -> None:
        self.start = start
        self.blocks: list[Mined] = []
        self.known: dict[str, Tx] = {}
        self.mined: dict[str, int] = {}
        self.spent: dict[OutPoint, str] = {}
        self._forks = 0

    @property
    def tip(self) -> BlockId:
        return self.blocks[-1].id if self.blocks else self.start

    def make(self, inputs: Sequence[OutPoint], outputs: Sequence[tuple[int, bytes]]) -> str:
        """A transaction that could be mined."""
        spent = tuple(TxIn(one, bitcoin.RBF) for one in inputs)
        return self.learn(Tx(spent, tuple(TxOut(value, script) for value, script in outputs)))

    def learn(self, tx: Tx) -> str:
        name = bitcoin.txid(tx)
        self.known[name] = tx
        return name

    def may_mine(self, name: str) -> bool:
        """Whether its inputs are there; an output of a transaction that nobody knows is somebody's purse."""
        spent = [one.outpoint for one in self.known[name].inputs]
        made = all(one.txid in self.mined or one.txid not in self.known for one in spent)
        return name not in self.mined and made and not any(one in self.spent for one in spent)

    def mine(self, wanted: Sequence[str] = (), blocks: int = 1) -> list[str]:
        """The next blocks; the first of them holds what can be mined of ``wanted``, in that order."""
        height, held = self.tip.height + 1, list[str]()
        for name in wanted:
            if self.may_mine(name):
                held.append(name)
                self.mined[name] = height
                self.spent |= {one.outpoint: name for one in self.known[name].inputs}
        for number in range(blocks):
            self._add(() if number else tuple(held))
        return held

    def _add(self, txids: tuple[str, ...]) -> None:
        height = self.tip.height + 1
        coinbase = digest("coinbase", height, self._forks)
        root = bitcoin.merkle_root_from(coinbase, 0, bitcoin.merkle_branch([coinbase, *txids], 0))
        header = header_over(self.tip.hash, root)
        self.blocks.append(Mined(BlockId(height, bitcoin.block_hash(header)), header, coinbase, txids))

    def fork(self, height: int) -> list[str]:
        """Blocks above ``height`` are gone; what they held, in its order."""
        self._forks += 1
        lost = list[str]()
        while self.blocks and self.blocks[-1].id.height > height:
            lost[:0] = self.blocks.pop().txids
        for name in lost:
            del self.mined[name]
            for one in self.known[name].inputs:
                del self.spent[one.outpoint]
        return lost

    # ------------------------------------------------------------------------------------------- as settlement reads it
    def hash_at(self, height: int) -> str:
        """The block's id; nothing where the chain is not so long."""
        if height == self.start.height:
            return self.start.hash
        return self._at(height).id.hash if height <= self.tip.height else ""

    def _at(self, height: int) -> Mined:
        return self.blocks[height - self.start.height - 1]

    def txids_at(self, height: int) -> tuple[str, ...]:
        return self._at(height).txids

    def block(self, height: int) -> Block:
        """The block as a node gives it, but for its coinbase."""
        found = self._at(height)
        raw = tuple(bitcoin.serialize(self.known[name]) for name in found.txids)
        return Block(found.id, self.hash_at(height - 1), found.header, raw)

    def proof(self, name: str) -> tuple[int, str, int, tuple[str, ...]]:
        """A mined transaction's height, header, place and branch."""
        found = self._at(self.mined[name])
        held = [found.coinbase, *found.txids]
        place = held.index(name)
        branch = tuple(beside.hex() for beside in bitcoin.merkle_branch(held, place))
        return found.id.height, found.header.hex(), place, branch
