"""Bitcoin Core's consensus code in this process (``pbk``): its verdict on scripts and blocks, and its chainstate.

Two traps are closed here. ``process_block`` returns no error for a block that fails against the outputs that it
spends: only the callback tells. And whatever the kernel took since its last clean close is gone after a kill: its
directory is a cache of the journal, never the truth. A process that holds an open kernel must not fork.
"""

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pbk
from pbk.capi import KernelOpaquePtr
from pbk.script import PrecomputedTransactionData

from domain.bitcoin import TxOut, block_hash
from services.ports import BlockId
from services.settlement.errors import BlockRefused, TransactionRefused

_LINES_KEPT: Final = 50
_VERDICT: Final = "Block validation error: "
_FAILED: Final = (" failed, ", "AcceptBlock FAILED (", "CheckBlock FAILED (")
_log: pbk.LoggingConnection | None = None
#: What the kernel said in this thread; the only place where it gives a reason.
_said = threading.local()


class KernelUnusable(Exception):
    """The kernel cannot open its directory; it can be deleted, it is a cache."""


def verify_scripts(raw: bytes, spent: Sequence[TxOut]) -> None:
    """Have Bitcoin Core's own code judge every input; the last thing before a transaction is sent anywhere.

    Args:
        spent: The outputs that the inputs spend, in the inputs' order.
    Raises:
        TransactionRefused: ``unreadable``, or ``script-verify`` with the number of the input.
    """
    try:
        transaction = _made(pbk.Transaction, raw)
    except RuntimeError:
        raise TransactionRefused(reason="unreadable", detail="Bitcoin Core's code cannot parse it") from None
    if len(transaction.inputs) != len(spent):
        raise ValueError(f"{len(transaction.inputs)} inputs spend {len(spent)} outputs")
    scripts = [pbk.ScriptPubkey(output.script) for output in spent]
    outputs = [pbk.TransactionOutput(script, output.value_sat) for script, output in zip(scripts, spent, strict=True)]
    shared = PrecomputedTransactionData(transaction, outputs)
    for number, (script, output) in enumerate(zip(scripts, spent, strict=True)):
        if not script.verify(output.value_sat, transaction, shared, number, pbk.ScriptVerificationFlags.ALL):
            raise TransactionRefused(reason="script-verify", detail=f"input {number}")


class Kernel:
    """A regtest chainstate in a directory of its own; one thread uses it."""

    def __init__(self, directory: Path) -> None:
        """Open or create it.

        Raises:
            KernelUnusable: The directory is damaged.
        """
        _listen()
        directory.mkdir(parents=True, exist_ok=True)
        # The callback holds this list and not the kernel: a cycle would keep the chainstate open after `close`.
        verdicts = self._verdicts = list[tuple[str, pbk.ValidationMode, pbk.BlockValidationResult]]()

        def on_checked(_: object, block: pbk.Block, state: pbk.BlockValidationState) -> None:
            verdicts.append((str(block.block_hash), state.validation_mode, state.block_validation_result))

        context = pbk.make_context(pbk.ChainType.REGTEST, pbk.ValidationInterfaceCallbacks(block_checked=on_checked))
        try:
            options = pbk.ChainstateManagerOptions(context, str(directory), str(directory / "blocks"))
            options.set_worker_threads_num(0)
            self._manager = pbk.ChainstateManager(options)
            self._manager.import_blocks([])  # activates the best chain that it finds
        except RuntimeError as error:
            raise KernelUnusable(str(error)) from error
        self._chain = self._manager.get_active_chain()

    @property
    def tip(self) -> BlockId:
        height = self._chain.height
        return BlockId(height, str(self._chain.block_tree_entries[height].block_hash))

    def submit(self, raw: bytes) -> None:
        """Have a block judged and taken; whether it became the tip, ``tip`` tells. A known block changes nothing.

        Raises:
            BlockRefused: It, or a block below it that its weight would have made active, breaks a rule.
        """
        name = block_hash(raw[:80])
        self._verdicts.clear()
        _heard().clear()
        try:
            self._manager.process_block(_made(pbk.Block, raw))
        except pbk.ProcessBlockException:
            raise BlockRefused(hash=name, **_why("bad-block")) from None
        except RuntimeError:
            raise BlockRefused(hash=name, reason="unreadable", detail="it cannot be parsed") from None
        for checked, mode, result in self._verdicts:
            if mode is not pbk.ValidationMode.VALID:
                raise BlockRefused(hash=checked, **_why(result.name.lower()))

    def close(self) -> None:
        """Write everything out and let the directory go."""
        del self._chain
        del self._manager


def _made(kind: Any, raw: bytes) -> Any:
    """The same as ``kind(raw)``, which copies byte by byte and holds the interpreter for 70 ms over a full block."""
    made = kind.__new__(kind)
    KernelOpaquePtr.__init__(made, raw, len(raw))
    return made


def _why(otherwise: str) -> dict[str, str]:
    """The rule's name and its explanation, out of what the kernel said."""
    for line in _heard():
        for mark in (_VERDICT, *_FAILED):
            _, found, said = line.partition(mark)
            if found:
                reason, _, detail = said.strip().rstrip(")").partition(", ")
                return {"reason": reason, "detail": detail}
    return {"reason": otherwise, "detail": ""}


def _listen() -> None:
    """Take the kernel's log away from standard output, once for the process: it has a single logger."""
    global _log
    if _log is None:
        _log = pbk.LoggingConnection(_hear)


def _hear(line: str) -> None:
    _heard().append(line)


def _heard() -> deque[str]:
    lines: deque[str] | None = getattr(_said, "lines", None)
    if lines is None:
        lines = _said.lines = deque(maxlen=_LINES_KEPT)
    return lines
