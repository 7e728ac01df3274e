"""The signed root: what the market signs is what is on disk, and nobody can change a bit of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from domain.errors import Refused
from services.bus import roots
from services.bus.roots import NoRoot, RootAnswer, RootWanted, ask_root
from services.bus.wire import Message
from services.ledger.merkle import CompactRange, hash_leaf
from services.ledger.root import NotSigned, SignedRoot, sign_root
from services.market.roots import WAIT, WAITING_MAX, Roots
from tests.unit.test_commands import ANNA, MALLORY

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    time: datetime = NOW

    def now(self) -> datetime:
        return self.time


@dataclass
class Log:
    position: int = 0
    tree: CompactRange = field(default_factory=CompactRange)

    def grow(self, events: int) -> "Log":
        self.tree = self.tree.grown(hash_leaf(bytes(1)) for _ in range(events))
        self.position += events
        return self


class Door:
    """The market's end of the subject, and what it has answered."""

    def __init__(self) -> None:
        self.answers: dict[str, RootAnswer] = {}
        self.clock, self.log = Clock(), Log().grow(7)
        self.roots = Roots(ANNA, self.publish, self.clock)

    def publish(self, subject: str, data: bytes) -> None:
        self.answers[subject] = msgspec.json.decode(data, type=RootAnswer)

    def ask(self, reply: str, data: bytes = b"", *, log: Any = ...) -> None:
        message = Message(roots.SUBJECT.encode(), reply.encode(), b"", data)
        self.roots.on_messages([message], self.log if log is ... else log)

    def refusal(self, reply: str) -> str:
        answer = self.answers[reply]
        assert answer.root is None
        assert answer.refused is not None
        return answer.refused.message


def covering(position: int) -> bytes:
    return msgspec.json.encode(RootWanted(position))


def test_root_is_signed_over_what_is_on_disk() -> None:
    door = Door()
    door.ask("a")
    door.ask("b", covering(7))
    expected = sign_root(ANNA, 7, door.log.tree.root, NOW)
    assert door.answers == {"a": RootAnswer(expected), "b": RootAnswer(expected)}
    expected.check()


def test_request_for_a_position_waits_until_it_is_recorded() -> None:
    door = Door()
    door.ask("early", covering(9))
    door.ask("late", covering(12))
    door.roots.serve(door.log.grow(1))
    assert door.answers == {}
    door.roots.serve(door.log.grow(2))
    assert door.answers["early"].root == sign_root(ANNA, 10, door.log.tree.root, NOW)
    door.clock.time += WAIT
    door.roots.serve(door.log)
    assert door.refusal("late") == "the log has 10 events and none at position 12 yet; ask again when it is recorded"


def test_no_more_than_so_many_requests_wait() -> None:
    door = Door()
    for number in range(WAITING_MAX + 1):
        door.ask(str(number), covering(8))
    assert list(door.answers) == [str(WAITING_MAX)]
    assert "too many wait" in door.refusal(str(WAITING_MAX))


@pytest.mark.parametrize(
    "data", [b"{", b'{"covers":-1}', b'{"covers":"1"}', b'{"size":1}', b"\xff", b" " * 300 + b"{}"]
)
def test_request_that_cannot_be_read_is_refused_with_a_sentence(data: bytes) -> None:
    door = Door()
    door.ask("a", data)
    assert "send nothing, or" in door.refusal("a")


def test_market_whose_log_is_away_signs_nothing() -> None:
    door = Door()
    door.ask("a", log=None)
    assert "the log cannot be reached" in door.refusal("a")
    door.ask("", b"")
    assert list(door.answers) == ["a"]


ROOT = sign_root(ANNA, 7, hash_leaf(b"x"), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"market": MALLORY.key},
        {"market": "A" * 56},
        {"size": 8},
        {"root": "0" * 64},
        {"at": NOW + timedelta(microseconds=1)},
        {"signature": "0" * 128},
    ],
    ids=lambda change: next(iter(change)),
)
def test_signature_covers_every_field(change: dict[str, Any]) -> None:
    ROOT.check()
    with pytest.raises(NotSigned):
        msgspec.structs.replace(ROOT, **change).check()


def test_root_is_written_in_one_way_only() -> None:
    text = msgspec.json.encode(ROOT)
    assert msgspec.json.decode(text, type=SignedRoot) == ROOT
    for wrong in (text.replace(ROOT.signature.encode(), ROOT.signature.upper().encode()), text[:-1] + b',"more":1}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(wrong, type=SignedRoot)


async def asked(answer: bytes, *, covers: int = 0) -> SignedRoot:
    async def request(subject: str, data: bytes, timeout_s: float) -> bytes:
        assert subject == "pasar.log.root"
        assert msgspec.json.decode(data) == {"covers": covers}
        return answer

    return await ask_root(request, ANNA.key, covers=covers)


async def test_client_believes_no_other_root_than_it_asked_for() -> None:
    good = roots.encode_answer(RootAnswer(ROOT))
    assert await asked(good, covers=7) == ROOT
    wrong: list[tuple[bytes, type[Refused]]] = [
        (b"{", NoRoot),
        (b"{}", NoRoot),
        (good.replace(b'"size":7', b'"size":8'), NotSigned),
        (roots.encode_answer(RootAnswer(sign_root(MALLORY, 7, bytes(32), NOW))), NotSigned),
    ]
    for answer, refusal in wrong:
        with pytest.raises(refusal):
            await asked(answer)
    with pytest.raises(NoRoot, match="covers position 8 it sent one over 7 events"):
        await asked(good, covers=8)
