"""Replays the log and checks every invariant on every event; names the first event that breaks each.

The market's own fold is one of the witnesses only: money, assignments, commitments, rulings and actors are checked by
books that know nothing of it. The drivers are imported where a running market is audited: the same invariants are asked
of a receipt, where there is no database.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from domain.errors import Corrupt, Unavailable
from domain.events import AnyEvent
from domain.market import World
from services.audit.actors import Actors
from services.audit.anchors import Anchored
from services.audit.coins import Coins
from services.audit.invariant import Broken, Check, Invariant
from services.audit.money import Money
from services.audit.paid_out import PaidOut
from services.audit.payouts import Payouts
from services.audit.programs import Inspected, VerifiedBeforeReused
from services.audit.work import BoundBeforeShown, OneHolder, PaidForVerified, SlashedByRuling
from services.config import Settings
from services.ledger import codec, merkle
from services.ledger.root import SignedRoot
from services.ports import Stored
from services.replay import History, appoint, undisturbed

if TYPE_CHECKING:
    from services.projections.compare import Compared

Progress = Callable[[int, int], None]
#: What is checked of the events alone; a receipt's events are asked the same.
INVARIANTS: Final[tuple[type[Invariant], ...]] = (
    Money,
    Inspected,
    VerifiedBeforeReused,
    PaidForVerified,
    BoundBeforeShown,
    SlashedByRuling,
    OneHolder,
    Actors,
)
#: What is checked of payouts in a whole log; a receipt has a part of each, and checks that in its own way.
OF_CHAIN: Final[tuple[type[Invariant], ...]] = (Coins, Payouts, PaidOut, Anchored)
#: What an event that makes no sense does to code which expects that it does.
_NONSENSE: Final = (Broken, Corrupt, KeyError, IndexError, AssertionError, AttributeError, ValueError)


_LOG: Final = "Positions and numbers in streams have no gap, and every event decodes and fits the market's rules."
_MERKLE: Final = "The Merkle root recomputes from the stored bytes, and every root that is known is one of this log's."


class Violation(Struct, frozen=True):
    """Attributes:
    position: Of the event at fault; that of the last one where only the end shows it.
    """

    position: int
    event: str
    what: str


class Outcome(Struct):
    """How one invariant fared; after its first violation it is checked no further.

    Attributes:
        means: What holds if it does, as a sentence.
    """

    name: str
    means: str
    ok: bool = True
    checked: int = 0
    first_violation: Violation | None = None

    def broken(self, position: int, event: str, what: str) -> None:
        if self.first_violation is None or position < self.first_violation.position:
            self.ok, self.first_violation = False, Violation(position, event, what)


class Verdict(Struct, frozen=True):
    """Attributes:
    checked: Events that were read.
    root: Merkle root over them, in hex: it names this very history.
    """

    ok: bool
    checked: int
    root: str
    invariants: list[Outcome]


async def audit(
    log: History,
    *,
    upto: int | None = None,
    roots: Mapping[int, bytes] | None = None,
    signed: Sequence[SignedRoot] = (),
    database_url: str | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check the log, and the read models if they are given.

    Args:
        roots: Merkle roots that were published, by number of events; each must be that of the log's beginning.
        signed: Roots whose signature holds; each must be of the log's beginning, and of the market that keeps it.
        database_url: Where the read models are; they are compared at their own positions.
        progress: Called with events checked so far and those there are.
    """
    head = await log.head()
    last = head if upto is None else min(upto, head)
    known = [one for one in signed if upto is None or one.size <= upto]
    auditor = _Auditor(roots or {}, known, last, cut=last < head)
    with undisturbed():
        try:
            async for page in log.iterate(0, last):
                auditor.see(page)
                if progress is not None:
                    progress(auditor.position, last)
        except Corrupt as error:
            auditor.placed.broken(auditor.position + 1, "", str(error))
        await auditor.ask(log)
        outcomes = auditor.finish()
        if database_url is not None:
            outcomes.append(await _audit_read_models(log, database_url))
    return Verdict(all(found.ok for found in outcomes), auditor.position, auditor.tree.root.hex(), outcomes)


async def of_market(
    settings: Settings,
    *,
    upto: int | None = None,
    signed: Sequence[SignedRoot] = (),
    progress: Progress | None = None,
) -> Verdict:
    """Check a market's log and, unless it stops at ``upto``, its read models.

    Raises:
        Unavailable: No database is known.
        NotSigned: One of the signed roots is not.
    """
    from services.ledger.reader import LogReader

    for one in signed:
        one.check()
    url = settings.database_url
    if url is None:
        raise Unavailable(reason="no database is known; start the market with `pasar up`")
    roots = await stored_root(url)
    log = await LogReader.open(url, connections_max=2)
    try:
        models = url if upto is None else None
        return await audit(log, upto=upto, roots=roots, signed=signed, database_url=models, progress=progress)
    finally:
        await log.close()


async def stored_root(database_url: str) -> dict[int, bytes]:
    """The root that the log's head claims, by number of events."""
    import asyncpg

    from services.ledger.schema import SCHEMA

    connection = await asyncpg.connect(database_url)
    try:
        (row,) = await connection.fetch(f"SELECT pos, tree FROM {SCHEMA}.head")
        return {row["pos"]: merkle.CompactRange(row["pos"], row["tree"]).root}
    finally:
        await connection.close()


class _Auditor:
    """The books of one audit."""

    def __init__(self, roots: Mapping[int, bytes], signed: Sequence[SignedRoot], last: int, *, cut: bool) -> None:
        self.world, self.tree, self.position = World(""), merkle.CompactRange(), 0
        self.placed, self.rooted = Outcome("log", _LOG), Outcome("merkle", _MERKLE)
        self._versions: dict[bytes, int] = {}
        self._folds = True
        self._signed, self._cut = signed, cut
        self._roots: dict[int, set[bytes]] = {}
        claimed = [(size, root) for size, root in roots.items() if size <= last]
        for size, root in claimed + [(one.size, bytes.fromhex(one.root)) for one in signed]:
            self._roots.setdefault(size, set()).add(root)
        invariants = [invariant() for invariant in INVARIANTS + OF_CHAIN]
        self._anchored = [invariant for invariant in invariants if isinstance(invariant, Anchored)]
        self._invariants = [(invariant, Outcome(invariant.name, _means(invariant))) for invariant in invariants]
        self._routes: dict[type, list[tuple[Check, Outcome]]] = {}
        for invariant, outcome in self._invariants:
            for kind, look in invariant.checks().items():
                self._routes.setdefault(kind, []).append((look, outcome))

    def see(self, page: Sequence[Stored]) -> None:
        appoint(self.world, page)
        self._extend(page)
        decode, routes, placed = codec.decode, self._routes, self.placed
        for stored in page:
            self.position += 1
            if stored.position != self.position:
                placed.broken(self.position, stored.name, f"position {stored.position} stands here")
                raise Corrupt(f"position {self.position} is missing")
            try:
                event = decode(stored.name, stored.data, position=stored.position)
            except Corrupt as error:
                placed.broken(stored.position, stored.name, str(error))
                self._folds = False
                continue
            self._place(event, stored)
            for look, outcome in routes.get(type(event), ()):
                if outcome.ok:
                    outcome.checked += 1
                    try:
                        look(event, stored)
                    except _NONSENSE as error:
                        outcome.broken(stored.position, stored.name, _said(error))
        placed.checked += len(page)

    def _place(self, event: AnyEvent, stored: Stored) -> None:
        """Check the event's number in its stream, by counting and by the market's own rules."""
        version = self._versions.get(stored.stream, 0) + 1
        self._versions[stored.stream] = version
        if stored.version != version:
            self.placed.broken(stored.position, stored.name, f"it is number {stored.version} in place of {version}")
        if not self._folds:
            return
        try:
            self.world.apply(event)
            _, stream, number = self.world.place(event)
            if (stream, number) != (stored.stream, stored.version):
                raise Broken(f"the rules put it elsewhere: stream {stream.hex()}, number {number}")
        except _NONSENSE as error:
            self._folds = False
            self.placed.broken(stored.position, stored.name, f"it does not fit the rules: {_said(error)}")

    def _extend(self, page: Sequence[Stored]) -> None:
        leaves = list(map(merkle.leaf, page))
        for anchored in self._anchored:
            anchored.extend(self.tree, leaves)
        for size in [size for size in sorted(self._roots) if self.tree.size < size <= self.tree.size + len(page)]:
            split = size - self.tree.size
            self.tree.extend(leaves[:split])
            del leaves[:split]
            self._check_root(size)
        self.tree.extend(leaves)

    def _check_root(self, size: int) -> None:
        self.rooted.checked += 1
        if self._roots[size] != {self.tree.root}:
            self.rooted.broken(size, "", f"the published root over {size} events is not that of the log")

    async def ask(self, log: History) -> None:
        """Look up in the log the roots that payouts bound long before they were planned."""
        asked = sorted((event.size, position, event) for one in self._anchored for position, event in one.asked)
        tree = merkle.CompactRange()
        for size, position, event in asked:
            async for page in log.iterate(tree.size, size):
                tree.extend(map(merkle.leaf, page))
            if tree.root.hex() != event.root:
                outcome = next(outcome for one, outcome in self._invariants if isinstance(one, Anchored))
                what = f"it binds another root over {size} events than the log has"
                outcome.broken(position, codec.NAMES[type(event)], what)
                return

    def finish(self) -> list[Outcome]:
        if 0 in self._roots:
            self.rooted.checked += 1
            if self._roots[0] != {merkle.EMPTY_ROOT}:
                self.rooted.broken(0, "", "a published root over no events is not that of an empty log")
        for one in self._signed:
            if one.size > self.position:
                what = f"the market signed a root over {one.size} events and the log has {self.position}"
                self.rooted.broken(self.position, "", what)
            elif self.world.operator and one.market != self.world.operator:
                self.rooted.broken(one.size, "", f"the root is signed by {one.market}, which does not keep this log")
        for invariant, outcome in self._invariants:
            if outcome.ok:
                try:
                    invariant.finish(cut=self._cut)
                except _NONSENSE as error:
                    outcome.broken(self.position, "", _said(error))
        return [self.placed, self.rooted, *(outcome for _, outcome in self._invariants)]


async def _audit_read_models(log: History, database_url: str) -> Outcome:
    from services.projections.compare import check
    from services.projections.generations import PROJECTIONS

    outcome = Outcome("read_models", "Every read model is what a fresh fold of the log gives.")
    try:
        compared = await check(log, database_url, PROJECTIONS)
    except Corrupt as error:
        outcome.broken(0, "", f"the log cannot be folded again: {error}")
        return outcome
    outcome.checked = sum(found.rows for found in compared)
    wrong: Compared | None = next((found for found in compared if not found.equal), None)
    if wrong is not None:
        what = f"{wrong.name} differs from a fresh fold: has {wrong.extra[:1]}, should have {wrong.missing[:1]}"
        outcome.broken(wrong.position, wrong.name, what)
    return outcome


def _means(invariant: Invariant) -> str:
    """The first paragraph of what its class says of itself."""
    return " ".join((invariant.__doc__ or "").partition("\n\n")[0].split())


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, Broken | Corrupt) else f"{type(error).__name__}: {error}"
