"""`eventsourcing`'s own test cases over our log."""

from uuid import UUID

import pytest
from eventsourcing.persistence import AggregateRecorder, InfrastructureFactory, NotSupportedError, Tracking
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from services.ledger.recorder import Factory, LogRecorder


class OverTheLog:
    """Gives a test case of the library a database of its own, and takes it away."""

    @pytest.fixture(autouse=True)
    def _factory(self, database_url: str) -> object:
        env = {"PERSISTENCE_MODULE": "services.ledger.recorder", "PASAR_DATABASE_URL": database_url}
        factory = InfrastructureFactory.construct(env)
        assert isinstance(factory, Factory)
        self.factory = factory
        yield
        factory.close()


class TestAggregateRecorder(OverTheLog, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder("snapshots")


class TestApplicationRecorder(OverTheLog, ApplicationRecorderTestCase[LogRecorder]):
    def create_recorder(self) -> LogRecorder:
        recorder = self.factory.application_recorder()
        assert isinstance(recorder, LogRecorder)
        return recorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()

    def test_recorder_refuses_tracking(self) -> None:
        with pytest.raises(NotSupportedError):
            self.create_recorder().insert_events([], tracking=Tracking("upstream", 1))


class TestNonInterleavingNotificationIDs(OverTheLog, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> LogRecorder:
        return LogRecorder(self.factory.log)

    def new_originator_id(self) -> UUID | str:
        found = super().new_originator_id()
        assert isinstance(found, UUID)
        return found
