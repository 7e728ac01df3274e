"""The table of NATS permissions, read as a whole."""

import pytest

from services.stack.permissions import ROLES, inbox, subscriptions


def covers(pattern: str, subject: str) -> bool:
    """Whether a NATS pattern matches a subject."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in ("*", given[place]):
            return False
    return len(wanted) == len(given)


def who_may_publish(subject: str) -> set[str]:
    return {name for name, role in ROLES.items() if any(covers(pattern, subject) for pattern in role.publish)}


def test_events_are_published_by_the_relay_alone() -> None:
    assert who_may_publish("pasar.events.job.x.JobPosted") == {"relay"}


def test_head_and_wake_are_published_by_the_market_alone() -> None:
    assert who_may_publish("pasar.head") == who_may_publish("pasar.wake.tasks") == {"market"}


@pytest.mark.parametrize("verb", ["DELETE", "PURGE", "UPDATE", "CREATE", "MSG.DELETE"])
def test_event_stream_is_changed_by_the_relay_alone(verb: str) -> None:
    assert who_may_publish(f"$JS.API.STREAM.{verb}.EVENTS") == {"relay"}


def test_public_deletes_no_consumer() -> None:
    assert "public" not in who_may_publish("$JS.API.CONSUMER.DELETE.EVENTS.somebody")


def test_consumers_are_listed_by_those_who_show_them() -> None:
    assert who_may_publish("$JS.API.CONSUMER.LIST.EVENTS") == {"relay", "reader"}
    assert who_may_publish("$JS.API.CONSUMER.LIST.OBJ_blobs") == {"relay"}


@pytest.mark.parametrize("subject", ["pasar.command", "pasar.log.root"])
def test_what_the_market_answers_is_heard_by_the_market_alone(subject: str) -> None:
    heard = {name for name in ROLES if any(covers(pattern, subject) for pattern in subscriptions(name))}
    assert heard == {"market"}


def test_arbiter_is_asked_by_settlement_alone() -> None:
    assert who_may_publish("pasar.arbiter") == {"settlement"}


def test_signed_root_is_for_everybody_who_reads_or_acts() -> None:
    assert who_may_publish("pasar.log.root") == {"public", "reader", "party", "inspector", "settlement"}


def test_no_role_hears_another_ones_replies() -> None:
    for name in ROLES:
        for other in ROLES:
            if other != name:
                assert not any(covers(pattern, f"{inbox(other)}.x.y") for pattern in subscriptions(name))


def test_client_without_a_key_makes_no_service_answer_elsewhere() -> None:
    assert "public" not in who_may_publish("$SRV.PING")
