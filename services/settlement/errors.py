"""Why Bitcoin says no, as sentences; each reason has one name for the embedded chain and for Bitcoin Core."""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from domain.errors import Refused

Reason = Literal[
    "already-confirmed",
    "bad-amount",
    "coinbase",
    "dust",
    "duplicate-inputs",
    "fee-too-high",
    "immature-coinbase",
    "in-belowout",
    "mempool-conflict",
    "mempool-full",
    "min-fee",
    "missing-or-spent",
    "non-BIP68-final",
    "non-final",
    "nonstandard",
    "script-verify",
    "too-large",
    "unreadable",
]

_ADVICE: Final[Mapping[Reason, str]] = {
    "already-confirmed": "a block holds it already; there is nothing to send",
    "bad-amount": "its outputs hold more than all bitcoin there can be; build it from whole satoshi",
    "coinbase": "only a block's first transaction makes new coins; spend an output instead",
    "dust": "an output holds less than it costs to spend; leave it out, or carry the amount over",
    "duplicate-inputs": "it spends one output twice; name each once",
    "fee-too-high": "the fee is beyond the cap; check the outputs, or raise the cap",
    "immature-coinbase": "a miner's reward can be spent in the 100th block after its own; wait",
    "in-belowout": "its outputs hold more than its inputs; lower an output",
    "mempool-conflict": "a transaction that waits spends the same; pay a higher fee and fee rate, or wait",
    "mempool-full": "too many transactions wait; send it again after the next block",
    "min-fee": "the fee is below the least that is relayed; sign it with a higher one",
    "missing-or-spent": "it spends an output that does not exist or is spent; build it from unspent outputs",
    "non-BIP68-final": "an input's relative lock has not run out; send it in a later block",
    "non-final": "its lock time has not come; send it in a later block",
    "nonstandard": "nodes do not relay its form; build it from the scripts that `pasar escrow show` tells",
    "script-verify": "a signature or script does not satisfy the output that it spends; sign it again",
    "too-large": "it is larger than nodes relay; split it into several",
    "unreadable": "it is no transaction; send the bytes as they were signed",
}


class TransactionRefused(Refused):
    """``reason`` is for programs, ``detail`` names the input or the amounts."""

    template: ClassVar[str] = "the transaction is refused, {reason}{detail}: {advice}"
    reason: Reason

    def __init__(self, *, reason: Reason, detail: str = "") -> None:
        super().__init__(reason=reason, detail=f" ({detail})" if detail else "", advice=_ADVICE[reason])
        self.reason = reason


class BlockRefused(Refused):
    template: ClassVar[str] = "the block {hash} is refused, {reason}: {detail}; the chain is as it was"

    def __init__(self, *, hash: str, reason: str, detail: str) -> None:
        super().__init__(hash=hash, reason=reason, detail=detail or "no more is told")
        self.reason = reason


class NotInBlock(Refused):
    template: ClassVar[str] = (
        "block {height} of the active chain does not hold transaction {txid}; look for the block that does"
    )


class ForkTooShort(Refused):
    template: ClassVar[str] = (
        "{blocks} blocks on block {height} do not outgrow a chain of height {tip}; take {needed} or more"
    )


class ForeignChain(Refused):
    template: ClassVar[str] = (
        "the chain holds none of the last {blocks} blocks that the market knows; start the node of the market's chain"
    )


class ChainInUse(Refused):
    template: ClassVar[str] = (
        "the chain in {directory} is open in another process; stop that one (`pasar down`) and start again"
    )


class ChainLost(Refused):
    template: ClassVar[str] = (
        "the chain's journal {path} could not be written ({reason}); make room on the disk, then start again"
    )


class NodeUnreachable(Refused):
    template: ClassVar[str] = (
        "Bitcoin Core at {address} does not answer ({reason}); check that it runs and PASAR_BITCOIN_RPC_URL is right"
    )


class NodeAccess(Refused):
    template: ClassVar[str] = (
        "Bitcoin Core at {address} refuses the login; set PASAR_BITCOIN_COOKIE to its .cookie file, "
        "or put user and password into PASAR_BITCOIN_RPC_URL"
    )


class CookieUnreadable(Refused):
    template: ClassVar[str] = "the cookie file {path} cannot be read ({reason}); Bitcoin Core writes it at each start"


class BadNodeUrl(Refused):
    template: ClassVar[str] = (
        "PASAR_BITCOIN_RPC_URL cannot be used: {reason}; write http://user:password@host:port or http://host:port"
    )


class WrongNetwork(Refused):
    template: ClassVar[str] = (
        "Bitcoin Core at {address} is on {found} and the market on {network}; start one of them for the other's network"
    )


class NodeTooOld(Refused):
    template: ClassVar[str] = "Bitcoin Core at {address} has version {found}; version {needed} or later is needed"


class NodeNotReady(Refused):
    template: ClassVar[str] = "Bitcoin Core at {address} is still starting ({reason}); try again in a minute"


class NodeAnswer(Refused):
    """An answer that no documented node gives; ``code`` is JSON-RPC's."""

    template: ClassVar[str] = "Bitcoin Core answers {method} with {code}: {reason}; look into its debug.log"
