"""The log as `eventsourcing` knows it: ``Application``, repository and notification log over the market's own log.

    Application(env={"PERSISTENCE_MODULE": "services.ledger.recorder", "PASAR_DATABASE_URL": ...})

reads and writes the same tables as the market, through the same group commit; positions are its notification ids.
``PASAR_SCHEMA`` names another log in the same database.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    IntegrityError,
    ListenNotifySubscription,
    Mapper,
    Notification,
    NotSupportedError,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    TrackingRecorder,
    Transcoder,
)
from eventsourcing.utils import resolve_topic

from services.ledger.background import BackgroundLog
from services.ledger.errors import Conflict
from services.ledger.mapper import FactMapper, FactNotification, StoredFact
from services.ledger.reader import VERSION_MAX, VERSION_MIN
from services.ledger.schema import SCHEMA
from services.ports import Record, Stored

_POSITION_MAX = 2**62


class SnapshotRecorder(AggregateRecorder):
    """States beside the log, for applications that fold long streams."""

    def __init__(self, log: BackgroundLog) -> None:
        self._log = log

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> None:
        """Keep snapshots; a (stream, version) that has one refuses another with IntegrityError."""
        self._log.insert_snapshots(
            [
                (_uuid(event.originator_id), event.originator_version, event.topic, event.state)
                for event in stored_events
            ]
        )

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        after, upto = VERSION_MIN if gt is None else gt, VERSION_MAX if lte is None else lte
        rows = self._log.select_snapshots(_uuid(originator_id), after, upto, newest_first=desc, limit=limit)
        return [StoredEvent(originator_id, version, name, data) for version, name, data in rows]


class LogRecorder(ApplicationRecorder):
    """The blocking face of the log: any thread may call, and all callers share one group commit."""

    def __init__(self, log: BackgroundLog) -> None:
        self.log = log

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        """Append events, all or none.

        Raises:
            IntegrityError: A (stream, version) is taken.
            OperationalError: The log cannot be written.
            NotSupportedError: Positions of other applications are not kept here; read models keep their own.
        """
        if kwargs.get("tracking") is not None:
            raise NotSupportedError("the log keeps no tracking: a projection records its position with its effect")
        try:
            last = self.log.append([_record(event) for event in stored_events])
        except Conflict as conflict:
            raise IntegrityError(str(conflict)) from conflict
        return list(range(last - len(stored_events) + 1, last + 1))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        after, upto = VERSION_MIN if gt is None else gt, VERSION_MAX if lte is None else lte
        stream = _uuid(originator_id).bytes
        return [
            StoredFact(originator_id, found.version, found.name, found.data, found.meta)
            if found.meta
            else StoredEvent(originator_id, found.version, found.name, found.data)
            for found in self.log.stream(stream, after=after, upto=upto, newest_first=desc, limit=limit)
        ]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> list[Notification]:
        after = 0 if start is None else start - 1 if inclusive_of_start else start
        upto = _POSITION_MAX if stop is None else stop
        return list(map(_notification, self.log.select(max(after, 0), upto, topics, limit)))

    def max_notification_id(self) -> int | None:
        return self.log.head() or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return LogSubscription(self, gt=gt, topics=topics)


class LogSubscription(ListenNotifySubscription[LogRecorder]):
    """Notifications as they are committed, whoever commits them."""

    def __init__(self, recorder: LogRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        recorder.log.listen(self._has_been_notified)

    def stop(self) -> None:
        super().stop()
        self._recorder.log.unlisten(self._has_been_notified)


class Factory(InfrastructureFactory[TrackingRecorder]):
    """Builds recorders over one log; closing it ends the log's thread."""

    DATABASE_URL = "PASAR_DATABASE_URL"
    SCHEMA = "PASAR_SCHEMA"
    _log: BackgroundLog | None = None

    @property
    def log(self) -> BackgroundLog:
        """The log, opened by the first who needs it."""
        if self._log is None:
            url = self.env.get(self.DATABASE_URL)
            if not url:
                raise InfrastructureFactoryError(f"set {self.DATABASE_URL} to the database of the log")
            self._log = BackgroundLog(url, schema=self.env.get(self.SCHEMA, SCHEMA))
        return self._log

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[Any]] | None = None
    ) -> Mapper[Any]:
        """The market's events, unless the environment names another mapper for another schema."""
        if mapper_class is None and not self.env.get(self.MAPPER_TOPIC):
            mapper_class = FactMapper
        return super().mapper(transcoder, mapper_class)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        return SnapshotRecorder(self.log)

    def application_recorder(self) -> ApplicationRecorder:
        topic = self.env.get(self.APPLICATION_RECORDER_TOPIC)
        recorder_class: type[LogRecorder] = resolve_topic(topic) if topic else LogRecorder
        if not issubclass(recorder_class, LogRecorder):
            raise InfrastructureFactoryError(f"{topic} is no LogRecorder")
        return recorder_class(self.log)

    def tracking_recorder(self, tracking_recorder_class: type[TrackingRecorder] | None = None) -> TrackingRecorder:
        raise NotSupportedError("a projection keeps its position in the transaction of its effect")

    def process_recorder(self) -> ProcessRecorder:
        raise NotSupportedError("what reacts to events sends commands; it appends no events of its own")

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def _uuid(originator_id: UUID | str) -> UUID:
    return originator_id if isinstance(originator_id, UUID) else UUID(originator_id)


def _record(event: StoredEvent) -> Record:
    meta = event.meta if isinstance(event, StoredFact) else b""
    return Record(_uuid(event.originator_id).bytes, event.originator_version, event.topic, event.state, meta)


def _notification(found: Stored) -> Notification:
    stream = UUID(bytes=found.stream)
    if found.meta:
        return FactNotification(stream, found.version, found.name, found.data, found.position, found.meta)
    return Notification(stream, found.version, found.name, found.data, found.position)
