"""Audits for whoever looks: one at a time in a process, each position of a log once, the last verdicts kept."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime
from time import monotonic
from typing import ClassVar, Final, NamedTuple

from domain.errors import Refused, Unavailable
from services import audit, bootstrap
from services.audit import Progress, Verdict
from services.bus.wire import BusError
from services.ledger.errors import LogLost
from services.ledger.root import SignedRoot
from services.ports import Stored
from services.viewing.archive import Replayable
from services.viewing.view import View
from ui.page import process
from ui.page.context import Context

VERDICTS_MAX: Final = 32
_PAGE: Final = 2_000
#: How long a signed root is shown before the market is asked again, and how long it is waited for, in seconds.
SIGNED_S: Final = 10.0
PATIENCE_S: Final = 3.0


class AuditRuns(Refused):
    template: ClassVar[str] = "another audit runs here and is at event {done:,} of {all:,}; wait for it and try again"


class Kept(NamedTuple):
    """Attributes:
    position: Of the last event that was checked. models: Whether the read models were compared too.
    """

    verdict: Verdict
    position: int
    at: datetime
    models: bool


class Auditor:
    """The process's audits, and the roots that the market signed."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._lock = threading.Lock()
        self._done, self._all = 0, 0
        self._kept: OrderedDict[tuple[str, int], Kept] = OrderedDict()
        self._signed: tuple[float, SignedRoot] | None = None

    def kept(self, context: Context) -> Kept | None:
        """The verdict at the position that is shown, or else the last one on this log."""
        with self._lock:
            found = [kept for (log, _), kept in self._kept.items() if log == context.log]
            exact = self._kept.get((context.log, context.view.position))
        return exact or (found[-1] if found else None)

    def run(self, context: Context, progress: Progress) -> Kept:
        """Check everything up to the position that is shown, in this thread.

        Raises:
            AuditRuns: One is being made.
            Unavailable: The database does not answer.
        """
        if not self._one.acquire(blocking=False):
            raise AuditRuns(done=self._done, all=self._all)
        try:
            self._done, self._all = 0, context.view.position

            def tell(done: int, all_: int) -> None:
                self._done, self._all = done, all_
                progress(done, all_)

            verdict = asyncio.run(_audit(context, tell))
        except LogLost as error:
            raise Unavailable(reason=str(error)) from error
        finally:
            self._one.release()
        models = any(one.name == "read_models" for one in verdict.invariants)
        kept = Kept(verdict, verdict.checked, process.market().clock.now(), models)
        with self._lock:
            self._kept.pop((context.log, kept.position), None)
            self._kept[context.log, kept.position] = kept
            while len(self._kept) > VERDICTS_MAX:
                self._kept.popitem(last=False)
        return kept

    def signed(self, covers: int) -> SignedRoot:
        """The market's word on its log, over the event at ``covers`` at least, asked for every few seconds at most.

        Raises:
            Refused: It gives none.
        """
        market = process.market()
        if market.settings is None:
            raise Unavailable(reason="this market was recorded and signs nothing")
        with self._lock:
            if self._signed is not None and self._signed[1].size >= covers and monotonic() < self._signed[0] + SIGNED_S:
                return self._signed[1]
        try:
            signed = market.ask(_soon(bootstrap.signed_root(market.settings, covers=covers)))
        except (BusError, TimeoutError, OSError) as error:
            raise Unavailable(reason=f"the market does not answer ({error or 'no reply in time'})") from error
        with self._lock:
            self._signed = monotonic(), signed
        return signed


async def _soon(work: Coroutine[None, None, SignedRoot]) -> SignedRoot:
    async with asyncio.timeout(PATIENCE_S):
        return await work


class _Shown:
    """A view as ``audit.audit`` reads a log."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def head(self) -> int:
        return self._view.position

    async def iterate(self, after: int, upto: int) -> AsyncIterator[list[Stored]]:
        while after < upto:
            page = list(self._view.events(after=after, limit=min(_PAGE, upto - after)))
            yield page
            after = page[-1].position


async def _audit(context: Context, progress: Progress) -> Verdict:
    settings = process.market().settings
    if context.log:
        return await audit.audit(Replayable(process.archives.log(context.log)), upto=context.upto, progress=progress)
    if settings is None:
        return await audit.audit(_Shown(context.view), progress=progress)
    return await audit.of_market(settings, upto=context.upto, progress=progress)


auditor = Auditor()
