"""Transactions that wait for a block of the embedded chain: who may come in, who makes room, what a block takes.

Like the index a fold over the journal: ``examine`` decides before a transaction is recorded, ``enter`` and ``follow``
only apply what was recorded.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from domain.bitcoin import OutPoint, Tx, TxOut
from services.ports import Unspent
from services.settlement import policy
from services.settlement.errors import TransactionRefused
from services.settlement.index import Index, Move
from services.settlement.policy import Next, Sized

#: Weight of all that may wait: about ten full blocks.
WEIGHT_MAX: Final = 40_000_000
#: The most that one replacement may push out (BIP125, rule 5).
EVICTED_MAX: Final = 100


class Waiting(NamedTuple):
    """A transaction that waits, parents before children."""

    raw: bytes
    tx: Tx
    txid: str
    weight: int
    fee_sat: int
    sigops: int

    @property
    def vsize(self) -> int:
        return policy.virtual_size(self.weight, self.sigops)


class Pool:
    """Attributes:
    waiting: By id, in the order in which they came.
    """

    def __init__(self, index: Index, *, floor_msat: int, cap_msat: int) -> None:
        self._index, self._floor_msat, self._cap_msat = index, floor_msat, cap_msat
        self.waiting: dict[str, Waiting] = {}
        self._spenders: dict[OutPoint, str] = {}
        self._weight = 0

    def spender(self, outpoint: OutPoint) -> str | None:
        """The waiting transaction that spends an output."""
        return self._spenders.get(outpoint)

    def spent(self, tx: Tx) -> list[TxOut]:
        """The outputs that a transaction spends, for its scripts to be verified against.

        Raises:
            TransactionRefused: ``missing-or-spent``.
        """
        return [TxOut(coin.value_sat, coin.script) for coin in self._coins(tx)]

    def examine(self, sized: Sized) -> Waiting:
        """Whether a transaction may wait here, its scripts aside.

        Raises:
            TransactionRefused: With the reason.
        """
        policy.verify_form(sized)
        waiting = self._weighed(sized)
        policy.verify_fee(waiting.fee_sat, waiting.vsize, self._floor_msat, self._cap_msat)
        rivals = {self._spenders[source.outpoint] for source in sized.tx.inputs if source.outpoint in self._spenders}
        if rivals:
            self._verify_replacement(waiting, rivals)
        elif self._weight + waiting.weight > WEIGHT_MAX:
            raise TransactionRefused(reason="mempool-full")
        return waiting

    def enter(self, waiting: Waiting) -> None:
        """Take it in, and push out what spends the same."""
        for source in waiting.tx.inputs:
            if (rival := self._spenders.get(source.outpoint)) is not None:
                self._evict(rival)
        self.waiting[waiting.txid] = waiting
        self._weight += waiting.weight
        self._spenders.update((source.outpoint, waiting.txid) for source in waiting.tx.inputs)

    def reenter(self, raw: bytes) -> None:
        """Take in again what was taken in before: it was found right when it was recorded."""
        self.enter(self._weighed(policy.read(raw)))

    def follow(self, move: Move) -> None:
        """Let go of what a block confirmed or made impossible; after a fork, take back what left the chain."""
        for txid, tx in move.joined:
            if txid in self.waiting:
                self._remove(txid)
            for source in tx.inputs:
                if (rival := self._spenders.get(source.outpoint)) is not None:
                    self._evict(rival)
        if move.left:
            raws = [*move.left, *(waiting.raw for waiting in self.waiting.values())]
            self.waiting.clear()
            self._spenders.clear()
            self._weight = 0
            for raw in raws:
                self._restore(raw)

    def select(self, weight_max: int, sigops_max: int) -> Iterator[Waiting]:
        """What the next block takes, oldest first and parents before children, within its limits."""
        left = set[str]()
        for waiting in self.waiting.values():
            orphaned = any(source.outpoint.txid in left for source in waiting.tx.inputs)
            if orphaned or waiting.weight > weight_max or waiting.sigops > sigops_max:
                left.add(waiting.txid)
                continue
            weight_max -= waiting.weight
            sigops_max -= waiting.sigops
            yield waiting

    def _weighed(self, sized: Sized) -> Waiting:
        coins = self._coins(sized.tx)
        tip = self._index.tip
        upcoming = Next(tip.height + 1, self._index.median_time(tip.height), self._index.median_time)
        policy.verify_locks(sized.tx, coins, upcoming)
        return Waiting(*sized, policy.fee_sat(sized.tx, coins), policy.sigops(sized, coins))

    def _coins(self, tx: Tx) -> list[Unspent]:
        coins = list[Unspent]()
        for source in tx.inputs:
            coin = self._index.coins.get(source.outpoint) or self._unconfirmed(source.outpoint)
            if coin is None:
                detail = f"output {source.outpoint.vout} of {source.outpoint.txid}"
                raise TransactionRefused(reason="missing-or-spent", detail=detail)
            coins.append(coin)
        return coins

    def _unconfirmed(self, outpoint: OutPoint) -> Unspent | None:
        """An output of a waiting transaction, as if the next block held it."""
        parent = self.waiting.get(outpoint.txid)
        if parent is None or outpoint.vout >= len(parent.tx.outputs):
            return None
        output = parent.tx.outputs[outpoint.vout]
        return Unspent(outpoint, output.value_sat, output.script, self._index.tip.height + 1, coinbase=False)

    def _verify_replacement(self, waiting: Waiting, rivals: set[str]) -> None:
        """BIP125, rules 3 to 5, and Bitcoin Core's on the fee rate; every transaction may be replaced, as since 28."""

        def refuse(detail: str) -> TransactionRefused:
            return TransactionRefused(reason="mempool-conflict", detail=detail)

        evicted = self._family(rivals)
        if any(source.outpoint.txid in evicted for source in waiting.tx.inputs):
            raise refuse("it spends an output of what it would replace")
        if len(evicted) > EVICTED_MAX:
            raise refuse(f"it would replace {len(evicted)} transactions, at most {EVICTED_MAX} are")
        for rival in map(self.waiting.__getitem__, rivals):
            if waiting.fee_sat * rival.vsize <= rival.fee_sat * waiting.vsize:
                raise refuse(f"its fee rate is not above that of {rival.txid}")
        paid = sum(self.waiting[txid].fee_sat for txid in evicted)
        least = paid + -(-self._floor_msat * waiting.vsize // 1000)
        if waiting.fee_sat < least:
            raise refuse(f"its fee is {waiting.fee_sat} of at least {least} sat")

    def _family(self, txids: Iterable[str]) -> set[str]:
        """Waiting transactions with all that spend from them."""
        family, open_ends = set[str](), list(txids)
        while open_ends:
            txid = open_ends.pop()
            if txid not in family:
                family.add(txid)
                outputs = range(len(self.waiting[txid].tx.outputs))
                children = (self._spenders.get(OutPoint(txid, vout)) for vout in outputs)
                open_ends.extend(child for child in children if child is not None)
        return family

    def _evict(self, txid: str) -> None:
        for member in self._family((txid,)):
            self._remove(member)

    def _remove(self, txid: str) -> None:
        gone = self.waiting.pop(txid)
        self._weight -= gone.weight
        for source in gone.tx.inputs:
            del self._spenders[source.outpoint]

    def _restore(self, raw: bytes) -> None:
        """Take back what the new branch left possible; the rest spends what is gone, or waits for what is later."""
        try:
            self.reenter(raw)
        except TransactionRefused:
            return
