"""Transactions: as bytes and as values, their ids and sizes.

Source: BIP141 and BIP144 (segregated witness), Bitcoin Core's primitives/transaction.h and serialize.h.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from domain.bitcoin.blocks import double_sha256
from domain.bitcoin.encoding import compact_size
from domain.errors import Refused

#: Sequence of an input that may be replaced by a higher fee (BIP125) and is bound by no lock of its own.
RBF: Final = 0xFFFFFFFD
#: Sequence of an input that obeys the transaction's lock time and is final otherwise.
TIMELOCKED: Final = 0xFFFFFFFE
SATS_MAX: Final = 21_000_000 * 100_000_000
#: A block's limit; nothing larger can ever confirm.
_BYTES_MAX: Final = 4_000_000
#: DER of two 256-bit numbers, and the byte that says what is signed.
_SIGNATURE_MAX: Final = 72


class BadTransaction(Refused):
    template = "the transaction cannot be read: {reason}; send it as its signer made it"


class BadReference(Refused):
    template = "{reference!r} names no output; write its transaction id and its number as 8 hex digits"


class OutPoint(NamedTuple):
    """An output, by the transaction that made it (display hex) and its number there."""

    txid: str
    vout: int


class TxIn(NamedTuple):
    """``script`` is empty in whatever the market signs; older outputs, and miners, put something there."""

    outpoint: OutPoint
    sequence: int
    script: bytes = b""


class TxOut(NamedTuple):
    value_sat: int
    script: bytes


class Tx(NamedTuple):
    """A transaction without its witnesses: all that its id depends on."""

    inputs: tuple[TxIn, ...]
    outputs: tuple[TxOut, ...]
    locktime: int = 0
    version: int = 2


def reference(outpoint: OutPoint) -> str:
    """The output's name in events: 72 hex digits."""
    return f"{outpoint.txid}{outpoint.vout:08x}"


def outpoint(reference: str) -> OutPoint:
    """The output that ``reference`` names.

    Raises:
        BadReference: Not 72 small hex digits.
    """
    if len(reference) != 72 or not set(reference) <= set("0123456789abcdef"):
        raise BadReference(reference=reference[:80])
    return OutPoint(reference[:64], int(reference[64:], 16))


def serialize(tx: Tx) -> bytes:
    """The transaction without witnesses: what its id is the hash of."""
    return b"".join((_u32(tx.version), _body(tx), _u32(tx.locktime)))


def with_witness(tx: Tx, witnesses: Sequence[Sequence[bytes]]) -> bytes:
    """The transaction as it is sent, each input with its stack; without any stack as BIP144 asks for it."""
    if not any(witnesses):
        return serialize(tx)
    stacks = b"".join(
        compact_size(len(stack)) + b"".join(compact_size(len(item)) + item for item in stack)
        for _, stack in zip(tx.inputs, witnesses, strict=True)
    )
    return b"".join((_u32(tx.version), b"\x00\x01", _body(tx), stacks, _u32(tx.locktime)))


def parse(raw: bytes) -> Tx:
    """The transaction in these bytes, with or without witnesses; work and memory stay in proportion to their length.

    Raises:
        BadTransaction: Anything but exactly one transaction that has inputs and outputs.
    """
    if len(raw) > _BYTES_MAX:
        raise BadTransaction(reason=f"it has more than {_BYTES_MAX} bytes")
    reader = _Reader(raw)
    version = reader.u32()
    witnessed = raw[4:6] == b"\x00\x01"
    if witnessed:
        reader.take(2)
    inputs = tuple(reader.input() for _ in range(reader.count(41)))
    outputs = tuple(reader.output() for _ in range(reader.count(9)))
    if not inputs or not outputs:
        raise BadTransaction(reason="it has no inputs or no outputs")
    if witnessed and not sum(reader.skip_stack() for _ in inputs):
        raise BadTransaction(reason="it announces witnesses and has none")
    locktime = reader.u32()
    reader.end()
    return Tx(inputs, outputs, locktime, version)


def txid(tx: Tx) -> str:
    """The transaction's name, as everybody shows it."""
    return double_sha256(serialize(tx))[::-1].hex()


def strip_witness(raw: bytes) -> bytes:
    """The bytes that the id is the hash of.

    Raises:
        BadTransaction: See ``parse``.
    """
    return serialize(parse(raw))


def weight(raw: bytes) -> int:
    """Weight units: four for each byte of the transaction proper, one for each of its witnesses (BIP141)."""
    return 3 * len(strip_witness(raw)) + len(raw)


def vsize(raw: bytes) -> int:
    """Virtual bytes, which fees are paid for."""
    return (weight(raw) + 3) // 4


def payout_vsize(inputs: Sequence[int], outputs: Sequence[bytes]) -> int:
    """Virtual bytes of a transaction before it is signed, at the longest signatures there can be.

    Args:
        inputs: Length of each input's witness script; an escrow's two of three and a reserve's two of two are
            spent alike, by an empty item, two signatures and the script.
        outputs: Output scripts.
    """
    base = 8 + len(compact_size(len(inputs))) + 41 * len(inputs) + len(compact_size(len(outputs)))
    base += sum(8 + len(compact_size(len(script))) + len(script) for script in outputs)
    stacks = sum(2 + 2 * (1 + _SIGNATURE_MAX) + len(compact_size(length)) + length for length in inputs)
    return (4 * base + 2 + stacks + 3) // 4


class Digests:
    """What the signatures of a transaction sign when they sign all of it (SIGHASH_ALL), for witness version 0.

    What the inputs share is hashed once, so many inputs and many outputs do not multiply.

    Source: BIP143.
    """

    def __init__(self, tx: Tx) -> None:
        self._outpoints = [_outpoint(spent) for spent in tx.inputs]
        self._sequences = [_u32(spent.sequence) for spent in tx.inputs]
        shared = [double_sha256(b"".join(parts)) for parts in (self._outpoints, self._sequences, _outputs(tx))]
        self._before, self._behind = _u32(tx.version) + shared[0] + shared[1], shared[2] + _u32(tx.locktime) + _u32(1)

    def of(self, place: int, script: bytes, value_sat: int) -> bytes:
        """The 32 bytes that the input at ``place`` has signed.

        Args:
            script: That its witness shows; for a key's hash, the script that the hash stands for.
            value_sat: Of the output that it spends.
        """
        spent = (self._outpoints[place], compact_size(len(script)), script, value_sat.to_bytes(8, "little"))
        return double_sha256(b"".join((self._before, *spent, self._sequences[place], self._behind)))


class _Reader:
    """Reads a transaction from the front; never takes what is not there."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, length: int) -> bytes:
        if length > len(self._raw) - self._at:
            raise BadTransaction(reason="it ends too early")
        self._at += length
        return self._raw[self._at - length : self._at]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def size(self) -> int:
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        width = 1 << first - 0xFC
        size = int.from_bytes(self.take(width), "little")
        if size < 0xFD or (width > 2 and not size >> 4 * width):
            raise BadTransaction(reason="a length is written longer than it must be")
        return size

    def count(self, bytes_each: int) -> int:
        """How many parts follow, refused before any is read if they cannot all be there."""
        count = self.size()
        if count * bytes_each > len(self._raw) - self._at:
            raise BadTransaction(reason="it ends too early")
        return count

    def input(self) -> TxIn:
        hashed, vout = self.take(32), self.u32()
        script = self.take(self.size())
        return TxIn(OutPoint(hashed[::-1].hex(), vout), self.u32(), script)

    def output(self) -> TxOut:
        value_sat = int.from_bytes(self.take(8), "little")
        if value_sat > SATS_MAX:
            raise BadTransaction(reason=f"an output holds {value_sat} sat, more than there can be")
        return TxOut(value_sat, self.take(self.size()))

    def skip_stack(self) -> int:
        items = self.count(1)
        for _ in range(items):
            self.take(self.size())
        return items

    def end(self) -> None:
        if self._at != len(self._raw):
            raise BadTransaction(reason="more follows after its end")


def _body(tx: Tx) -> bytes:
    parts = [compact_size(len(tx.inputs))]
    for spent in tx.inputs:
        parts += [_outpoint(spent), compact_size(len(spent.script)), spent.script, _u32(spent.sequence)]
    return b"".join((*parts, compact_size(len(tx.outputs)), *_outputs(tx)))


def _outpoint(spent: TxIn) -> bytes:
    return bytes.fromhex(spent.outpoint.txid)[::-1] + _u32(spent.outpoint.vout)


def _outputs(tx: Tx) -> list[bytes]:
    return [made.value_sat.to_bytes(8, "little") + compact_size(len(made.script)) + made.script for made in tx.outputs]


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")
