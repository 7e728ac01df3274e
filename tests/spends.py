"""Transactions that are refused, each beside one that differs in a single thing and is not."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from domain.bitcoin import RBF, TIMELOCKED, OutPoint, Tx, escrow_script, with_witness
from services.ports import Unspent
from services.settlement.errors import Reason
from services.settlement.policy import WEIGHT_MAX
from services.settlement.signing import Spend, digest
from services.settlement.wallet import Signer
from tests.bitcoin import signer
from tests.chain import AWAY, FEE_SAT, build, shown

FINAL: Final = 0xFFFFFFFF
#: Height of the chain that the matrix is tried on; its next block is one higher.
TIP: Final = 121
OWNER, MARKET, ARBITER, REFUND, STRANGER = (signer(name) for name in ("owner", "market", "arbiter", "refund", "other"))


def escrow_at(height: int) -> bytes:
    return escrow_script((OWNER.key, MARKET.key, ARBITER.key), REFUND.key, height)


#: Refundable from the next block on, and not for a long time yet.
DUE, LATER = escrow_at(TIP), escrow_at(TIP + 1)


class Scene(NamedTuple):
    """Attributes:
    coins: That anybody may spend, oldest first; ``old`` is the youngest that is mature, ``young`` one block younger.
    due, later: Escrows with scripts ``DUE`` and ``LATER``.
    median_time: That the next block's time locks are compared with.
    """

    coins: Sequence[Unspent]
    old: Unspent
    young: Unspent
    due: Unspent
    later: Unspent
    median_time: int


class Case(NamedTuple):
    """Attributes:
    block: The rule that a block with it breaks; nothing where only nodes ask for it.
    """

    name: str
    reason: Reason
    bad: Callable[[Scene], bytes]
    good: Callable[[Scene], bytes]
    block: str = ""


def plain(
    coin: Unspent,
    *,
    less_sat: int = FEE_SAT,
    sequence: int = RBF,
    locktime: int = 0,
    version: int = 2,
    script: bytes = b"\x51",
) -> bytes:
    tx = build([coin], [(coin.value_sat - less_sat, AWAY)], sequence=sequence, locktime=locktime, version=version)
    return shown(tx, script)


def small(coin: Unspent, amount_sat: int) -> bytes:
    return shown(build([coin], [(amount_sat, AWAY), (coin.value_sat - amount_sat - FEE_SAT, AWAY)]))


def wide(coin: Unspent, more: int) -> bytes:
    """As many outputs as a transaction may have, and ``more``."""
    count = (WEIGHT_MAX - 4 * 53 - 5) // (4 * 43) + more
    each_sat = coin.value_sat // count - 100
    return shown(build([coin], [(each_sat, AWAY)] * count))


def paying(coin: Unspent, rate_sat: int, off_sat: int) -> bytes:
    """With a fee of ``rate_sat`` for each virtual byte, and ``off_sat``."""
    vsize = (3 * 94 + len(plain(coin)) + 3) // 4
    return plain(coin, less_sat=rate_sat * vsize + off_sat)


def released(
    coin: Unspent, signers: Sequence[Signer], *, signed_sat: int | None = None, script: bytes = LATER
) -> bytes:
    tx = build([coin], [(coin.value_sat - FEE_SAT, AWAY)])
    spends = [Spend(signed_sat or coin.value_sat, script)]
    signatures = [one.sign(digest(tx, spends, 0)) for one in signers]
    return with_witness(tx, [(b"", *signatures, script)])


def refunded(coin: Unspent, script: bytes, locktime: int, *, key: Signer = REFUND, sequence: int = TIMELOCKED) -> bytes:
    tx = build([coin], [(coin.value_sat - FEE_SAT, AWAY)], sequence=sequence, locktime=locktime)
    signature = key.sign(digest(tx, [Spend(coin.value_sat, script)], 0))
    return with_witness(tx, [(signature, b"", b"", b"", script)])


def moved(coin: Unspent, by: int) -> Unspent:
    return coin._replace(outpoint=OutPoint(coin.outpoint.txid, coin.outpoint.vout + by))


def of_coinbase(scene: Scene) -> bytes:
    """A transaction that makes its coins itself."""
    tx: Tx = build([scene.coins[0]._replace(outpoint=OutPoint("00" * 32, FINAL))], [(1_000, AWAY)])
    return shown(tx)


SCRIPT: Final = "block-script-verify-flag-failed"
MATRIX: Final = (
    Case(
        "one signature",
        "script-verify",
        lambda scene: released(scene.later, [MARKET]),
        lambda scene: released(scene.later, [MARKET, ARBITER]),
        SCRIPT,
    ),
    Case(
        "a stranger's signature",
        "script-verify",
        lambda scene: released(scene.later, [OWNER, STRANGER]),
        lambda scene: released(scene.later, [OWNER, ARBITER]),
        SCRIPT,
    ),
    Case(
        "signatures in another order",
        "script-verify",
        lambda scene: released(scene.later, [MARKET, OWNER]),
        lambda scene: released(scene.later, [OWNER, MARKET]),
        SCRIPT,
    ),
    Case(
        "signatures of another amount",
        "script-verify",
        lambda scene: released(scene.later, [OWNER, MARKET], signed_sat=scene.later.value_sat + 1),
        lambda scene: released(scene.later, [OWNER, MARKET], signed_sat=scene.later.value_sat),
        SCRIPT,
    ),
    Case(
        "another witness script",
        "script-verify",
        lambda scene: released(scene.later, [OWNER, MARKET], script=DUE),
        lambda scene: released(scene.later, [OWNER, MARKET], script=LATER),
        SCRIPT,
    ),
    Case(
        "a refund a block too early",
        "non-final",
        lambda scene: refunded(scene.later, LATER, TIP + 1),
        lambda scene: refunded(scene.due, DUE, TIP),
        "bad-txns-nonfinal",
    ),
    Case(
        "a refund that hides that it is too early",
        "script-verify",
        lambda scene: refunded(scene.later, LATER, TIP),
        lambda scene: refunded(scene.due, DUE, TIP),
        SCRIPT,
    ),
    Case(
        "a refund that switches its lock off",
        "script-verify",
        lambda scene: refunded(scene.due, DUE, TIP, sequence=FINAL),
        lambda scene: refunded(scene.due, DUE, TIP, sequence=TIMELOCKED),
        SCRIPT,
    ),
    Case(
        "a refund by the market",
        "script-verify",
        lambda scene: refunded(scene.due, DUE, TIP, key=MARKET),
        lambda scene: refunded(scene.due, DUE, TIP, key=REFUND),
        SCRIPT,
    ),
    Case(
        "a script that fails",
        "script-verify",
        lambda scene: plain(scene.coins[0], script=b"\x00"),
        lambda scene: plain(scene.coins[0], script=b"\x51"),
        SCRIPT,
    ),
    Case(
        "more out than in",
        "in-belowout",
        lambda scene: plain(scene.coins[0], less_sat=-1),
        lambda scene: plain(scene.coins[0], less_sat=FEE_SAT),
        "bad-txns-in-belowout",
    ),
    Case(
        "an output that does not exist",
        "missing-or-spent",
        lambda scene: plain(moved(scene.coins[0], 1)),
        lambda scene: plain(moved(scene.coins[0], 0)),
        "bad-txns-inputs-missingorspent",
    ),
    Case(
        "a reward a block too early",
        "immature-coinbase",
        lambda scene: plain(scene.young),
        lambda scene: plain(scene.old),
        "bad-txns-premature-spend-of-coinbase",
    ),
    Case(
        "a height that has not come",
        "non-final",
        lambda scene: plain(scene.coins[0], locktime=TIP + 1),
        lambda scene: plain(scene.coins[0], locktime=TIP),
        "bad-txns-nonfinal",
    ),
    Case(
        "a time that has not come",
        "non-final",
        lambda scene: plain(scene.coins[0], locktime=scene.median_time),
        lambda scene: plain(scene.coins[0], locktime=scene.median_time - 1),
        "bad-txns-nonfinal",
    ),
    Case(
        "too few blocks since",
        "non-BIP68-final",
        lambda scene: plain(scene.old, sequence=101),
        lambda scene: plain(scene.old, sequence=100),
        "bad-txns-nonfinal",
    ),
    Case(
        "too little time since",
        "non-BIP68-final",
        lambda scene: plain(scene.old, sequence=1 << 22 | 1),
        lambda scene: plain(scene.old, sequence=1 << 22),
        "bad-txns-nonfinal",
    ),
    Case(
        "a relative lock in the first version's place",
        "non-BIP68-final",
        lambda scene: plain(scene.old, sequence=101, version=2),
        lambda scene: plain(scene.old, sequence=101, version=1),
        "bad-txns-nonfinal",
    ),
    Case("an output of dust", "dust", lambda scene: small(scene.old, 329), lambda scene: small(scene.old, 330)),
    Case("a fee too low", "min-fee", lambda scene: paying(scene.old, 1, -1), lambda scene: paying(scene.old, 1, 0)),
    Case(
        "a fee beyond the cap",
        "fee-too-high",
        lambda scene: paying(scene.old, 1_000, 1),
        lambda scene: paying(scene.old, 1_000, 0),
    ),
    Case("too large", "too-large", lambda scene: wide(scene.old, 1), lambda scene: wide(scene.old, 0)),
    Case(
        "another version",
        "nonstandard",
        lambda scene: plain(scene.old, version=3),
        lambda scene: plain(scene.old, version=2),
    ),
    Case("coins out of nothing", "coinbase", of_coinbase, lambda scene: plain(scene.coins[0]), "bad-cb-multiple"),
)
