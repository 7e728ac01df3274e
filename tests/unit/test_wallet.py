"""A party's wallet: one sealed seed, keys as BIP32 has them, and nothing secret in anything that is shown."""

import json
import logging
import pickle
import shutil
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from embit import bip32
from msgspec import structs

from domain.bitcoin import address, script_of
from domain.errors import Refused
from services.config import Secret, Settings
from services.keys import BadName
from services.private import KeyExposed
from services.settlement import lib
from services.settlement.wallet import (
    MainnetOff,
    PassphraseMissing,
    Role,
    Signer,
    Wallet,
    WalletDamaged,
    WrongPassphrase,
    p2wpkh,
    wallet,
)
from tests.bitcoin import library

#: Made once with this seed and passphrase; it must open for ever.
GOLDEN = Path(__file__).parent.parent / "golden" / "wallets" / "alice.wallet"
SEED = bytes(range(32))
PASSPHRASE = "correct horse battery staple"
#: Seed, chain, private extended key, public extended key: BIP32's test vectors 1 to 3.
BIP32 = [
    (
        "000102030405060708090a0b0c0d0e0f",
        "m/0'/1/2'/2/1000000000",
        "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
        "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
    ),
    (
        "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a29f9c999693908d8a8784817e7b7875726f6c696663605d5a"
        "5754514e4b484542",
        "m/0/2147483647'/1/2147483646'/2",
        "xprvA2nrNbFZABcdryreWet9Ea4LvTJcGsqrMzxHx98MMrotbir7yrKCEXw7nadnHM8Dq38EGfSh6dqA9QWTyefMLEcBYJUuekgW4BYPJcr9E7j",
        "xpub6FnCn6nSzZAw5Tw7cgR9bi15UV96gLZhjDstkXXxvCLsUXBGXPdSnLFbdpq8p9HmGsApME5hQTZ3emM2rnY5agb9rXpVGyy3bdW6EEgAtqt",
    ),
    (  # the chain's first private key begins with a zero, which some libraries lose
        "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df"
        "2e5a3c51c73235be",
        "m/0'",
        "xprv9uPDJpEQgRQfDcW7BkF7eTya6RPxXeJCqCJGHuCJ4GiRVLzkTXBAJMu2qaMWPrS7AANYqdq6vcBcBUdJCVVFceUvJFjaPdGZ2y9WACViL4L",
        "xpub68NZiKmJWnxxS6aaHmn81bvJeTESw724CRDs6HbuccFQN9Ku14VQrADWgqbhhTHBaohPX4CjNLf9fq9MYo6oDaPPLPxSb7gwQN3ih19Zm4Y",
    ),
]
#: BIP84: the seed of its mnemonic, and chain, public key and address.
BIP84_SEED = bytes.fromhex(
    "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
    "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
)
BIP84 = [
    (
        "0/0",
        "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c",
        "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
    ),
    (
        "0/1",
        "03e775fd51f0dfb8cd865d9ff1cca2a158cf651fe997fdc9fee9c1d3b5e995ea77",
        "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
    ),
    (
        "1/0",
        "03025324888e429ab8e3dbaf1f7802648b9cd01e9b418485c5fa4c1b9b5700e1a6",
        "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el",
    ),
]


@pytest.fixture(autouse=True)
def _loaded() -> lib.Library:
    return library()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def golden(tmp_path: Path) -> Settings:
    """A machine to which the golden wallet was copied."""
    settings = Settings(home=tmp_path / "golden", passphrase=Secret(PASSPHRASE))
    settings.keys.mkdir(parents=True)
    shutil.copy(GOLDEN, settings.keys / "alice.wallet")
    (settings.keys / "alice.wallet").chmod(0o600)
    return settings


@pytest.mark.parametrize(("seed", "chain", "private", "public"), BIP32)
def test_derivation_is_that_of_bip32(seed: str, chain: str, private: str, public: str) -> None:
    found = library().keys.HDKey.from_seed(bytes.fromhex(seed)).key_for_path(chain)
    expected, shown = bip32.HDKey.from_string(private), bip32.HDKey.from_string(public)
    assert found.private_byte == expected.key.serialize()
    assert found.chain == expected.chain_code == shown.chain_code
    assert found.public_byte == shown.key.serialize()


@pytest.mark.parametrize(("chain", "key", "text"), BIP84)
def test_address_of_a_derived_key_is_that_of_bip84(chain: str, key: str, text: str) -> None:
    found = library().keys.HDKey.from_seed(BIP84_SEED).key_for_path(f"m/84'/0'/0'/{chain}")
    assert found.public_byte.hex() == key
    assert address(p2wpkh(found.public_byte), "main") == text


@pytest.mark.parametrize(("network", "coin"), [("regtest", 1), ("signet", 1), ("testnet4", 1), ("main", 0)])
def test_golden_wallet_has_the_keys_that_another_library_derives(golden: Settings, network: str, coin: int) -> None:
    settings = structs.replace(golden, network="main")
    alice = wallet(settings, "alice", network=network)  # type: ignore[arg-type]
    root = bip32.HDKey.from_seed(SEED)
    for role in Role:
        for index in (0, 7, 2**31 - 1):
            expected = root.derive(f"m/48h/{coin}h/0h/2h/{role.value}/{index}").get_public_key().serialize()
            assert alice.public(role, index) == alice.signer(role, index).key == expected
    assert (
        script_of(alice.payout_address(), alice.network)
        == alice.payout_script()
        == p2wpkh(alice.public(Role.payout, 0))
    )


def test_wallet_has_the_same_keys_whenever_it_is_opened(settings: Settings) -> None:
    first = wallet(settings, "alice", network="regtest").public(Role.release, 0)
    assert wallet(settings, "alice", network="regtest").public(Role.release, 0) == first
    assert wallet(settings, "bob", network="regtest").public(Role.release, 0) != first


def test_wallet_file_is_for_its_owner_only_and_nothing_else_stays(settings: Settings) -> None:
    wallet(settings, "alice", network="regtest").public(Role.release, 0)
    assert sorted(file.name for file in settings.keys.iterdir()) == ["alice.wallet", "passphrase"]
    assert {file.stat().st_mode & 0o777 for file in settings.keys.iterdir()} == {0o600}


def test_wallets_made_at_once_are_one(settings: Settings) -> None:
    def key(index: int) -> bytes:
        opened = wallet(settings, "alice", network="regtest")
        return opened.public(Role.release, index % 2)

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(key, range(16)))
    assert len(set(keys)) == 2


def test_key_that_was_derived_before_needs_no_passphrase(golden: Settings) -> None:
    first = wallet(golden, "alice", network="regtest").public(Role.release, 0)
    locked = wallet(structs.replace(golden, passphrase=None), "alice", network="regtest")
    assert locked.public(Role.release, 0) == first
    with pytest.raises(PassphraseMissing, match=r"passphrase is gone; set PASAR_PASSPHRASE"):
        locked.public(Role.release, 1)
    assert not (golden.keys / "passphrase").exists()


def test_wrong_passphrase_is_refused_and_changes_nothing(golden: Settings) -> None:
    before = (golden.keys / "alice.wallet").read_bytes()
    wrong = wallet(structs.replace(golden, passphrase=Secret(PASSPHRASE + " ")), "alice", network="regtest")
    with pytest.raises(WrongPassphrase, match="set PASAR_PASSPHRASE to the one it was made with"):
        wrong.signer(Role.release, 0)
    assert (golden.keys / "alice.wallet").read_bytes() == before
    assert wallet(golden, "alice", network="regtest").signer(Role.release, 0)


def test_wallet_that_others_can_read_is_refused(golden: Settings) -> None:
    opened = wallet(golden, "alice", network="regtest")
    (golden.keys / "alice.wallet").chmod(0o640)
    for use in (lambda: wallet(golden, "alice", network="regtest"), lambda: opened.signer(Role.release, 0)):
        with pytest.raises(KeyExposed, match="chmod 600"):
            use()


def test_passphrase_file_that_others_can_read_is_refused(settings: Settings) -> None:
    opened = wallet(settings, "alice", network="regtest")
    (settings.keys / "passphrase").chmod(0o604)
    with pytest.raises(KeyExposed, match="passphrase"):
        opened.signer(Role.release, 0)


def test_any_changed_byte_of_a_wallet_file_is_found(golden: Settings) -> None:
    wallet(golden, "alice", network="regtest").public(Role.release, 0)
    file = golden.keys / "alice.wallet"
    whole = file.read_bytes()
    for place, byte in enumerate(whole):
        if bytes((byte,)).isspace():
            continue
        file.write_bytes(whole[:place] + bytes((byte ^ 1,)) + whole[place + 1 :])
        with pytest.raises(WalletDamaged, match="restore it from your copy"):
            wallet(golden, "alice", network="regtest")
    for damaged in (b"", b"{}", whole[:-40], b"\xff" + whole):
        file.write_bytes(damaged)
        with pytest.raises(WalletDamaged):
            wallet(golden, "alice", network="regtest")
    file.write_bytes(whole)
    assert wallet(golden, "alice", network="regtest").public(Role.release, 0)


def test_wallet_of_another_name_is_refused(golden: Settings) -> None:
    (golden.keys / "alice.wallet").rename(golden.keys / "bob.wallet")
    with pytest.raises(WalletDamaged):
        wallet(golden, "bob", network="regtest")


def test_public_key_that_was_exchanged_is_found_before_anything_is_signed(golden: Settings) -> None:
    """The checksum is no secret, so whoever can write the file can make it right; the seed tells."""
    alice = wallet(golden, "alice", network="regtest")
    alice.public(Role.release, 0)
    file = golden.keys / "alice.wallet"
    foreign = json.loads(file.read_bytes())["public"]["1/0/0"]
    bob = wallet(golden, "bob", network="regtest")
    bob.public(Role.release, 0)
    theirs = json.loads((golden.keys / "bob.wallet").read_bytes())["public"]["1/0/0"]
    assert foreign != theirs
    from services.settlement import wallet as module

    read = module._read(file)
    file.write_bytes(module._encode(structs.replace(read, public={"1/0/0": theirs})))
    with pytest.raises(WalletDamaged):
        alice.signer(Role.release, 0)


def test_real_money_needs_its_switch_and_a_passphrase_of_its_owner(settings: Settings) -> None:
    with pytest.raises(MainnetOff, match="PASAR_BITCOIN_MAINNET=yes"):
        wallet(settings, "alice", network="main")
    main = structs.replace(settings, network="main")
    with pytest.raises(PassphraseMissing, match="because it holds real money; set PASAR_PASSPHRASE"):
        wallet(main, "alice", network="main")
    assert not settings.keys.exists()
    assert wallet(structs.replace(main, passphrase=Secret(PASSPHRASE)), "alice", network="main")


@pytest.mark.parametrize("name", ["", "../alice", "Alice", "a/b", ".hidden"])
def test_name_that_is_no_plain_file_name_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(BadName):
        wallet(settings, name, network="regtest")


def test_index_that_no_path_has_is_refused(golden: Settings) -> None:
    for index in (-1, 2**31):
        with pytest.raises(ValueError, match="from 0 to"):
            wallet(golden, "alice", network="regtest").public(Role.release, index)


def _secrets() -> list[str]:
    """Every form in which the golden wallet's secrets could be shown."""
    root = library().keys.HDKey.from_seed(SEED)
    derived = root.key_for_path("m/48'/1'/0'/2'/0/0")
    account = root.key_for_path("m/48'/1'/0'/2'")
    forms = [PASSPHRASE, SEED.hex(), repr(SEED)]
    for key in (root, account, derived):
        forms += [key.private_byte.hex(), str(key.secret), key.wif(is_private=True), key.wif_key()]
        forms += [key.wif(is_private=True, witness_type=kind) for kind in ("legacy", "p2sh-segwit")]
    return forms


def test_no_secret_is_in_any_text_log_error_or_pickle(golden: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        alice = wallet(golden, "alice", network="regtest")
        signer = alice.signer(Role.release, 0)
        alice.public(Role.payout, 3)
        signature = signer.sign(bytes(32))
        texts = [repr(alice), str(alice), repr(signer), str(signer), repr(golden), signature.hex()]
        texts += [str(vars(kind)) for kind in (Wallet, Signer, Settings)]
        wrong = structs.replace(golden, passphrase=Secret("another"))
        (golden.keys / "broken.wallet").write_bytes((golden.keys / "alice.wallet").read_bytes()[:-20])
        (golden.keys / "broken.wallet").chmod(0o600)
        for use in (
            lambda: wallet(wrong, "alice", network="regtest").signer(Role.release, 0),
            lambda: wallet(golden, "broken", network="regtest"),
            lambda: wallet(structs.replace(golden, passphrase=None), "alice", network="regtest").signer(Role.refund, 9),
        ):
            with pytest.raises(Refused) as refused:
                use()
            texts += [str(refused.value), repr(refused.value.facts), *traceback.format_exception(refused.value)]
    texts += [record.getMessage() for record in caplog.records]
    texts += [file.read_text() for file in golden.keys.iterdir()]
    for secret in _secrets():
        assert len(secret) > 20
        assert not [text for text in texts if secret in text]
    for thing in (alice, signer, golden.passphrase):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)
