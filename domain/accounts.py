"""The accounts on the chain: their scripts, the outputs that hold their money, and how far the chain is.

An account is a client's escrow (by its id), a worker's stake (by its key), or the reserve, which market and arbiter
keep. One of its outputs is

none            -- EscrowFunded | StakeDeposited | PayoutConfirmed (its change) --> HELD
HELD            -- DepositReorged                             --> REORGED
HELD, REORGED   -- CoinTaken                                  --> TAKEN    (or what made it was, so it never comes back)
REORGED, TAKEN  -- DepositRestored                            --> HELD     (the chain forgot what had happened to it)
HELD            -- PayoutConfirmed                            --> spent
spent           -- PayoutReorged                              --> HELD

What was REORGED or TAKEN is ``missing``: an account has so much less than its own books say.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Final, NamedTuple

from domain.bitcoin import OutPoint, escrow_script, p2wsh, reference
from domain.events import (
    Account,
    ChainEvent,
    ChainJoined,
    ChainReorganised,
    CoinEvent,
    CoinTaken,
    DepositReorged,
    DepositRestored,
    EscrowFunded,
    EscrowOpened,
    StakeDeposited,
    StakeOpened,
)
from domain.ids import escrow_id
from domain.money import MSAT_PER_SAT

#: The account of what market and arbiter keep for others.
RESERVE: Final = "reserve"
#: Blocks before the end of a term in which nothing new is staked on it: time enough to pay what is due.
SAFETY_BLOCKS: Final = 72
#: Block ids that are remembered, to find out where a reorganised chain begins to differ.
TIPS: Final = 144


class Term(NamedTuple):
    """What a script of an account is made of, and where its owner is paid."""

    account: Account
    owner: str
    witness_script: bytes
    expires_height: int
    payout_script: bytes

    @property
    def script(self) -> bytes:
        """The output script that deposits are paid to."""
        return p2wsh(self.witness_script)


class Held(NamedTuple):
    """An output of an account.

    Attributes:
        height: Of its block; of the block at which it was lost, while it is reorged.
        epoch: The payout that is about to spend it, 0 if none is.
    """

    outpoint: str
    value_sat: int
    key: str
    term: Term
    height: int = 0
    epoch: int = 0


class Taken(NamedTuple):
    """An output that somebody else spent in the block at ``height``, if that is known.

    Attributes:
        reorged: It had left the chain before, so that it still would be gone.
    """

    coin: Held
    height: int | None
    reorged: bool


def key_of(account: Account, owner: str) -> str:
    """The account's key in these books."""
    return escrow_id(owner) if account == "escrow" else owner if account == "stake" else RESERVE


class Accounts(ABC):
    """Folds what happens to the accounts' outputs.

    Attributes:
        coins, reorged, taken: Outputs by reference, as the table above has them.
        missing_msat: By account.
    """

    def __init__(self) -> None:
        self.chain: ChainJoined | None = None
        self.chain_version = 0
        self.tips: list[tuple[int, str]] = []
        self.terms: dict[str, list[Term]] = {}
        self.by_script: dict[bytes, Term] = {}
        self.coins: dict[str, Held] = {}
        self.reorged: dict[str, Held] = {}
        self.taken: dict[str, Taken] = {}
        self.missing_msat: defaultdict[str, int] = defaultdict(int)
        self._outpoints: defaultdict[str, dict[str, None]] = defaultdict(dict)
        #: By account: when the first term ends of those that hold its money.
        self._ends: dict[str, int] = {}

    # ------------------------------------------------------------------------------------------------------ looking up
    @property
    def height(self) -> int:
        return self.tips[-1][0] if self.tips else 0

    def term_of(self, key: str) -> Term | None:
        """The newest term of an account."""
        terms = self.terms.get(key)
        return terms[-1] if terms else None

    def coins_of(self, key: str) -> list[Held]:
        """The account's outputs that nothing is about to spend."""
        return [coin for coin in self._coins_of(key) if not coin.epoch]

    def _coins_of(self, key: str) -> list[Held]:
        return [self.coins[outpoint] for outpoint in self._outpoints.get(key, ())]

    @property
    def lapsed(self) -> set[str]:
        """Accounts whose newest term is about to end."""
        return {key for key in self.terms if self.is_lapsed(key)}

    def is_lapsed(self, key: str) -> bool:
        """Whether the account's newest term is about to end."""
        return self._may_end(key) and self.is_ending(self.terms[key][-1])

    def is_ending(self, term: Term) -> bool:
        """Whether the owner can take what the term's script holds before long."""
        return 0 < term.expires_height <= self.height + SAFETY_BLOCKS

    def at_risk_msat(self, key: str) -> int:
        """What the account has in outputs whose term is about to end: nothing new may rely on it."""
        if not self._may_end(key):
            return 0
        return sum(coin.value_sat for coin in self._coins_of(key) if self.is_ending(coin.term)) * MSAT_PER_SAT

    def _may_end(self, key: str) -> bool:
        return self._ends.get(key, self.height + SAFETY_BLOCKS + 1) <= self.height + SAFETY_BLOCKS

    # --------------------------------------------------------------------------------------------------------- folding
    def open_account(self, event: EscrowOpened | StakeOpened) -> None:
        """Watch another script of an account."""
        account: Account = "escrow" if isinstance(event, EscrowOpened) else "stake"
        owner = event.client if isinstance(event, EscrowOpened) else event.worker
        paid_to = event.refund_script if isinstance(event, EscrowOpened) else event.payout_script
        script = witness_script_of(event)
        term = Term(account, owner, script, event.expires_height, bytes.fromhex(paid_to))
        key = key_of(account, owner)
        self.terms.setdefault(key, []).append(term)
        self.by_script[term.script] = term
        self._see_end(key)

    def deposit(self, event: EscrowFunded | StakeDeposited) -> None:
        """An account was paid; payments that were not made on the chain hold no output."""
        if event.vout is None or event.height is None:
            return
        key = event.escrow if isinstance(event, EscrowFunded) else event.worker
        outpoint = reference(OutPoint(event.reference, event.vout))
        assert event.term is not None, "what is paid on the chain is paid to a script"
        term = self.terms[key][event.term]
        self._hold(Held(outpoint, event.amount_msat // MSAT_PER_SAT, key, term, event.height))

    def move_coin(self, event: CoinEvent) -> None:
        """An output left the chain, was spent by somebody else, or is there again."""
        self.chain_version += 1
        key = key_of(event.account, event.owner)
        match event:
            case DepositReorged():
                coin = self._release(event.outpoint)
                self.reorged[event.outpoint] = coin._replace(height=self.height)
                self.missing_msat[key] += event.amount_msat
            case CoinTaken():
                lost = self.reorged.pop(event.outpoint, None)
                coin = lost or self._release(event.outpoint)
                self.taken[event.outpoint] = Taken(coin, event.height, lost is not None)
                self.missing_msat[key] += event.amount_msat if lost is None else 0
            case DepositRestored():
                taken = self.taken.pop(event.outpoint, None)
                coin = taken.coin if taken is not None else self.reorged.pop(event.outpoint)
                epoch = coin.epoch if self._is_open(coin.epoch) else 0
                self._hold(coin._replace(height=event.height, epoch=epoch))
                self.missing_msat[key] -= event.amount_msat

    @abstractmethod
    def _is_open(self, epoch: int) -> bool:
        """Whether that payout may still spend what it was planned to."""

    def advance(self, event: ChainEvent) -> None:
        """The chain that settlement sees is another one."""
        self.chain_version += 1
        if isinstance(event, ChainJoined):
            again, self.chain = self.chain is not None, event
            if again:
                return
        elif isinstance(event, ChainReorganised):
            while self.tips and self.tips[-1][0] >= event.height:
                self.tips.pop()
        self.tips.append((event.height, event.block))
        del self.tips[:-TIPS]

    def _hold(self, coin: Held) -> None:
        self.coins[coin.outpoint] = coin
        self._outpoints[coin.key][coin.outpoint] = None
        if coin.key in self._ends:
            self._ends[coin.key] = min(self._ends[coin.key], coin.term.expires_height)

    def _release(self, outpoint: str) -> Held:
        coin = self.coins.pop(outpoint)
        del self._outpoints[coin.key][outpoint]
        if self._ends.get(coin.key) == coin.term.expires_height:
            self._see_end(coin.key)
        return coin

    def _see_end(self, key: str) -> None:
        holding = [self.terms[key][-1], *(coin.term for coin in self._coins_of(key))]
        self._ends[key] = min(term.expires_height for term in holding)


def witness_script_of(event: EscrowOpened | StakeOpened) -> bytes:
    """What an account's output shows when it is spent.

    Raises:
        BadScript: See ``escrow_script``.
    """
    owner, market, arbiter = (bytes.fromhex(key) for key in (event.release_key, event.market_key, event.arbiter_key))
    return escrow_script((owner, market, arbiter), bytes.fromhex(event.refund_key), event.expires_height)
