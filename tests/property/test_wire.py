"""The thin connection reads the same messages, wherever the network cuts them."""

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.bus.wire import Message, Wire

payloads = st.binary(max_size=60)
headers = st.sampled_from([b"", b"NATS/1.0\r\nce-id: a-1\r\n\r\n", b"NATS/1.0 408 Request Timeout\r\n\r\n"])
replies = st.sampled_from([b"", b"_INBOX.x.1", b"$JS.ACK.EVENTS.c.1.7.7.0.0"])
messages = st.builds(Message, st.just(b"pasar.events.job.a.JobPosted"), replies, headers, payloads)


def frame(message: Message) -> bytes:
    """The message as the server sends it."""
    parts = [message.subject, b"1", *([message.reply] if message.reply else [])]
    if not message.headers:
        return b"MSG %b %d\r\n%b\r\n" % (b" ".join(parts), len(message.data), message.data)
    size, total = len(message.headers), len(message.headers) + len(message.data)
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (b" ".join(parts), size, total, message.headers, message.data)


@given(st.lists(messages, max_size=8), st.lists(st.integers(0, 2_000), max_size=12))
def test_messages_are_read_whole_wherever_they_are_cut(sent: list[Message], cuts: list[int]) -> None:
    async def read() -> list[Message]:
        wire, got = Wire(None, "_INBOX", "test"), list[Message]()
        wire.subscribe("pasar.events.>", got.extend)
        stream = b"PING\r\n".join(frame(message) for message in sent)
        places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        for start, stop in pairwise(places):
            wire.data_received(stream[start:stop])
        return got

    assert asyncio.run(read()) == sent
