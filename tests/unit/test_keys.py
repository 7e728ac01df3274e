"""A party's key: made once, private on disk, never shown."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nkeys
import pytest
from msgspec import structs
from nacl.signing import VerifyKey

from services.config import Settings
from services.keys import (
    BadKey,
    BadName,
    KeyUnreadable,
    MarketUnknown,
    Party,
    market_key,
    party,
    public_key,
    verify_key,
)
from services.private import KeyExposed


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_party_has_the_same_key_whenever_it_is_opened(settings: Settings) -> None:
    assert party(settings, "alice").key == party(settings, "alice").key != party(settings, "bob").key


def test_seed_file_is_for_its_owner_only(settings: Settings) -> None:
    party(settings, "alice")
    (file,) = settings.keys.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert settings.keys.stat().st_mode & 0o777 == 0o700


def test_two_processes_that_make_a_key_at_once_get_the_same_one(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: party(settings, "alice").key, range(32)))
    assert len(keys) == 1
    assert [file.name for file in settings.keys.iterdir()] == ["alice.seed"]


def test_seed_is_not_in_any_text_of_the_party(settings: Settings) -> None:
    alice = party(settings, "alice")
    assert alice.seed.startswith("SU")
    assert alice.seed not in f"{alice!r} {alice!s} {vars(type(alice))}"
    with pytest.raises(TypeError):
        pickle.dumps(alice)


def test_key_file_that_others_can_read_is_refused(settings: Settings) -> None:
    party(settings, "alice")
    (settings.keys / "alice.seed").chmod(0o640)
    with pytest.raises(KeyExposed, match="chmod 600"):
        party(settings, "alice")


def test_broken_key_file_is_refused_without_its_content(settings: Settings) -> None:
    seed = party(settings, "alice").seed
    (settings.keys / "alice.seed").write_text(seed[:-9])
    with pytest.raises(KeyUnreadable) as refused:
        party(settings, "alice")
    assert seed[:20] not in str(refused.value)


@pytest.mark.parametrize("name", ["", "../alice", "Alice", "a/b", ".hidden"])
def test_name_that_is_no_plain_file_name_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(BadName):
        party(settings, name)


def test_key_is_what_nats_makes_of_the_seed(settings: Settings) -> None:
    alice = party(settings, "alice")
    assert nkeys.from_seed(bytearray(alice.seed.encode())).public_key.decode() == alice.key
    assert public_key(verify_key(alice.key)) == alice.key


def test_signature_verifies_under_the_public_key(settings: Settings) -> None:
    alice: Party = party(settings, "alice")
    signature = alice.sign(b"a command")
    assert len(signature) == 64
    VerifyKey(verify_key(alice.key)).verify(b"a command", signature)


def test_mistyped_key_is_refused(settings: Settings) -> None:
    key = party(settings, "alice").key
    other = "A" if key[20] != "A" else "B"
    for wrong in (key[:20] + other + key[21:], key[:-1], key.lower(), "N" + key[1:], "", "ü" * 56):
        with pytest.raises(BadKey):
            verify_key(wrong)


def test_market_of_another_machine_is_named_and_never_made_up(settings: Settings) -> None:
    with pytest.raises(MarketUnknown, match="set PASAR_MARKET_KEY"):
        market_key(settings)
    assert not settings.keys.exists()
    known = party(Settings(home=settings.home / "elsewhere"), "market").key
    assert market_key(structs.replace(settings, market_key=known)) == known
    with pytest.raises(BadKey):
        market_key(structs.replace(settings, market_key="UNKNOWN"))
    own = party(settings, "market").key
    assert market_key(settings) == own
