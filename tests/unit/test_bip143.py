"""What is signed, and how, against BIP143's own values and a second library."""

from typing import Any

import pytest
from embit import script as embit_script
from embit.transaction import Transaction as EmbitTransaction
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.bitcoin import HEIGHT_MAX, RBF, TIMELOCKED, Tx, TxIn, TxOut, op_return, parse, with_witness
from services.settlement.signing import Spend, digest
from services.settlement.wallet import Signer
from tests.bitcoin import ESCROW, RESERVE, coin, digest_by_bitcoinlib, library

#: Unsigned transaction, input, script, amount, digest: those of BIP143 that sign everything.
BIP143: list[tuple[str, str, int, str, int, str]] = [
    (
        "P2WPKH",
        "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d2"
        "79655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c9"
        "5a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000",
        1,
        "76a9141d0f172a0ecb48aee1be1f2687d2963ae33f71a188ac",
        600_000_000,
        "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670",
    ),
    (
        "P2SH-P2WPKH",
        "0100000001db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a54770100000000feffffff02b8b4eb0b0000000019"
        "76a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d7"
        "7c88ac92040000",
        0,
        "76a91479091972186c449eb1ded22b78e40d009bdf008988ac",
        1_000_000_000,
        "64f3b0f4dd2bb3aa1ce8566d220cc74dda9df97d8490cc81d89d735c92e59fb6",
    ),
    (
        "P2SH-P2WSH, 6 of 6",
        "010000000136641869ca081e70f394c6948e8af409e18b619df2ed74aa106c1ca29787b96e0100000000ffffffff0200e9a4350000000019"
        "76a914389ffce9cd9ae88dcc0631e88a821ffdbe9bfe2688acc0832f05000000001976a9147480a33f950689af511e6e84c138dbbd3c3ee4"
        "1588ac00000000",
        0,
        "56210307b8ae49ac90a048e9b53357a2354b3334e9c8bee813ecb98e99a7e07e8c3ba32103b28f0c28bfab54554ae8c658ac5c3e0ce6e79a"
        "d336331f78c428dd43eea8449b21034b8113d703413d57761b8b9781957b8c0ac1dfe69f492580ca4195f50376ba4a21033400f6afecb833"
        "092a9a21cfdf1ed1376e58c5d1f47de74683123987e967a8f42103a6d48b1131e94ba04d9737d61acdaa1322008af9602b3b14862c07a178"
        "9aac162102d8b661b0b3302ee2f162b09e07a55ad5dfbe673a9f01d9f0c19617681024306b56ae",
        987_654_321,
        "185c0be5263dce5b4bb50a047973c1b6272bfbd0103a89444597dc40b248ee7c",
    ),
    (
        "P2WSH that holds a signature",
        "010000000169c12106097dc2e0526493ef67f21269fe888ef05c7a3a5dacab38e1ac8387f14c1d000000ffffffff01010000000000000000"
        "00000000",
        0,
        "ad4830450220487fb382c4974de3f7d834c1b617fe15860828c7f96454490edd6d891556dcc9022100baf95feb48f845d5bfc9882eb6aeef"
        "a1bc3790e39f59eaa46ff7f15ae626c53e01",
        200_000,
        "71c9cd9b2869b9c70b01b1f0360c148f42dee72297db312638df136f43311f23",
    ),
]
#: Private key, digest, signature: two that BIP143 made the common way (RFC 6979, low S).
BIP143_SIGNATURES = [
    (
        "619c335025c7f4012e556c2a58b2506e30b8511b53ade95ea316fd8c3286feb9",
        "c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670",
        "304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f5"
        "1928d43c212a8caed02de67eebee01",
    ),
    (
        "730fff80e1413068a05b57d6a58261f07551163369787f349438ea38ca80fac6",
        "185c0be5263dce5b4bb50a047973c1b6272bfbd0103a89444597dc40b248ee7c",
        "304402206ac44d672dac41f9b00e28f4df20c52eeb087207e8d758d76d92c6fab3b73e2b0220367750dbbe19290069cba53d096f44530e4f"
        "98acaa594810388cf7409a1870ce01",
    ),
]


@pytest.mark.parametrize("vector", BIP143, ids=[vector[0] for vector in BIP143])
def test_digest_is_that_of_bip143(vector: tuple[str, str, int, str, int, str]) -> None:
    _, raw, place, script, value_sat, expected = vector
    tx = parse(bytes.fromhex(raw))
    spends = [Spend(10_000_000_000, b"\x51")] * len(tx.inputs)
    spends[place] = Spend(value_sat, bytes.fromhex(script))
    assert digest(tx, spends, place).hex() == digest_by_bitcoinlib(tx, spends, place).hex() == expected


@pytest.mark.parametrize(("private", "signed", "signature"), BIP143_SIGNATURES)
def test_signature_is_that_of_bip143(private: str, signed: str, signature: str) -> None:
    assert Signer(library(), bytes.fromhex(private)).sign(bytes.fromhex(signed)).hex() == signature


output_scripts = st.one_of(
    st.binary(max_size=60),
    st.binary(min_size=20, max_size=20).map(lambda program: b"\x00\x14" + program),
    st.binary(min_size=32, max_size=32).map(lambda program: b"\x51\x20" + program),
    st.binary(min_size=2, max_size=40).map(lambda program: bytes((0x60, len(program))) + program),
    st.binary(min_size=32, max_size=32).map(op_return),
)


@given(
    st.integers(1, 5),
    st.lists(output_scripts, min_size=1, max_size=5),
    st.sampled_from((RBF, TIMELOCKED)),
    st.integers(0, HEIGHT_MAX),
)
@settings(max_examples=100, deadline=None)
def test_digest_is_what_two_other_libraries_compute(
    inputs: int, outputs: list[bytes], sequence: int, locktime: int
) -> None:
    tx = Tx(
        tuple(TxIn(coin(place), sequence) for place in range(inputs)),
        tuple(TxOut(1_000 + place, script) for place, script in enumerate(outputs)),
        locktime,
    )
    spends = [Spend(100_000 + place, ESCROW if place % 2 else RESERVE) for place in range(inputs)]
    other: Any = EmbitTransaction.parse(with_witness(tx, [()] * inputs))
    for place, spend in enumerate(spends):
        expected = other.sighash_segwit(place, embit_script.Script(spend.script), spend.value_sat)
        assert digest(tx, spends, place) == expected == digest_by_bitcoinlib(tx, spends, place)
