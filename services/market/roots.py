"""Signs the log's root for whoever asks; a request for a position that is not on disk yet waits a moment for it."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from domain.errors import Refused, Unavailable
from services.bus.commands import Refusal
from services.bus.roots import NoRoot, RootAnswer, decode_wanted, encode_answer
from services.bus.wire import Message
from services.keys import Party
from services.ledger.merkle import CompactRange
from services.ledger.root import sign_root
from services.ports import Clock

#: How long a request waits for its position.
WAIT = timedelta(seconds=2)
WAITING_MAX = 256


class NotRecordedYet(Refused):
    template = "the log has {size} events and none at position {covers} yet; ask again when it is recorded"


class Committed(Protocol):
    """The end of the log as far as it is on disk."""

    position: int
    tree: CompactRange


class _Waiting(NamedTuple):
    covers: int
    reply: str
    until: datetime


class Roots:
    """Answers requests for the signed root; ``publish(subject, data)`` sends the replies."""

    def __init__(self, party: Party, publish: Callable[[str, bytes], None], clock: Clock) -> None:
        self._party, self._publish, self._clock = party, publish, clock
        self._waiting: deque[_Waiting] = deque()
        self.signed = 0

    def on_messages(self, messages: Sequence[Message], log: Committed | None) -> None:
        """Answer each request, or let it wait. ``log`` is absent while it cannot be reached."""
        for message in messages:
            reply = message.reply.decode()
            try:
                covers = decode_wanted(message.data).covers
                if log is None:
                    raise Unavailable(reason="the log cannot be reached, or is being read")
                if covers <= log.position:
                    self._answer(reply, log)
                elif len(self._waiting) < WAITING_MAX:
                    self._waiting.append(_Waiting(covers, reply, self._clock.now() + WAIT))
                else:
                    raise NoRoot(reason="too many wait for positions that are not recorded yet; try again later")
            except Refused as refusal:
                self._refuse(reply, refusal)

    def serve(self, log: Committed) -> None:
        """Answer those whose position is on disk now, and refuse those who have waited long enough."""
        if not self._waiting:
            return
        now, waiting = self._clock.now(), self._waiting
        self._waiting = deque()
        for one in waiting:
            if one.covers <= log.position:
                self._answer(one.reply, log)
            elif one.until <= now:
                self._refuse(one.reply, NotRecordedYet(size=log.position, covers=one.covers))
            else:
                self._waiting.append(one)

    def _answer(self, reply: str, log: Committed) -> None:
        if reply:
            self.signed += 1
            root = sign_root(self._party, log.position, log.tree.root, self._clock.now())
            self._publish(reply, encode_answer(RootAnswer(root)))

    def _refuse(self, reply: str, refusal: Refused) -> None:
        if reply:
            self._publish(reply, encode_answer(RootAnswer(refused=Refusal(-1, refusal.name, str(refusal)))))
