"""The market's endpoint answers where a sender listens, and nowhere that a sender names instead."""

import pytest

from services.bus.wire import Message
from services.market.service import answerable


def heard(reply: bytes) -> list[Message]:
    return [Message(b"pasar.command", reply, b"", b"a frame")]


@pytest.mark.parametrize("reply", [b"_INBOX.a.1", b"_INBOX_party.b.2", b""])
def test_sender_is_answered_on_its_inbox_if_at_all(reply: bytes) -> None:
    assert answerable(heard(reply)) == heard(reply)


@pytest.mark.parametrize("reply", [b"$O.blobs.M.c2hhMjU2", b"pasar.head", b"_INBOX.\xff", b"\xff\xfe"])
def test_market_publishes_nowhere_else_on_behalf_of_a_sender(reply: bytes) -> None:
    assert answerable(heard(reply)) == []
