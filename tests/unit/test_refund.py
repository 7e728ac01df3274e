"""The refund that needs nobody: from receipt and wallet to a transaction that Bitcoin Core's code accepts."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from embit.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from domain.bitcoin import (
    SATS_MAX,
    TIMELOCKED,
    BadAddress,
    TxOut,
    address,
    p2wsh,
    parse,
    script_of,
    txid,
    vsize,
)
from services.config import Settings
from services.settlement.accounts import with_coins
from services.settlement.refund import (
    COINS_MAX,
    BadEscrowReceipt,
    BadFeeRate,
    Coin,
    EscrowReceipt,
    ForeignWallet,
    NothingToRefund,
    RefundTooSmall,
    decode,
    describe,
    encode,
    refund,
)
from services.settlement.signing import template
from services.settlement.wallet import Role, Wallet, wallet
from tests.bitcoin import coin, core_accepts, library, signer

RATE_MSAT = 2_000
INDEX, HEIGHT = 3, 2_016
COINS = tuple(Coin(coin(place).txid, place, 400_000 + place) for place in range(2))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    library()
    return Settings(home=tmp_path_factory.mktemp("refund"))


@pytest.fixture(scope="module")
def alice(home: Settings) -> Wallet:
    return wallet(home, "alice", network="regtest")


@pytest.fixture(scope="module")
def receipt(alice: Wallet) -> EscrowReceipt:
    return describe(
        network="regtest",
        account="5e" * 12,
        keys=(alice.public(Role.release, INDEX), signer("market").key, signer("arbiter").key),
        refund_key=alice.public(Role.refund, INDEX),
        expires_height=HEIGHT,
        key_index=INDEX,
        coins=COINS,
    )


def spent(receipt: EscrowReceipt) -> list[TxOut]:
    return [TxOut(held.value_sat, script_of(receipt.address, receipt.network)) for held in receipt.coins]


def test_refund_takes_every_coin_back_to_the_wallet_of_the_owner(receipt: EscrowReceipt, alice: Wallet) -> None:
    raw = refund(receipt, alice, rate_msat=RATE_MSAT)
    tx = parse(raw)
    assert core_accepts(raw, spent(receipt))
    assert [(held.txid, held.vout) for held in receipt.coins] == [spending.outpoint for spending in tx.inputs]
    assert {spending.sequence for spending in tx.inputs} == {TIMELOCKED}
    assert (tx.locktime, tx.version) == (HEIGHT, 2)
    (back,) = tx.outputs
    assert back.script == alice.payout_script()
    fee_sat = sum(held.value_sat for held in receipt.coins) - back.value_sat
    assert vsize(raw) * RATE_MSAT <= fee_sat * 1_000 <= (vsize(raw) + 2) * RATE_MSAT + 1_000
    assert refund(receipt, alice, rate_msat=RATE_MSAT) == raw


def test_refund_goes_where_the_owner_says(receipt: EscrowReceipt, alice: Wallet) -> None:
    elsewhere = address(p2wsh(b"\x51"), "regtest")
    raw = refund(receipt, alice, rate_msat=RATE_MSAT, address=elsewhere)
    assert parse(raw).outputs[0].script == p2wsh(b"\x51")
    assert core_accepts(raw, spent(receipt))
    with pytest.raises(BadAddress, match="belongs to main"):
        refund(receipt, alice, rate_msat=RATE_MSAT, address=address(p2wsh(b"\x51"), "main"))


def test_refund_cannot_be_mined_before_its_height(receipt: EscrowReceipt, alice: Wallet) -> None:
    """The script itself is bound to the height: the same witness under a smaller lock time fails in Bitcoin Core."""
    raw = refund(receipt, alice, rate_msat=RATE_MSAT)
    early = raw[:-4] + (HEIGHT - 1).to_bytes(4, "little")
    assert txid(parse(early)) != txid(parse(raw))
    assert not core_accepts(early, spent(receipt))
    assert core_accepts(raw, spent(receipt))


def test_receipt_survives_its_file_and_other_wallets_read_its_descriptor(receipt: EscrowReceipt) -> None:
    assert decode(encode(receipt)) == structs.replace(receipt, coins=list(receipt.coins))
    compiled: Any = Descriptor.from_string(receipt.descriptor)
    assert compiled.script_pubkey().data == script_of(receipt.address, receipt.network)
    assert template(compiled.witness_script().data).height == HEIGHT


def test_foreign_wallet_is_refused(receipt: EscrowReceipt, home: Settings) -> None:
    with pytest.raises(ForeignWallet, match="'bob' holds no refund key of this escrow; use the wallet that opened it"):
        refund(receipt, wallet(home, "bob", network="regtest"), rate_msat=RATE_MSAT)


def test_wallet_of_another_network_or_key_is_refused(receipt: EscrowReceipt, home: Settings, alice: Wallet) -> None:
    with pytest.raises(BadEscrowReceipt, match="it is of regtest, and the wallet was opened for signet"):
        refund(receipt, wallet(home, "alice", network="signet"), rate_msat=RATE_MSAT)
    with pytest.raises(ForeignWallet):
        refund(structs.replace(receipt, key_index=INDEX + 1), alice, rate_msat=RATE_MSAT)
    assert refund(receipt, alice, rate_msat=RATE_MSAT)


def test_escrow_without_coins_is_refused(receipt: EscrowReceipt, alice: Wallet) -> None:
    with pytest.raises(NothingToRefund, match="nothing to take back"):
        refund(structs.replace(receipt, coins=()), alice, rate_msat=RATE_MSAT)


def test_coin_that_is_named_twice_is_refused(receipt: EscrowReceipt, alice: Wallet) -> None:
    with pytest.raises(BadEscrowReceipt, match="names a coin twice"):
        refund(structs.replace(receipt, coins=COINS[:1] * 2), alice, rate_msat=RATE_MSAT)


def test_refund_that_would_leave_dust_is_refused_and_the_least_is_not(receipt: EscrowReceipt, alice: Wallet) -> None:
    def holding(value_sat: int) -> EscrowReceipt:
        return structs.replace(receipt, coins=(Coin(COINS[0].txid, 0, value_sat),))

    whole = parse(refund(holding(100_000), alice, rate_msat=RATE_MSAT))
    least_sat = 100_000 - whole.outputs[0].value_sat + 294
    raw = refund(holding(least_sat), alice, rate_msat=RATE_MSAT)
    assert parse(raw).outputs[0].value_sat == 294
    assert core_accepts(raw, spent(holding(least_sat)))
    for value_sat in (least_sat - 1, 1):
        with pytest.raises(RefundTooSmall, match="leave less than 294 sat; ask for a lower fee rate"):
            refund(holding(value_sat), alice, rate_msat=RATE_MSAT)


@pytest.mark.parametrize("rate_msat", [-1, 0, 999, 1_000_001])
def test_fee_rate_that_cannot_be_right_is_refused(receipt: EscrowReceipt, alice: Wallet, rate_msat: int) -> None:
    with pytest.raises(BadFeeRate, match="give one from 1000 to 1000000"):
        refund(receipt, alice, rate_msat=rate_msat)


TAMPERED: dict[str, tuple[Callable[[EscrowReceipt], EscrowReceipt], str]] = {
    "release key": (lambda found: structs.replace(found, release_key=signer("other").key.hex()), "descriptor"),
    "market key": (lambda found: structs.replace(found, market_key=signer("other").key.hex()), "descriptor"),
    "arbiter key": (lambda found: structs.replace(found, arbiter_key=signer("other").key.hex()), "descriptor"),
    "refund key": (lambda found: structs.replace(found, refund_key=signer("other").key.hex()), "descriptor"),
    "height": (lambda found: structs.replace(found, expires_height=HEIGHT - 1), "descriptor"),
    "descriptor": (
        lambda found: structs.replace(found, descriptor=found.descriptor.replace("wsh", "sh")),
        "descriptor",
    ),
    "its checksum": (lambda found: structs.replace(found, descriptor=found.descriptor[:-1]), "descriptor"),
    "address": (lambda found: structs.replace(found, address=address(p2wsh(b"\x51"), "regtest")), "address"),
    "network": (lambda found: structs.replace(found, network="signet"), "address"),
    "two keys alike": (lambda found: structs.replace(found, market_key=found.arbiter_key), "two of its keys are"),
    "no point": (lambda found: structs.replace(found, market_key="02" + "00" * 31 + "05"), "no compressed public key"),
}


@pytest.mark.parametrize(("change", "reason"), TAMPERED.values(), ids=TAMPERED.keys())
def test_tampered_receipt_is_refused(
    receipt: EscrowReceipt, alice: Wallet, change: Callable[[EscrowReceipt], EscrowReceipt], reason: str
) -> None:
    with pytest.raises(BadEscrowReceipt, match=reason):
        refund(change(receipt), alice, rate_msat=RATE_MSAT)
    with pytest.raises(BadEscrowReceipt, match=reason):
        decode(encode(change(receipt)))
    assert refund(decode(encode(receipt)), alice, rate_msat=RATE_MSAT)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "pasar/escrow/2"},
        {"network": "bitcoin"},
        {"account": "5e"},
        {"release_key": "04" + "11" * 32},
        {"expires_height": 0},
        {"expires_height": 500_000_000},
        {"key_index": -1},
        {"key_index": 2**31},
        {"coins": [{"txid": "11", "vout": 0, "value_sat": 1}]},
        {"coins": [{"txid": "11" * 32, "vout": 2**32, "value_sat": 1}]},
        {"coins": [{"txid": "11" * 32, "vout": 0, "value_sat": SATS_MAX + 1}]},
        {"coins": [{"txid": "11" * 32, "vout": 0, "value_sat": 0.5}]},
        {"more": 1},
    ],
)
def test_receipt_of_another_form_is_refused(receipt: EscrowReceipt, change: dict[str, Any]) -> None:
    told = msgspec.json.decode(encode(receipt))
    with pytest.raises(BadEscrowReceipt, match=r"not in its form .*; take it from `pasar escrow receipt`"):
        decode(msgspec.json.encode({**told, **change}))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_mutated_receipt_is_refused_or_says_the_same(receipt: EscrowReceipt, data: st.DataObject) -> None:
    whole = encode(receipt)
    place = data.draw(st.integers(0, len(whole) - 1))
    mutated = whole[:place] + data.draw(st.binary(min_size=1, max_size=1)) + whole[place + 1 :]
    try:
        found = decode(mutated)
    except BadEscrowReceipt:
        return
    # the coins, the account and the index are not in the script: a wrong one makes a transaction nobody accepts
    told = {name: getattr(found, name) for name in ("descriptor", "address", "refund_key", "expires_height")}
    assert told == {name: getattr(receipt, name) for name in told}


def test_wrong_amount_makes_a_transaction_that_nobody_accepts(receipt: EscrowReceipt, alice: Wallet) -> None:
    wrong = structs.replace(receipt, coins=(structs.replace(COINS[0], value_sat=COINS[0].value_sat + 1), COINS[1]))
    assert not core_accepts(refund(wrong, alice, rate_msat=RATE_MSAT), spent(receipt))
    assert core_accepts(refund(receipt, alice, rate_msat=RATE_MSAT), spent(receipt))


def test_many_coins_are_taken_back_at_once(receipt: EscrowReceipt, alice: Wallet) -> None:
    many = structs.replace(receipt, coins=[Coin(coin(place).txid, place, 10_000) for place in range(60)])
    raw = refund(many, alice, rate_msat=1_000)
    assert core_accepts(raw, spent(many))


def test_coins_that_cost_more_than_they_hold_stay_where_they_are(receipt: EscrowReceipt, alice: Wallet) -> None:
    bare = refund(receipt, alice, rate_msat=20_000)
    dust = tuple(Coin(coin(place).txid, place, 1_000) for place in range(10, 20))
    assert refund(structs.replace(receipt, coins=(*dust, *COINS)), alice, rate_msat=20_000) == bare
    taken = parse(refund(structs.replace(receipt, coins=(*dust, *COINS)), alice, rate_msat=2_000))
    assert len(taken.inputs) == 12
    with pytest.raises(RefundTooSmall):
        refund(structs.replace(receipt, coins=dust), alice, rate_msat=20_000)


def test_receipt_of_an_escrow_that_others_paid_much_dust_to_can_be_read_and_keeps_what_is_worth_most(
    receipt: EscrowReceipt,
) -> None:
    dust = [(f"{place:064x}{place:08x}", 1_000) for place in range(2_000)]
    full = with_coins(receipt, [*dust, ("ab" * 32 + "00000001", 400_000)])
    assert encode(decode(encode(full))) == encode(full)
    assert (full.coins[0].value_sat, len(full.coins)) == (400_000, COINS_MAX)
