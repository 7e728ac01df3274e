"""Signatures against BIP143's own values, Bitcoin Core's code, and a second library; each refusal beside a control."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from embit import script as embit_script
from embit.descriptor import Descriptor
from embit.descriptor.checksum import add_checksum
from embit.transaction import Transaction as EmbitTransaction
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.bitcoin import (
    HEIGHT_MAX,
    RBF,
    TIMELOCKED,
    OutPoint,
    Tx,
    TxIn,
    TxOut,
    escrow_descriptor,
    escrow_script,
    op_return,
    p2wsh,
    parse,
    payout_vsize,
    reserve_descriptor,
    reserve_script,
    txid,
    vsize,
    with_witness,
)
from services.settlement.signing import (
    BadSignature,
    BadSpend,
    MissingSignature,
    Spend,
    Template,
    WrongKey,
    combine,
    digest,
    refund,
    sign,
    sign_p2wpkh,
    template,
)
from services.settlement.wallet import Signer, p2wpkh
from tests.bitcoin import coin, core_accepts, library, signer

CLIENT, MARKET, ARBITER, REFUND, WORKER = map(signer, ("client", "market", "arbiter", "refund", "worker"))
HEIGHT = 1_000
KEYS = (CLIENT.key, MARKET.key, ARBITER.key)
ESCROW = escrow_script(KEYS, REFUND.key, HEIGHT)
RESERVE = reserve_script(MARKET.key, ARBITER.key)
OUTPUTS = (
    TxOut(700_000, p2wpkh(WORKER.key)),
    TxOut(30_000, p2wpkh(MARKET.key)),
    TxOut(0, op_return(b"\x07" * 32)),
    TxOut(269_000, p2wsh(ESCROW)),
)
PAYOUT = Tx((TxIn(coin(0), RBF),), OUTPUTS)
SPENDS = [Spend(1_000_000, ESCROW)]
SPENT = [TxOut(1_000_000, p2wsh(ESCROW))]
TAKEN_BACK = Tx((TxIn(coin(0), TIMELOCKED),), (TxOut(999_000, p2wpkh(CLIENT.key)),), HEIGHT)

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


def paid(
    tx: Tx = PAYOUT, spends: Sequence[Spend] = SPENDS, by: Sequence[Signer] = (MARKET, ARBITER), plan: Tx | None = None
) -> bytes:
    """The transaction put together from signatures of ``plan``, which is the same unless a test says otherwise."""
    signed = {party.key: sign(plan or tx, spends, party) for party in by}
    return combine(library(), tx, spends, signed)


@pytest.mark.parametrize("vector", BIP143, ids=[vector[0] for vector in BIP143])
def test_digest_is_that_of_bip143(vector: tuple[str, str, int, str, int, str]) -> None:
    _, raw, place, script, value_sat, expected = vector
    tx = parse(bytes.fromhex(raw))
    spends = [Spend(10_000_000_000, b"\x51")] * len(tx.inputs)
    spends[place] = Spend(value_sat, bytes.fromhex(script))
    assert digest(library(), tx, spends, place).hex() == expected


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
def test_digest_is_what_another_library_computes(
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
        assert digest(library(), tx, spends, place) == expected


secrets = st.integers(1, 2**250).map(lambda number: Signer(library(), number.to_bytes(32, "big")).key)


@given(st.lists(secrets, min_size=4, max_size=4, unique=True), st.integers(1, HEIGHT_MAX))
@settings(max_examples=200, deadline=None)
def test_scripts_are_what_another_compiler_makes_of_the_descriptor(keys: list[bytes], height: int) -> None:
    first, second, third, back = keys
    script = escrow_script((first, second, third), back, height)
    descriptor = escrow_descriptor((first, second, third), back, height)
    compiled: Any = Descriptor.from_string(descriptor)
    assert compiled.witness_script().data == script
    assert compiled.script_pubkey().data == p2wsh(script)
    assert add_checksum(descriptor.partition("#")[0]) == descriptor
    assert template(script) == Template((first, second, third), back, height)
    reserve, shared = reserve_script(first, second), reserve_descriptor(first, second)
    assert Descriptor.from_string(shared).witness_script().data == reserve
    assert add_checksum(shared.partition("#")[0]) == shared
    assert template(reserve) == Template((first, second))


@pytest.mark.parametrize("height", [1, 16, 17, 127, 128, 255, 256, 32_767, 32_768, 8_388_607, 8_388_608, HEIGHT_MAX])
def test_height_is_pushed_as_the_other_compiler_pushes_it(height: int) -> None:
    compiled: Any = Descriptor.from_string(escrow_descriptor(KEYS, REFUND.key, height))
    assert compiled.witness_script().data == escrow_script(KEYS, REFUND.key, height)


@pytest.mark.parametrize(
    "script", [b"", b"\x51", bytes(71), bytes(147), ESCROW[:-1], ESCROW + b"\x51", RESERVE[:-2] + b"\x51\xae"]
)
def test_script_of_no_template_is_not_signed(script: bytes) -> None:
    with pytest.raises(BadSpend):
        sign(PAYOUT, [Spend(1_000_000, script)], MARKET)


def test_script_with_any_byte_changed_is_no_template_or_another() -> None:
    for place in range(len(ESCROW)):
        changed = ESCROW[:place] + bytes((ESCROW[place] ^ 1,)) + ESCROW[place + 1 :]
        try:
            assert template(changed) != template(ESCROW)
        except BadSpend:
            continue


@pytest.mark.parametrize("by", [(MARKET, ARBITER), (CLIENT, MARKET), (CLIENT, ARBITER)])
def test_any_two_of_three_pay_in_any_order(by: tuple[Signer, Signer]) -> None:
    raw = paid(by=by)
    assert raw == paid(by=by[::-1])
    assert core_accepts(raw, SPENT)
    assert parse(raw) == PAYOUT
    assert txid(parse(raw)) == txid(PAYOUT)


def test_all_three_signatures_pay_as_two_do() -> None:
    assert paid(by=(ARBITER, CLIENT, MARKET)) == paid(by=(CLIENT, MARKET))


def test_reserve_and_escrows_are_spent_together() -> None:
    tx = Tx((TxIn(coin(0), RBF), TxIn(coin(1), RBF)), OUTPUTS)
    spends = [Spend(400_000, RESERVE), Spend(600_000, ESCROW)]
    raw = paid(tx, spends)
    assert core_accepts(raw, [TxOut(spend.value_sat, p2wsh(spend.script)) for spend in spends])
    assert set(sign(tx, spends, CLIENT)) == {1}
    assert set(sign(tx, spends, MARKET)) == {0, 1}
    assert set(sign(tx, spends, MARKET, only=[0])) == {0}
    with pytest.raises(
        MissingSignature, match=f"input 0 needs 2 signatures and has 1; ask for one of {ARBITER.key.hex()}"
    ):
        paid(tx, spends, by=(CLIENT, MARKET))


def test_one_signature_is_not_enough() -> None:
    with pytest.raises(MissingSignature, match="input 0 needs 2 signatures and has 1"):
        paid(by=(MARKET,))
    one = sign(PAYOUT, SPENDS, MARKET)[0]
    two = sign(PAYOUT, SPENDS, ARBITER)[0]
    assert not core_accepts(with_witness(PAYOUT, [(b"", one, b"", ESCROW)]), SPENT)
    assert not core_accepts(with_witness(PAYOUT, [(b"", one, one, ESCROW)]), SPENT)
    assert not core_accepts(with_witness(PAYOUT, [(b"", two, one, ESCROW)]), SPENT)
    assert core_accepts(with_witness(PAYOUT, [(b"", one, two, ESCROW)]), SPENT)


def test_wrong_key_is_refused_by_name() -> None:
    with pytest.raises(WrongKey, match=f"the key {WORKER.key.hex()} signs none of these inputs"):
        sign(PAYOUT, SPENDS, WORKER)
    with pytest.raises(WrongKey):
        sign(PAYOUT, SPENDS, REFUND)
    market, arbiter = sign(PAYOUT, SPENDS, MARKET), sign(PAYOUT, SPENDS, ARBITER)
    foreign = {0: WORKER.sign(digest(library(), PAYOUT, SPENDS, 0))}
    with pytest.raises(BadSignature, match=f"{ARBITER.key.hex()} on input 0 is refused: it does not belong"):
        combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: foreign})
    with pytest.raises(BadSignature, match="it is not one of that input's keys"):
        combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: arbiter, WORKER.key: foreign})
    with pytest.raises(BadSignature, match="on input 1"):
        combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: {1: arbiter[0]}})
    assert core_accepts(combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: arbiter}), SPENT)


def test_a_bad_third_signature_is_named_although_two_would_do() -> None:
    signed = {party.key: sign(PAYOUT, SPENDS, party) for party in (CLIENT, MARKET, ARBITER)}
    bad = {**signed, ARBITER.key: {0: signed[MARKET.key][0]}}
    with pytest.raises(BadSignature, match=ARBITER.key.hex()):
        combine(library(), PAYOUT, SPENDS, bad)
    assert combine(library(), PAYOUT, SPENDS, signed)


CHANGES: dict[str, Callable[[Tx], Tx]] = {
    "one satoshi more": lambda tx: tx._replace(outputs=(tx.outputs[0]._replace(value_sat=700_001), *tx.outputs[1:])),
    "outputs in another order": lambda tx: tx._replace(outputs=(tx.outputs[1], tx.outputs[0], *tx.outputs[2:])),
    "another payee": lambda tx: tx._replace(outputs=(TxOut(700_000, p2wpkh(CLIENT.key)), *tx.outputs[1:])),
    "another root": lambda tx: tx._replace(outputs=(*tx.outputs[:2], TxOut(0, op_return(bytes(32))), tx.outputs[3])),
    "one output fewer": lambda tx: tx._replace(outputs=tx.outputs[:3]),
    "another lock time": lambda tx: tx._replace(locktime=1),
    "another sequence": lambda tx: tx._replace(inputs=(tx.inputs[0]._replace(sequence=TIMELOCKED),)),
    "another coin": lambda tx: tx._replace(inputs=(tx.inputs[0]._replace(outpoint=coin(1)),)),
    "another version": lambda tx: tx._replace(version=3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_signatures_of_another_plan_are_refused(change: Callable[[Tx], Tx]) -> None:
    changed = change(PAYOUT)
    with pytest.raises(BadSignature, match="it does not belong to this transaction"):
        paid(changed, plan=PAYOUT)
    stack = (b"", sign(PAYOUT, SPENDS, MARKET)[0], sign(PAYOUT, SPENDS, ARBITER)[0], ESCROW)
    assert not core_accepts(with_witness(changed, [stack]), SPENT)
    assert core_accepts(with_witness(PAYOUT, [stack]), SPENT)
    assert core_accepts(paid(changed), SPENT)


def test_signatures_for_another_amount_are_refused() -> None:
    other = [Spend(1_000_001, ESCROW)]
    signed = {party.key: sign(PAYOUT, other, party) for party in (MARKET, ARBITER)}
    with pytest.raises(BadSignature, match="it does not belong to this transaction"):
        combine(library(), PAYOUT, SPENDS, signed)
    raw = combine(library(), PAYOUT, other, signed)
    assert not core_accepts(raw, SPENT)
    assert core_accepts(raw, [TxOut(1_000_001, SPENT[0].script)])


def _high_s(signature: bytes) -> bytes:
    r_length = signature[3]
    s = int.from_bytes(signature[6 + r_length : -1], "big")
    high = (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - s).to_bytes(33, "big")
    body = signature[2 : 4 + r_length] + b"\x02\x21" + high
    return b"\x30" + bytes((len(body),)) + body + b"\x01"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda good: good[:-1] + b"\x83", "does not sign the whole"),
        (lambda good: good[:-1] + b"\x00", "does not sign the whole"),
        (lambda good: good[:-1], "strict DER|whole"),
        (lambda good: good[:-1] + b"\x00\x01", "strict DER"),
        (_high_s, "low S"),
        (lambda good: b"", "strict DER"),
        (lambda good: b"\x01", "strict DER"),
        (lambda good: bytes(64), "strict DER"),
        (lambda good: b"\x30\x06\x02\x01\x00\x02\x01\x00\x01", "strict DER"),
        (lambda good: b"\x30\x06\x02\x01\x01\x02\x01\x01\x01", "does not belong"),
        (lambda good: good[:3] + b"\xff" + good[4:], "strict DER"),
        (lambda good: good * 3, "strict DER"),
    ],
)
def test_signature_of_another_form_is_refused(change: Callable[[bytes], bytes], reason: str) -> None:
    market, arbiter = sign(PAYOUT, SPENDS, MARKET), sign(PAYOUT, SPENDS, ARBITER)
    with pytest.raises(BadSignature, match=reason):
        combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: {0: change(arbiter[0])}})
    assert combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: arbiter})


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_mutated_signature_is_refused_and_never_breaks_anything(data: st.DataObject) -> None:
    market, arbiter = sign(PAYOUT, SPENDS, MARKET)[0], sign(PAYOUT, SPENDS, ARBITER)[0]
    first = data.draw(st.integers(0, len(arbiter) - 1))
    last = data.draw(st.integers(first, len(arbiter)))
    mutated = arbiter[:first] + data.draw(st.binary(max_size=6)) + arbiter[last:]
    if mutated != arbiter:
        with pytest.raises(BadSignature):
            combine(library(), PAYOUT, SPENDS, {MARKET.key: {0: market}, ARBITER.key: {0: mutated}})


@pytest.mark.parametrize(
    ("tx", "spends", "reason"),
    [
        (PAYOUT, [], "1 inputs and 0 amounts"),
        (PAYOUT, [Spend(999_000 - 1, ESCROW)], "pays 1 sat more than it spends"),
        (PAYOUT, [Spend(0, ESCROW)], "holds nothing"),
        (PAYOUT, [Spend(1e6, ESCROW)], "whole number"),  # type: ignore[arg-type]
        (PAYOUT._replace(outputs=(TxOut(-1, b""),)), SPENDS, "whole number"),
        (PAYOUT._replace(inputs=PAYOUT.inputs * 2), SPENDS * 2, "twice"),
        (PAYOUT._replace(inputs=(TxIn(coin(0), RBF, b"\x51"),)), SPENDS, "outside its witness"),
    ],
)
def test_plan_that_contradicts_itself_is_not_signed(tx: Tx, spends: list[Spend], reason: str) -> None:
    with pytest.raises(BadSpend, match=reason):
        sign(tx, spends, MARKET)
    assert sign(PAYOUT, [Spend(999_000, ESCROW)], MARKET)


def test_owner_alone_takes_back_after_the_height() -> None:
    raw = refund(TAKEN_BACK, SPENDS, REFUND)
    assert core_accepts(raw, SPENT)
    assert parse(raw) == TAKEN_BACK
    later = TAKEN_BACK._replace(locktime=HEIGHT + 5)
    assert core_accepts(refund(later, SPENDS, REFUND), SPENT)


def _stack(tx: Tx, by: Signer) -> bytes:
    """A refund put together without any of our checks."""
    return with_witness(tx, [(by.sign(digest(library(), tx, SPENDS, 0)), b"", b"", b"", ESCROW)])


@pytest.mark.parametrize("by", [CLIENT, MARKET, ARBITER, WORKER])
def test_refund_by_another_key_is_refused(by: Signer) -> None:
    with pytest.raises(WrongKey, match=f"is not the refund key of input 0; sign with {REFUND.key.hex()}"):
        refund(TAKEN_BACK, SPENDS, by)
    assert not core_accepts(_stack(TAKEN_BACK, by), SPENT)
    assert core_accepts(_stack(TAKEN_BACK, REFUND), SPENT)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (TAKEN_BACK._replace(inputs=(TxIn(coin(0), 0xFFFFFFFF),)), "switches the lock time off"),
        (TAKEN_BACK._replace(locktime=HEIGHT - 1), f"lock time {HEIGHT - 1} is not the height {HEIGHT}"),
        (TAKEN_BACK._replace(locktime=0), "lock time 0"),
        (TAKEN_BACK._replace(locktime=HEIGHT_MAX + 1), "is not the height"),
    ],
)
def test_refund_that_no_block_may_hold_is_refused(changed: Tx, reason: str) -> None:
    with pytest.raises(BadSpend, match=reason):
        refund(changed, SPENDS, REFUND)
    assert not core_accepts(_stack(changed, REFUND), SPENT)
    assert core_accepts(_stack(TAKEN_BACK, REFUND), SPENT)


def test_reserve_is_refunded_to_nobody() -> None:
    with pytest.raises(BadSpend, match="never refunded"):
        refund(TAKEN_BACK, [Spend(1_000_000, RESERVE)], MARKET)


def test_money_of_one_key_is_spent_by_it_alone() -> None:
    own = p2wpkh(WORKER.key)
    tx = Tx((TxIn(coin(0), RBF), TxIn(coin(1), RBF)), (TxOut(1_000_000, p2wsh(ESCROW)),))
    spends = [Spend(600_000, own), Spend(500_000, own)]
    raw = sign_p2wpkh(tx, spends, WORKER)
    assert core_accepts(raw, [TxOut(spend.value_sat, own) for spend in spends])
    assert not core_accepts(raw, [TxOut(600_000, own), TxOut(500_001, own)])
    with pytest.raises(WrongKey, match="does not spend input 0"):
        sign_p2wpkh(tx, spends, CLIENT)
    with pytest.raises(WrongKey, match="does not spend input 1"):
        sign_p2wpkh(tx, [spends[0], Spend(500_000, p2wsh(ESCROW))], WORKER)


@pytest.mark.parametrize("inputs", [1, 2, 7, 60])
@pytest.mark.parametrize("payees", [1, 40, 300])
def test_payout_size_is_never_below_the_signed_one_and_close(inputs: int, payees: int) -> None:
    scripts = [RESERVE if place == 1 else ESCROW for place in range(inputs)]
    outputs = tuple(TxOut(1_000 + place, b"\x00\x14" + place.to_bytes(20, "big")) for place in range(payees))
    tx = Tx(tuple(TxIn(coin(place), RBF) for place in range(inputs)), outputs + OUTPUTS[1:])
    raw = paid(tx, [Spend(10_000_000, script) for script in scripts])
    planned = payout_vsize([len(script) for script in scripts], [made.script for made in tx.outputs])
    assert vsize(raw) <= planned <= vsize(raw) + 2 * inputs


def test_every_signer_makes_the_same_transaction_and_signature() -> None:
    again = Tx((TxIn(OutPoint(*coin(0)), RBF),), tuple(TxOut(*made) for made in OUTPUTS))
    assert sign(again, list(SPENDS), MARKET) == sign(PAYOUT, SPENDS, MARKET)
    assert paid(again) == paid()
