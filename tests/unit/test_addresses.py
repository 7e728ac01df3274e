"""Addresses, against every vector of BIP173 and BIP350 that is about segwit addresses."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bitcoin import BadAddress, Network, NoAddress, address, op_return, p2wsh, script_of

#: BIP350; those of version 0 are in BIP173 too.
VALID = [
    ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
    (
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
    ),
    (
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6",
    ),
    ("BC1SW50QGDZ25J", "6002751e"),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323"),
    (
        "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
        "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433",
    ),
    (
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    ),
]
INVALID = [
    # BIP350
    ("tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut", "not a segwit address"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "checksum"),
    ("tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf", "checksum"),
    ("BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "checksum"),
    ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", "checksum"),
    ("tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47", "checksum"),
    ("bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "letter that no address has"),
    ("BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", "no output script"),
    ("bc1pw5dgrnzv", "no output script"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav", "no output script"),
    ("BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "no output script"),
    ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq", "capital and small"),
    ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", "no output script"),
    ("tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j", "no output script"),
    ("bc1gmk9yu", "too short"),
    # BIP173
    ("tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty", "not a segwit address"),
    ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "checksum"),
    ("BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2", "checksum"),
    ("bc1rw5uspcuh", "checksum"),
    ("bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90", "checksum"),
    ("tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7", "capital and small"),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du", "checksum"),
    ("tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv", "no output script"),
    # BIP173 as bech32 of a later version, which BIP350 took back
    ("bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7k7grplx", "checksum"),
    ("BC1SW50QA3JX3S", "checksum"),
    ("bc1zw508d6qejxtdg4y5r3zarvaryvg6kdaj", "checksum"),
    # other forms
    ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "capital and small"),
    ("", "not a segwit address"),
    ("bc1q" + "q" * 400, "longer than 90"),
    ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3ť4", "other signs"),
]

programs = st.one_of(
    st.sampled_from((20, 32)).flatmap(lambda size: st.binary(min_size=size, max_size=size)).map(lambda p: (0, p)),
    st.tuples(st.integers(0x51, 0x60), st.binary(min_size=2, max_size=40)),
).map(lambda form: bytes((form[0], len(form[1]))) + form[1])
networks = st.sampled_from(get_args(Network))


@pytest.mark.parametrize(("text", "script"), VALID)
def test_address_of_the_bips_is_read_and_written(text: str, script: str) -> None:
    network: Network = "main" if text.lower().startswith("bc") else "signet"
    assert script_of(text, network).hex() == script
    assert address(bytes.fromhex(script), network) == text.lower()


@pytest.mark.parametrize(("text", "reason"), INVALID)
def test_address_that_the_bips_forbid_is_refused_for_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadAddress, match=reason) as refused:
        script_of(text, "testnet4" if text.startswith("tb") else "main")
    assert len(str(refused.value)) < 300


@given(programs, networks)
def test_address_leads_back_to_its_script(script: bytes, network: Network) -> None:
    text = address(script, network)
    assert script_of(text, network) == script_of(text.upper(), network) == script


@given(programs, networks, st.data())
def test_address_with_one_wrong_letter_is_refused(script: bytes, network: Network, data: st.DataObject) -> None:
    text = address(script, network)
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != text[place]))
    with pytest.raises(BadAddress):
        script_of(text[:place] + letter + text[place + 1 :], network)


def test_address_of_another_network_is_refused_by_its_name() -> None:
    script = p2wsh(b"\x51")
    with pytest.raises(BadAddress, match="belongs to main; ask for an address that begins with bcrt1"):
        script_of(address(script, "main"), "regtest")
    with pytest.raises(BadAddress, match="belongs to signet and testnet4"):
        script_of(address(script, "signet"), "main")
    assert script_of(address(script, "regtest"), "regtest") == script


@pytest.mark.parametrize("script", [b"", op_return(bytes(32)), b"\x00\x15" + bytes(21), b"\x51\x01\x00", bytes(500)])
def test_script_without_an_address_is_refused(script: bytes) -> None:
    with pytest.raises(NoAddress):
        address(script, "main")
