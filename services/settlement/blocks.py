"""Blocks as bytes: taken apart into transactions, and these into what decides their cost; put together again.

Source: BIP141 (weight, cost of signature operations), Bitcoin Core's primitives/block.h and script/script.cpp.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from domain.bitcoin import BadTransaction, Tx
from domain.bitcoin.encoding import compact_size

HEADER_BYTES: Final = 80
WEIGHT_MAX: Final = 4_000_000
SIGOPS_COST_MAX: Final = 80_000

#: Bitcoin's script: these opcodes verify one signature, and up to twenty.
_CHECKSIGS: Final = (0xAC, 0xAD)
_CHECKMULTISIGS: Final = (0xAE, 0xAF)
_MULTISIG_KEYS_MAX: Final = 20


def split(raw: bytes) -> list[bytes]:
    """The raw transactions of a block, witnesses included.

    Raises:
        BadTransaction: It is no block.
    """
    count, at = _size(raw, HEADER_BYTES)
    transactions = []
    for _ in range(count):
        end = _end(raw, at)
        transactions.append(raw[at:end])
        at = end
    if at != len(raw) or not transactions:
        raise BadTransaction(reason="it is part of no block")
    return transactions


def join(header: bytes, transactions: Sequence[bytes]) -> bytes:
    """The block of these transactions."""
    return b"".join((header, compact_size(len(transactions)), *transactions))


def witnesses(raw: bytes, inputs: int) -> list[list[bytes]]:
    """Each input's stack; empty ones where the transaction has no witness."""
    if raw[4:6] != b"\x00\x01":
        return [[] for _ in range(inputs)]
    at = _body_end(raw, 6)
    stacks = []
    for _ in range(inputs):
        count, at = _size(raw, at)
        stack = []
        for _ in range(count):
            length, at = _size(raw, at)
            stack.append(raw[at : at + length])
            at += length
        stacks.append(stack)
    return stacks


def sigops_cost(tx: Tx, stacks: Sequence[Sequence[bytes]], spent: Sequence[bytes]) -> int:
    """What the transaction takes of the 80,000 that a block may spend on signatures (BIP141)."""
    cost = 4 * sum(_sigops(output.script, exact=False) for output in tx.outputs)
    for source, stack, program in zip(tx.inputs, stacks, spent, strict=True):
        cost += 4 * _sigops(source.script, exact=False)
        if len(program) == 23 and program[:2] == b"\xa9\x14" and program[-1] == 0x87:
            program = next(reversed([data for _, data in _operations(source.script)]), b"")
            cost += 4 * _sigops(program, exact=True)
        if program[:2] == b"\x00\x14" and len(program) == 22:
            cost += 1
        elif program[:2] == b"\x00\x20" and len(program) == 34 and stack:
            cost += _sigops(stack[-1], exact=True)
    return cost


def _sigops(script: bytes, *, exact: bool) -> int:
    count, before = 0, 0
    for opcode, _ in _operations(script):
        if opcode in _CHECKSIGS:
            count += 1
        elif opcode in _CHECKMULTISIGS:
            count += before - 0x50 if exact and 0x51 <= before <= 0x60 else _MULTISIG_KEYS_MAX
        before = opcode
    return count


def _operations(script: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcodes with the data that they push, up to the first that is cut short."""
    at = 0
    while at < len(script):
        opcode, at = script[at], at + 1
        length = opcode if opcode < 0x4C else 0
        if 0x4C <= opcode <= 0x4E:
            width = 1 << opcode - 0x4C
            length, at = int.from_bytes(script[at : at + width], "little"), at + width
        if at + length > len(script):
            return
        yield opcode, script[at : at + length]
        at += length


def _end(raw: bytes, at: int) -> int:
    """Where the transaction that begins at ``at`` ends."""
    witnessed = raw[at + 4 : at + 6] == b"\x00\x01"
    count, _ = _size(raw, at + 6 if witnessed else at + 4)
    at = _body_end(raw, at + 6 if witnessed else at + 4)
    for _ in range(count if witnessed else 0):
        items, at = _size(raw, at)
        for _ in range(items):
            length, at = _size(raw, at)
            at += length
    return at + 4


def _body_end(raw: bytes, at: int) -> int:
    """Where the outputs end of the transaction whose inputs begin at ``at``."""
    count, at = _size(raw, at)
    for _ in range(count):
        length, at = _size(raw, at + 36)
        at += length + 4
    count, at = _size(raw, at)
    for _ in range(count):
        length, at = _size(raw, at + 8)
        at += length
    return at


def _size(raw: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends."""
    first = raw[at] if at < len(raw) else 0
    if at >= len(raw):
        raise BadTransaction(reason="it ends too early")
    if first < 0xFD:
        return first, at + 1
    width = 1 << first - 0xFC
    return int.from_bytes(raw[at + 1 : at + 1 + width], "little"), at + 1 + width
