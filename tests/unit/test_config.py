"""Settings: real money is switched on twice, a passphrase is shown nowhere."""

import json
import pickle

import msgspec
import pytest

from services.config import BadSetting, from_environment


def test_money_is_play_money_unless_said_otherwise() -> None:
    assert from_environment({}).network == "regtest"
    assert from_environment({"PASAR_BITCOIN_NETWORK": "testnet4"}).network == "testnet4"


def test_unknown_network_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BadSetting, match="one of regtest, signet, testnet4, main"):
        from_environment({"PASAR_BITCOIN_NETWORK": "bitcoin"})


@pytest.mark.parametrize("confirmed", [{}, {"PASAR_BITCOIN_MAINNET": "1"}, {"PASAR_BITCOIN_MAINNET": "no"}])
def test_main_is_refused_unless_it_is_confirmed(confirmed: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match="PASAR_BITCOIN_MAINNET=yes"):
        from_environment({"PASAR_BITCOIN_NETWORK": "main", **confirmed})
    settings = from_environment({"PASAR_BITCOIN_NETWORK": "main", "PASAR_BITCOIN_MAINNET": "yes"})
    assert settings.network == "main"


def test_passphrase_is_told_to_who_asks_and_shown_nowhere() -> None:
    settings = from_environment({"PASAR_PASSPHRASE": "open sesame"})
    assert settings.passphrase is not None
    assert settings.passphrase.reveal() == "open sesame"
    assert "sesame" not in f"{settings!r} {settings!s} {settings.passphrase!r} {settings.passphrase}"
    for write in (pickle.dumps, msgspec.json.encode, json.dumps):
        with pytest.raises(TypeError):
            write(settings)
    assert from_environment({"PASAR_PASSPHRASE": ""}).passphrase is None
