"""The embedded regtest node: one writer's view of journal, kernel, index and pool. Everything here blocks.

The journal is the truth and is fsynced before anything is acknowledged; index and pool are folds over it; the kernel is
its judge, and keeps a cache that may be behind, ahead or gone.

    a block        kernel says yes -> journal -> index -> pool
    a transaction  policy and kernel say yes -> journal -> pool
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Final

from domain.bitcoin import block_hash, merkle_branch, parse, parse_header, txid
from domain.errors import Corrupt
from services.ports import Block, BlockId, Checked, Clock, Proof, Unspent
from services.settlement import policy
from services.settlement.blocks import HEADER_BYTES, SIGOPS_COST_MAX, WEIGHT_MAX, split
from services.settlement.errors import (
    BlockRefused,
    ChainInUse,
    ForkTooShort,
    NotInBlock,
    TransactionRefused,
)
from services.settlement.index import Index
from services.settlement.journal import Entry, Journal, Kind, pack, unpack
from services.settlement.kernel import Kernel, KernelUnusable, verify_scripts
from services.settlement.mempool import Pool, Waiting
from services.settlement.miner import RESERVED_WEIGHT, subsidy_sat, template

#: The kernel forgets at a kill what it took since it was opened, and takes 500 blocks a second: so it is opened anew
#: after so many, which costs a part of a second.
CHECKPOINT: Final = 1_000


class Node:
    """Attributes:
    index, pool: To read; only the node changes them.
    """

    #: Signature operations that the reward itself may take.
    _REWARD_SIGOPS: ClassVar[int] = 400

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        floor_msat: int = policy.FLOOR_MSAT,
        cap_msat: int = policy.CAP_MSAT,
        journal: Callable[[Path], Journal] = Journal,
        checkpoint: int = CHECKPOINT,
    ) -> None:
        """Open the chain in ``directory``, or begin one.

        Args:
            checkpoint: Blocks after which the kernel's cache is written out.
        Raises:
            ChainInUse: Another process has it open.
            Corrupt: The journal is damaged, or holds what the kernel refuses.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clock, self._cache, self._checkpoint = clock, directory / "kernel", checkpoint
        with ExitStack() as failed:
            self._lock = _locked(directory)
            failed.callback(os.close, self._lock)
            self._journal = journal(directory / "journal")
            failed.callback(self._journal.close)
            self.index = Index(self._journal.read)
            self.pool = Pool(self.index, floor_msat=floor_msat, cap_msat=cap_msat)
            for entry in self._journal.entries():
                self._replay(entry)
            self._kernel, self._uncached = self._agreeing_kernel(), 0
            failed.pop_all()

    @property
    def tip(self) -> BlockId:
        return self.index.tip

    def blocks(self, start: int, limit: int) -> list[Block]:
        """See ``services.ports.Chain``."""
        heights = range(max(start, 0), min(start + limit, self.tip.height + 1))
        return [self._block(height) for height in heights]

    def check(self, raw: bytes) -> Checked:
        """See ``services.ports.Chain``."""
        sized = policy.read(raw)
        if sized.txid in self.index.confirmed:
            raise TransactionRefused(reason="already-confirmed")
        waiting = self.pool.waiting.get(sized.txid) or self._judged(sized)
        return Checked(waiting.txid, waiting.fee_sat, waiting.vsize)

    def send(self, raw: bytes) -> str:
        """See ``services.ports.Chain``."""
        sized = policy.read(raw)
        if sized.txid not in self.pool.waiting and sized.txid not in self.index.confirmed:
            waiting = self._judged(sized)
            self._journal.append(Kind.TRANSACTION, raw)
            self.pool.enter(waiting)
        return sized.txid

    def proof(self, name: str, height: int) -> Proof:
        """See ``services.ports.Chain``."""
        if self.index.confirmed.get(name) != height:
            raise NotInBlock(txid=name, height=height)
        block = self._block(height)
        txids = [txid(parse(raw)) for raw in block.transactions]
        index = txids.index(name)
        return Proof(block.header, index, tuple(merkle_branch(txids, index)))

    def coins(self, script: bytes) -> list[Unspent]:
        """Outputs to ``script`` that the next block may spend and nothing that waits does, oldest first."""
        height = self.tip.height + 1
        return [
            coin
            for coin in self.index.coins.values()
            if coin.script == script
            and not (coin.coinbase and height - coin.height < policy.MATURITY)
            and self.pool.spender(coin.outpoint) is None
        ]

    def mine(self, script: bytes) -> BlockId:
        """One block with what waits, its reward to ``script``."""
        taken = list(
            self.pool.select(WEIGHT_MAX - RESERVED_WEIGHT - 4 * len(script), SIGOPS_COST_MAX - self._REWARD_SIGOPS)
        )
        reward_sat = subsidy_sat(self.tip.height + 1) + sum(waiting.fee_sat for waiting in taken)
        times = self.index.times(self.tip.height)
        raws = [waiting.raw for waiting in taken]
        now = self._now()
        self.submit([template(self.tip, times, raws, now=now, script=script, reward_sat=reward_sat)])
        return self.tip

    def fork(self, height: int, blocks: int, script: bytes, transactions: Sequence[bytes] = ()) -> BlockId:
        """Have another branch take over: ``blocks`` blocks on the active block at ``height``, for a test or a drill.

        Args:
            transactions: For the first of them; their fees go to nobody. What left the chain waits again otherwise.
        Raises:
            ForkTooShort: They would not outgrow the active branch.
            BlockRefused: ``transactions`` cannot stand there.
        """
        needed = self.tip.height - height + 1
        if not 0 <= height <= self.tip.height or blocks < needed:
            raise ForkTooShort(blocks=blocks, height=height, tip=self.tip.height, needed=needed)
        previous, times, branch = self.index.at(height), self.index.times(height), list[bytes]()
        tag = b"fork of " + bytes.fromhex(self.tip.hash)[::-1][:8]
        for number in range(blocks):
            reward_sat = subsidy_sat(previous.height + 1)
            raws = () if number else transactions
            raw = template(previous, times, raws, now=self._now(), script=script, reward_sat=reward_sat, tag=tag)
            branch.append(raw)
            previous = BlockId(previous.height + 1, block_hash(raw[:HEADER_BYTES]))
            times = [*times, parse_header(raw[:HEADER_BYTES]).time][-11:]
        self.submit(branch)
        return self.tip

    def submit(self, blocks: Sequence[bytes]) -> None:
        """Take blocks of one branch, lowest first, that become the active one.

        Raises:
            BlockRefused: One breaks a rule, or they do not outgrow the active branch.
            ChainLost: The journal cannot be written.
        """
        taken, refusal = list[bytes](), None
        for raw in blocks:
            try:
                self._kernel.submit(raw)
            except BlockRefused as refused:
                refusal = refused
                break
            taken.append(raw)
        if self._kernel.tip != self.tip:  # also where only the last ones were refused: the first had outgrown the rest
            self._record(taken)
        elif refusal is None:
            name = block_hash(blocks[-1][:HEADER_BYTES])
            raise BlockRefused(hash=name, reason="not-active", detail="its branch is not the longest, or it is known")
        if refusal is not None:
            raise refusal

    def close(self) -> None:
        """Let the directory go; the kernel writes its cache."""
        self._kernel.close()
        self._journal.close()
        os.close(self._lock)

    def _record(self, blocks: list[bytes]) -> None:
        at = self._journal.append(Kind.BLOCKS, pack(blocks))
        for raw in blocks:
            at += 4
            self.pool.follow(self.index.add(raw, at))
            at += len(raw)
        if self._kernel.tip != self.tip:
            raise Corrupt(f"the kernel is at {self._kernel.tip} and the journal at {self.tip}")
        self._uncached += len(blocks)
        if self._uncached >= self._checkpoint:
            self._kernel.close()
            self._kernel, self._uncached = self._agreeing_kernel(), 0

    def _replay(self, entry: Entry) -> None:
        if entry.kind is Kind.TRANSACTION:
            self.pool.reenter(entry.body)
            return
        for at, raw in unpack(entry):
            self.pool.follow(self.index.add(raw, at))

    def _judged(self, sized: policy.Sized) -> Waiting:
        waiting = self.pool.examine(sized)
        verify_scripts(sized.raw, self.pool.spent(sized.tx))
        return waiting

    def _block(self, height: int) -> Block:
        raw = self.index.raw(height)
        previous = parse_header(raw[:HEADER_BYTES]).previous[::-1].hex()
        return Block(self.index.at(height), previous, raw[:HEADER_BYTES], tuple(split(raw)))

    def _agreeing_kernel(self) -> Kernel:
        """A kernel at the journal's tip: its cache as it is if that leads there, made anew if not."""
        try:
            kernel = Kernel(self._cache)
        except KernelUnusable:
            pass
        else:
            if self._catches_up(kernel):
                return kernel
            kernel.close()
        shutil.rmtree(self._cache)
        kernel = Kernel(self._cache)
        if not self._catches_up(kernel):
            kernel.close()
            raise Corrupt(f"Bitcoin Core's code refuses the blocks of {self._journal.path}; restore your copy")
        return kernel

    def _catches_up(self, kernel: Kernel) -> bool:
        if kernel.tip.hash not in self.index:
            return False
        try:
            for raw in self.index.branch(kernel.tip.hash):
                kernel.submit(raw)
        except BlockRefused:
            return False
        return kernel.tip == self.tip

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _locked(directory: Path) -> int:
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise ChainInUse(directory=directory) from None
    return file
