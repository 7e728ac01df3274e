"""The embedded chain as a fold over its journal: the tree of blocks, the active branch, its unspent outputs, with undo.

The active branch is the one that first grew highest, which is Bitcoin's rule where every block holds the same work, as
on regtest. Pure: no clock, no driver; the same blocks in the same order give the same index.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from domain.bitcoin import OutPoint, Tx, block_hash, parse, parse_header, txid
from domain.bitcoin.blocks import merkle_root
from domain.errors import Corrupt
from services.ports import BlockId, Unspent
from services.settlement.blocks import HEADER_BYTES, split

#: The block that every regtest chain begins with. Its reward can never be spent.
GENESIS: Final = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a"
    "51323a9fb8aa4b1e5e4adae5494dffff7f2002000000010100000001000000000000000000000000000000000000000000000000000000000000"
    "0000ffffffff4d04ffff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f"
    "66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b710"
    "5cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
#: A block's time is later than the median of so many before it (BIP113).
_MEDIAN: Final = 11


class Place(NamedTuple):
    """A block in the tree; its bytes are at ``at`` in the journal, the first one's nowhere."""

    id: BlockId
    previous: str
    time: int
    at: int
    length: int


class Undo(NamedTuple):
    """What a block did to the unspent outputs."""

    spent: tuple[Unspent, ...]
    made: tuple[OutPoint, ...]
    txids: tuple[str, ...]


class Move(NamedTuple):
    """How the active branch changed: transactions that left it and that joined it, in a block's order, no rewards."""

    left: Sequence[bytes] = ()
    joined: Sequence[tuple[str, Tx]] = ()


class Index:
    """Attributes:
    coins: Unspent outputs of the active branch.
    confirmed: Height of each transaction of the active branch.
    """

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        """Args:
        read: Bytes of the journal, by place and length.
        """
        self._read = read
        genesis = Place(
            BlockId(0, block_hash(GENESIS[:HEADER_BYTES])), "00" * 32, parse_header(GENESIS[:HEADER_BYTES]).time, 0, 0
        )
        self._tree = {genesis.id.hash: genesis}
        self._active = [genesis]
        self._undo = [Undo((), (), ())]
        self.coins: dict[OutPoint, Unspent] = {}
        self.confirmed: dict[str, int] = {}

    @property
    def tip(self) -> BlockId:
        return self._active[-1].id

    def __contains__(self, block: str) -> bool:
        return block in self._tree

    def at(self, height: int) -> BlockId:
        """The active branch's block of that height."""
        return self._active[height].id

    def raw(self, height: int) -> bytes:
        """The bytes of the active branch's block of that height."""
        return self._bytes(self._active[height])

    def is_active(self, block: BlockId) -> bool:
        return block.height <= self.tip.height and self._active[block.height].id == block

    def place(self, block: str) -> BlockId:
        """Height and name of a block of any branch."""
        return self._tree[block].id

    def times(self, height: int) -> list[int]:
        """Times of the last eleven blocks up to ``height``, that are what its median time is taken of."""
        return [place.time for place in self._active[max(0, height + 1 - _MEDIAN) : height + 1]]

    def median_time(self, height: int) -> int:
        """What the next block's time and time locks are compared with (BIP113)."""
        return median(self.times(height))

    def add(self, raw: bytes, at: int) -> Move:
        """Take a block that the kernel found right and the journal holds at ``at``; a known one changes nothing.

        Raises:
            Corrupt: Its parent is missing, or it spends what is not there: the journal contradicts itself.
        """
        header = parse_header(raw[:HEADER_BYTES])
        name, previous = block_hash(raw[:HEADER_BYTES]), header.previous[::-1].hex()
        if name in self._tree:
            return Move()
        if previous not in self._tree:
            raise Corrupt(f"block {name} has no parent {previous} in the journal")
        place = Place(BlockId(self._tree[previous].id.height + 1, name), previous, header.time, at, len(raw))
        self._tree[name] = place
        if place.id.height <= self.tip.height:
            return Move()
        if previous == self.tip.hash:
            return Move(joined=self._connect(place, raw))
        return self._switch(place)

    def branch(self, block: str) -> Iterator[bytes]:
        """Active blocks above the last one that ``block``'s branch shares with it, lowest first."""
        shared = self._tree[block]
        while not self.is_active(shared.id):
            shared = self._tree[shared.previous]
        return (self._bytes(place) for place in self._active[shared.id.height + 1 :])

    def _switch(self, place: Place) -> Move:
        joining = [place]
        while not self.is_active(BlockId(joining[-1].id.height - 1, joining[-1].previous)):
            joining.append(self._tree[joining[-1].previous])
        left = list[bytes]()
        while self.tip.height >= joining[-1].id.height:
            left[:0] = split(self._bytes(self._active[-1]))[1:]
            self._disconnect()
        joined = [pair for step in reversed(joining) for pair in self._connect(step, self._bytes(step))]
        return Move(left, joined)

    def _connect(self, place: Place, raw: bytes) -> list[tuple[str, Tx]]:
        spent, made, joined = list[Unspent](), list[OutPoint](), list[tuple[str, Tx]]()
        for number, transaction in enumerate(split(raw)):
            tx = parse(transaction)
            name = txid(tx)
            joined.append((name, tx))
            for source in tx.inputs if number else ():
                coin = self.coins.pop(source.outpoint, None)
                if coin is None:
                    raise Corrupt(f"block {place.id.hash} spends {source.outpoint}, which is not there")
                spent.append(coin)
            for vout, output in enumerate(tx.outputs):
                if output.script[:1] != b"\x6a":  # such outputs can never be spent
                    outpoint = OutPoint(name, vout)
                    made.append(outpoint)
                    self.coins[outpoint] = Unspent(
                        outpoint, output.value_sat, output.script, place.id.height, not number
                    )
            self.confirmed[name] = place.id.height
        if (
            merkle_root([bytes.fromhex(name)[::-1] for name, _ in joined])
            != parse_header(raw[:HEADER_BYTES]).merkle_root
        ):
            raise Corrupt(f"block {place.id.hash} holds other transactions than its header says")
        self._active.append(place)
        self._undo.append(Undo(tuple(spent), tuple(made), tuple(name for name, _ in joined)))
        return joined[1:]

    def _disconnect(self) -> None:
        undo = self._undo.pop()
        self._active.pop()
        for coin in undo.spent:
            self.coins[coin.outpoint] = coin
        for outpoint in undo.made:  # after the spent ones: a block may spend what it made
            self.coins.pop(outpoint, None)
        for name in undo.txids:
            del self.confirmed[name]

    def _bytes(self, place: Place) -> bytes:
        return self._read(place.at, place.length) if place.length else GENESIS


def median(times: list[int]) -> int:
    """The median time that these last blocks give."""
    return sorted(times)[len(times) // 2]
