"""Command frames: what is no signed batch of well-formed commands is refused with a reason, whatever its bytes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import errors
from domain.errors import Refused
from domain.job import CancelJob, PostJob
from domain.settlement import ConfirmDeposit
from domain.task import SubmitResult
from domain.worker import PauseWorker, RegisterWorker
from services.bus.commands import DOMAIN, FRAME_MAX, ITEMS_MAX, Body, Nonces, open_frame, sign
from services.keys import Party, verify_key
from tests.spec import PROGRAM, a_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARKET = "U" + "M" * 55
NONCE = "0e" * 16


def a_party(letter: bytes) -> Party:
    return Party(letter.decode(), nkeys.encode_seed(letter * 32, nkeys.PREFIX_BYTE_USER).decode())


ANNA, MALLORY = a_party(b"a"), a_party(b"m")


def signed(body: bytes, party: Party = ANNA) -> bytes:
    """A frame whose signature holds, whatever its body."""
    return verify_key(party.key) + party.sign(DOMAIN + body) + body


def a_body(*items: Any, **changes: Any) -> bytes:
    """A good body as JSON; change what the test is about."""
    usual: dict[str, Any] = {
        "market": MARKET,
        "nonce": NONCE,
        "expires_at": NOW + timedelta(seconds=30),
        "items": list(items) or [PauseWorker()],
    }
    return msgspec.json.encode({**usual, **changes})


def refusal(frame: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        open_frame(frame, MARKET, NOW)
    return caught.value


def test_signed_batch_opens() -> None:
    opened = open_frame(sign(ANNA, MARKET, [PauseWorker()], now=NOW, nonce=NONCE), MARKET, NOW)
    assert opened.actor == ANNA.key
    assert opened.body.items == [PauseWorker()]


def test_batch_of_another_key_or_other_bytes_is_unsigned() -> None:
    good = signed(a_body())
    assert isinstance(refusal(verify_key(MALLORY.key) + good[32:]), errors.Unsigned)
    assert isinstance(refusal(good[:-1] + b" "), errors.Unsigned)
    assert isinstance(refusal(bytes(96) + good[96:]), errors.Unsigned)


def test_batch_without_the_domain_is_unsigned() -> None:
    body = a_body()
    assert isinstance(refusal(verify_key(ANNA.key) + ANNA.sign(body) + body), errors.Unsigned)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expires_at": NOW}, errors.Expired),
        ({"expires_at": NOW + timedelta(seconds=61)}, errors.TooFarAhead),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, errors.TooFarAhead),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, errors.Expired),
        ({"expires_at": "2026-01-01T00:00:10"}, errors.Malformed),
        ({"market": "U" + "X" * 55}, errors.Malformed),
        ({"items": []}, errors.Malformed),
        ({"items": [PauseWorker()] * (ITEMS_MAX + 1)}, errors.Malformed),
        ({"items": [{"type": "MakeMeRich"}]}, errors.Malformed),
        ({"items": [{"type": "PauseWorker", "note": "hello"}]}, errors.Malformed),
        ({"nonce": "0e"}, errors.Malformed),
        ({"nonce": "\r\nHPUB a b 0 0\r\n" + "0" * 16}, errors.Malformed),
        ({"nonce": "g" * 32}, errors.Malformed),
        ({"nonce": "E" * 32}, errors.Malformed),
    ],
    ids=lambda value: str(value)[:40],
)
def test_batch_is_refused_when(change: dict[str, Any], reason: type[Refused]) -> None:
    assert type(refusal(signed(a_body(**change)))) is reason


def changed(command: Any, **fields: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(command), **fields}


@pytest.mark.parametrize(
    "item",
    [
        changed(a_job(), escrow="x" * 24),
        changed(a_job(), budget_msat=-1),
        changed(a_job(), program=changed(PROGRAM, address="sha256:" + "*" * 64)),
        changed(a_job(), program=changed(PROGRAM, address="sha256:" + "../" * 21 + "x")),
        changed(a_job(), mapped=changed(PROGRAM, address="x\r\nPUB pasar.head 0\r\n\r\n" + "0" * 48)),
        changed(a_job(), shared=changed(PROGRAM, salt="-" * 32)),
        changed(a_job(), price_msat=1.5),
        changed(a_job(), expires_at="tomorrow"),
        changed(a_job(), platforms=[]),
        changed(a_job(), platforms=["abacus"]),
        changed(CancelJob("0" * 24), job="0" * 23 + "\n"),
        changed(SubmitResult("0" * 24, 0, NONCE, PROGRAM, "0" * 64), task=-1),
        changed(SubmitResult("0" * 24, 0, NONCE, PROGRAM, "0" * 64), nonce="-" * 32),
        changed(SubmitResult("0" * 24, 0, NONCE, PROGRAM, "0" * 64), result=changed(PROGRAM, size=-1)),
        changed(RegisterWorker("cpu", 1, 1024, "0.10.2"), jax_version="0.10.2\n"),
        changed(RegisterWorker("cpu", 1, 1024, "0.10.2"), memory_mb=0),
        changed(ConfirmDeposit("escrow", ANNA.key, 1, "0" * 16), owner="u" * 56),
        changed(ConfirmDeposit("escrow", ANNA.key, 1, "0" * 16), amount_msat=0),
        changed(ConfirmDeposit("escrow", ANNA.key, 1, "0" * 16), amount_msat=2**63),
        {"type": "ReturnTasks", "keep": [["0" * 23 + ".", 1]]},
    ],
)
def test_item_of_another_form_is_malformed(item: dict[str, Any]) -> None:
    assert isinstance(refusal(signed(a_body(item))), errors.Malformed)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e308", b"-1", b"9" * 30])
def test_number_that_is_no_amount_is_malformed(number: bytes) -> None:
    body = a_body(ConfirmDeposit("escrow", ANNA.key, 777, "0" * 16)).replace(b"777", number)
    assert isinstance(refusal(signed(body)), errors.Malformed)


def test_frame_has_a_size() -> None:
    assert isinstance(refusal(signed(b"")), errors.Malformed)
    assert isinstance(refusal(signed(a_body() + b" " * FRAME_MAX)), errors.Malformed)
    assert open_frame(signed(a_body().ljust(FRAME_MAX - 96)), MARKET, NOW)


def test_nonce_is_used_once_until_its_command_has_expired() -> None:
    nonces, at = Nonces(), NOW
    for _ in range(100):
        nonces.use(ANNA.key, NONCE, at)
        nonces.use(MALLORY.key, NONCE, at)
        for later in (0, 30, 60):
            with pytest.raises(errors.Replayed):
                nonces.use(ANNA.key, NONCE, at + timedelta(seconds=later))
        at += timedelta(seconds=181)


# ------------------------------------------------------------------------------------------------------------ any bytes
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def opens_or_refuses(frame: bytes) -> None:
    try:
        opened = open_frame(frame, MARKET, NOW)
    except Refused:
        return
    assert isinstance(opened.body, Body)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(frame: bytes) -> None:
    assert refusal(frame)


@given(st.binary(max_size=400))
def test_any_signed_bytes_are_refused(body: bytes) -> None:
    assert isinstance(refusal(signed(body)), errors.Malformed)


@given(st.data())
def test_any_change_of_a_good_body_opens_or_is_refused(data: st.DataObject) -> None:
    body = bytearray(a_body(a_job(), SubmitResult("0" * 24, 0, NONCE, PROGRAM, "0" * 64)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    opens_or_refuses(signed(bytes(body[: data.draw(st.integers(0, len(body)))])))


@given(st.sampled_from(PostJob.__struct_fields__), _json)
def test_any_value_in_a_field_opens_or_is_refused(field: str, value: Any) -> None:
    body = msgspec.json.encode(changed(a_job(), **{field: value}))
    opens_or_refuses(signed(a_body(msgspec.Raw(body))))


@given(_json, _json, _json)
def test_any_envelope_opens_or_is_refused(nonce: Any, expires_at: Any, items: Any) -> None:
    opens_or_refuses(signed(a_body(nonce=nonce, expires_at=expires_at, items=items)))
