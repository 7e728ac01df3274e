"""`eventsourcing.Application` reads and writes the log that the market writes."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import InfrastructureFactoryError, IntegrityError, OperationalError, ProgrammingError

from domain.events import EscrowFunded, EscrowReserved
from services.ledger.codec import Meta, encode, encode_meta
from services.ledger.mapper import FactNotification, Recorded
from services.ledger.recorder import LogRecorder
from services.ports import Record
from tests.golden.generate import example
from tests.ledger import running_log

FUNDED, RESERVED = example(EscrowFunded), example(EscrowReserved)
META = Meta("U" + "A" * 55, "0" * 32, "0" * 16)


class CountingRecorder(LogRecorder):
    """Stands for any recorder that a user of the library may name by its topic."""


class Counter(Aggregate):
    """An aggregate of the library itself, for a log of another schema."""

    def __init__(self) -> None:
        self.count = 0

    @event("Counted")
    def add(self) -> None:
        self.count += 1


def environment(database_url: str, **more: str) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": "services.ledger.recorder", "PASAR_DATABASE_URL": database_url, **more}


@pytest.fixture
def application(database_url: str) -> Iterator[Application[UUID]]:
    with Application[UUID](environment(database_url)) as application:
        yield application


@dataclass(frozen=True)
class History:
    """Names of the facts in a stream."""

    id: UUID
    version: int
    names: tuple[str, ...]


def history(state: History | None, facts: Iterable[Recorded]) -> History | None:
    """Folds a stream."""
    for one in facts:
        earlier = state.names if state else ()
        state = History(one.originator_id, one.originator_version, (*earlier, type(one.fact).__name__))
    return state


def test_application_saves_facts_and_folds_them_again(application: Application[UUID]) -> None:
    stream = uuid4()
    saved = application.save(Recorded(stream, 1, FUNDED, META), Recorded(stream, 2, RESERVED, META))
    assert [recording.notification.id for recording in saved] == [1, 2]
    assert application.repository.get(stream, projector_func=history).names == ("EscrowFunded", "EscrowReserved")
    assert application.repository.get(stream, version=1, projector_func=history).names == ("EscrowFunded",)
    with pytest.raises(AggregateNotFoundError):
        application.repository.get(uuid4(), projector_func=history)


def test_application_raises_integrity_error_when_a_version_is_taken(application: Application[UUID]) -> None:
    stream = uuid4()
    application.save(Recorded(stream, 1, FUNDED, META))
    with pytest.raises(IntegrityError):
        application.save(Recorded(stream, 1, RESERVED, META))
    assert application.recorder.max_notification_id() == 1


def test_application_reads_what_the_market_wrote_and_the_market_what_it_saved(
    application: Application[UUID], database_url: str
) -> None:
    stream = uuid4()

    async def market() -> bytes:
        async with running_log(database_url) as log:
            await log.append([Record(stream.bytes, 1, "EscrowFunded.v1", encode(FUNDED), encode_meta(META))])
            await asyncio.to_thread(application.save, Recorded(stream, 2, RESERVED, META))
            return (await log.read(1, 1))[0].data

    assert asyncio.run(market()) == encode(RESERVED)
    assert application.repository.get(stream, projector_func=history).names == ("EscrowFunded", "EscrowReserved")
    notifications = application.notification_log.select(1, 10)
    assert [(one.id, one.topic, one.state) for one in notifications] == [
        (1, "EscrowFunded.v1", encode(FUNDED)),
        (2, "EscrowReserved.v1", encode(RESERVED)),
    ]
    assert isinstance(notifications[0], FactNotification)
    assert application.mapper.to_domain_event(notifications[0]) == Recorded(stream, 1, FUNDED, META)


def test_subscription_hears_commits_of_another_writer(application: Application[UUID], database_url: str) -> None:
    async def market() -> None:
        async with running_log(database_url) as log:
            await log.append([Record(uuid4().bytes, 1, "EscrowFunded.v1", encode(FUNDED), encode_meta(META))])

    with application.recorder.subscribe() as subscription:
        application.save(Recorded(uuid4(), 1, FUNDED, META))
        assert next(subscription).id == 1
        asyncio.run(market())
        assert next(subscription).id == 2


def test_application_refuses_what_is_not_in_the_published_language(application: Application[UUID]) -> None:
    with pytest.raises(ProgrammingError, match="no event of the published language"):
        application.save(Counter())
    assert application.recorder.max_notification_id() is None


def test_application_keeps_aggregates_of_the_library_in_a_schema_of_their_own(database_url: str) -> None:
    more = {"PASAR_SCHEMA": "other", "MAPPER_TOPIC": "eventsourcing.persistence:Mapper", "IS_SNAPSHOTTING_ENABLED": "y"}
    with Application[UUID](environment(database_url, **more)) as other:
        counter = Counter()
        counter.add()
        other.save(counter)
        other.take_snapshot(counter.id)
        counter.add()
        other.save(counter)
        assert other.repository.get(counter.id).count == 2
    with Application[UUID](environment(database_url)) as application:
        assert application.recorder.max_notification_id() is None


def test_application_takes_its_recorder_from_the_environment(database_url: str) -> None:
    topic = f"{__name__}:CountingRecorder"
    with Application[UUID](environment(database_url, APPLICATION_RECORDER_TOPIC=topic)) as application:
        assert isinstance(application.recorder, CountingRecorder)
    with pytest.raises(InfrastructureFactoryError, match="no LogRecorder"):
        Application[UUID](environment(database_url, APPLICATION_RECORDER_TOPIC=f"{__name__}:Counter"))


def test_application_says_what_is_missing_when_it_has_no_database() -> None:
    with pytest.raises(InfrastructureFactoryError, match="PASAR_DATABASE_URL"):
        Application[UUID]({"PERSISTENCE_MODULE": "services.ledger.recorder"})


def test_application_raises_operational_error_when_it_is_closed(application: Application[UUID]) -> None:
    application.close()
    with pytest.raises(OperationalError, match="closed"):
        application.recorder.max_notification_id()


def test_application_raises_operational_error_when_the_database_ends_its_connection(
    application: Application[UUID], database_url: str
) -> None:
    async def end_connections() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pasar%'"
        )
        await connection.close()

    application.save(Recorded(uuid4(), 1, FUNDED, META))
    asyncio.run(end_connections())
    with pytest.raises(OperationalError):
        application.save(Recorded(uuid4(), 1, FUNDED, META))
    with pytest.raises(OperationalError):
        application.save(Recorded(uuid4(), 1, FUNDED, META))
    application.close()
    with Application[UUID](environment(database_url)) as again:
        assert again.recorder.max_notification_id() == 1
