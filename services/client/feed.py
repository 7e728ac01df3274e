"""One subscription to the market's events, shared by all that a client follows."""

from collections.abc import Callable

from domain.ids import Kind, kind_of
from services import bootstrap
from services.bus.consume import Consumer
from services.client.story import Story
from services.config import Settings
from services.ledger.codec import decode_stored
from services.ports import Stored
from services.projections.model import Seen

Heard = Callable[[], None]


class Feed:
    """Hands events to the stories that are followed. ``run`` it in a task; all else is called in its loop.

    It hears of every event, looks at the stream's id, and decodes only those that concern a followed job or its
    escrow: a subscription for each job would cost the broker a consumer each, and each submission a round trip.
    """

    def __init__(self, settings: Settings, after: int) -> None:
        self._position = after
        self._stories: dict[str, tuple[Story, Heard]] = {}
        self._owners: set[bytes] = set()
        self._consumer = Consumer(bootstrap.wires(settings, "reader", "client"), lambda: self._position, self._offer)

    @property
    def position(self) -> int:
        """The last position that was heard of."""
        return self._position

    def watch(self, story: Story, escrow: str, heard: Heard) -> None:
        """Follow a job from here on; ``heard`` is called after each of its events."""
        self._stories[story.job] = story, heard
        self._owners |= {bytes.fromhex(story.job), bytes.fromhex(escrow)}

    def leave(self, job: str) -> None:
        """Follow it no longer. Its escrow stays known: most likely it pays for the next one too."""
        if self._stories.pop(job, None) is not None:
            self._owners.discard(bytes.fromhex(job))

    async def run(self) -> None:
        """Listen for ever, over interruptions of the broker."""
        await self._consumer.run()

    async def _offer(self, events: list[Stored]) -> None:
        for stored in events:
            if stored.position <= self._position:
                continue
            self._position = stored.position
            if stored.stream[:12] in self._owners and kind_of(stored.stream) in _KINDS:
                self._tell(stored)

    def _tell(self, stored: Stored) -> None:
        event = decode_stored(stored)
        story, heard = self._stories.get(getattr(event, "job", ""), (None, None))
        if story is not None and heard is not None and story.see(Seen(stored.position, event, stored.recorded_at)):
            heard()


_KINDS = (Kind.job, Kind.task, Kind.dispute, Kind.escrow)
