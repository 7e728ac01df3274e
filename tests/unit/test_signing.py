"""Signatures put together by hand and by us, judged by Bitcoin Core's code; each refusal beside a control."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from embit.script import Script as EmbitScript
from embit.transaction import SIGHASH
from embit.transaction import Transaction as EmbitTransaction
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.bitcoin import (
    RBF,
    TIMELOCKED,
    OutPoint,
    Tx,
    TxIn,
    TxOut,
    op_return,
    p2wsh,
    parse,
    payout_vsize,
    txid,
    vsize,
    with_witness,
)
from services.settlement.signing import (
    BadSignature,
    BadSpend,
    MissingSignature,
    Spend,
    WrongKey,
    combine,
    digest,
    sign,
    sign_p2wpkh,
)
from services.settlement.wallet import Signer, p2wpkh
from tests.bitcoin import (
    ARBITER,
    CLIENT,
    ESCROW,
    MARKET,
    OUTPUTS,
    PAYOUT,
    REFUND,
    RESERVE,
    SPENDS,
    SPENT,
    WORKER,
    coin,
    core_accepts,
    library,
)


def paid(
    tx: Tx = PAYOUT, spends: Sequence[Spend] = SPENDS, by: Sequence[Signer] = (MARKET, ARBITER), plan: Tx | None = None
) -> bytes:
    """The transaction put together from signatures of ``plan``, which is the same unless a test says otherwise."""
    signed = {party.key: sign(plan or tx, spends, party) for party in by}
    return combine(library(), tx, spends, signed)


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
    foreign = {0: WORKER.sign(digest(PAYOUT, SPENDS, 0))}
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


def test_signature_of_less_than_everything_is_refused_although_nodes_take_it() -> None:
    market, arbiter = sign(PAYOUT, SPENDS, MARKET), sign(PAYOUT, SPENDS, ARBITER)
    other: Any = EmbitTransaction.parse(with_witness(PAYOUT, [()]))
    anything = other.sighash_segwit(0, EmbitScript(ESCROW), SPENDS[0].value_sat, SIGHASH.NONE)
    loose = ARBITER.sign(anything)[:-1] + bytes((SIGHASH.NONE,))
    assert core_accepts(with_witness(PAYOUT, [(b"", market[0], loose, ESCROW)]), SPENT)
    with pytest.raises(BadSignature, match=f"{ARBITER.key.hex()} on input 0 is refused: it does not sign the whole"):
        combine(library(), PAYOUT, SPENDS, {MARKET.key: market, ARBITER.key: {0: loose}})
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
