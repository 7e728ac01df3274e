"""Bitcoin in the domain: its bytes, addresses, sizes and proofs, against the BIPs' own values and a naive twin."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.bitcoin import (
    RBF,
    SATS_MAX,
    BadBranch,
    BadReference,
    BadScript,
    BadTransaction,
    OutPoint,
    Tx,
    TxIn,
    TxOut,
    block_hash,
    dust_sat,
    escrow_script,
    has_work,
    is_key,
    merkle_branch,
    merkle_root_from,
    op_return,
    outpoint,
    parse,
    parse_header,
    payout_vsize,
    reference,
    reserve_script,
    serialize,
    strip_witness,
    txid,
    vsize,
    weight,
    with_witness,
)

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
#: 1 to 4 times the generator of secp256k1.
KEYS = tuple(
    bytes.fromhex(key)
    for key in (
        G,
        "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
        "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        "02e493dbf1c10d80f3581e4904930b1404cc6c13900ee0758474fa94abe8c4cd13",
    )
)
#: BIP143's native P2WPKH example, with the other input's script.
P2WPKH_SIGNED = bytes.fromhex(
    "01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26b"
    "a6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecba"
    "b4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202c"
    "b206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2"
    "d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a95"
    "4c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253"
    "f62fc70f07aeee635711000000"
)
#: BIP143's P2SH-P2WPKH example.
P2SH_SIGNED = bytes.fromhex(
    "01000000000101db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a5477010000001716001479091972186c449e"
    "b1ded22b78e40d009bdf0089feffffff02b8b4eb0b000000001976a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f"
    "000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d77c88ac02473044022047ac8e878352d3ebbde1c94ce3a10d057c2417"
    "5747116f8288e5d794d12d482f0220217f36a485cae903c713331d877c1f64677e3622ad4010726870540656fe9dcb012103ad1d8e8921"
    "2f0b92c74d23bb710c00662ad1470198ac48c43f7d6f93a2a2687392040000"
)
#: The first transaction; its id is its block's root.
GENESIS_COINBASE = bytes.fromhex(
    "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d0104455468652054"
    "696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420"
    "666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61"
    "deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"
)
#: The first block's header.
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81b"
    "c3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)
REAL = [P2WPKH_SIGNED, P2SH_SIGNED, GENESIS_COINBASE]

scripts = st.binary(max_size=300)
outpoints = st.builds(OutPoint, st.binary(min_size=32, max_size=32).map(bytes.hex), st.integers(0, 2**32 - 1))
transactions = st.builds(
    Tx,
    st.lists(st.builds(TxIn, outpoints, st.integers(0, 2**32 - 1), scripts), min_size=1, max_size=5).map(tuple),
    st.lists(st.builds(TxOut, st.integers(0, SATS_MAX), scripts), min_size=1, max_size=5).map(tuple),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


@pytest.mark.parametrize("raw", REAL)
def test_real_transaction_is_read_and_its_id_is_that_of_its_stripped_bytes(raw: bytes) -> None:
    tx = parse(raw)
    assert parse(serialize(tx)) == tx
    assert strip_witness(raw) == serialize(tx)
    assert weight(raw) == 3 * len(serialize(tx)) + len(raw)
    assert txid(tx) == _sha(serialize(tx))[::-1].hex()


def test_real_transaction_has_the_parts_that_bip143_lists() -> None:
    tx = parse(P2WPKH_SIGNED)
    assert (tx.version, tx.locktime, len(tx.inputs[0].script)) == (1, 17, 73)
    assert [spent.sequence for spent in tx.inputs] == [0xFFFFFFEE, 0xFFFFFFFF]
    assert [made.value_sat for made in tx.outputs] == [112_340_000, 223_450_000]
    assert tx.inputs[1].outpoint.vout == 1
    assert vsize(P2WPKH_SIGNED) == (4 * len(serialize(tx)) + 2 + 1 + 1 + 72 + 34 + 3) // 4


def test_genesis_is_named_as_everybody_names_it() -> None:
    header = parse_header(GENESIS)
    assert block_hash(GENESIS) == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert has_work(GENESIS)
    assert txid(parse(GENESIS_COINBASE)) == header.merkle_root[::-1].hex()
    assert merkle_root_from(txid(parse(GENESIS_COINBASE)), 0, []) == header.merkle_root
    assert (header.version, header.bits, header.time) == (1, 0x1D00FFFF, 1_231_006_505)
    with pytest.raises(BadBranch, match="not 79"):
        parse_header(GENESIS[1:])


def test_header_without_work_is_told_apart() -> None:
    assert not has_work(GENESIS[:-1] + b"\x7d")
    for bits in (0x1D80FFFF, 0xFF00FFFF, 0, 0x02000001):
        assert not has_work(GENESIS[:72] + bits.to_bytes(4, "little") + GENESIS[76:])


@given(transactions)
def test_transaction_survives_its_bytes(tx: Tx) -> None:
    assert parse(serialize(tx)) == tx


@given(transactions, st.data())
def test_witnesses_change_the_bytes_and_not_the_id(tx: Tx, data: st.DataObject) -> None:
    stack = st.lists(st.binary(max_size=300), max_size=4)
    stacks = data.draw(st.lists(stack, min_size=len(tx.inputs), max_size=len(tx.inputs)))
    raw = with_witness(tx, stacks)
    assert parse(raw) == tx
    assert strip_witness(raw) == serialize(tx)
    assert (raw == serialize(tx)) is not any(stacks)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for start in (b"", b"\x02\0\0\0", b"\x02\0\0\0\0\1", b"\x02\0\0\0\1"):
        _read_or_refuse(start + raw)


@given(st.sampled_from(REAL), st.data())
def test_mutated_transaction_is_read_as_itself_or_refused(raw: bytes, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(raw)))
    last = data.draw(st.integers(first, min(len(raw), first + 9)))
    _read_or_refuse(raw[:first] + data.draw(st.binary(max_size=9)) + raw[last:])


def _read_or_refuse(raw: bytes) -> None:
    try:
        tx = parse(raw)
    except BadTransaction:
        return
    assert parse(serialize(tx)) == tx
    assert raw[4:6] == b"\0\1" or serialize(tx) == raw


def test_every_truncation_and_any_more_bytes_are_refused() -> None:
    for raw in REAL:
        for length in range(len(raw)):
            with pytest.raises(BadTransaction):
                parse(raw[:length])
        with pytest.raises(BadTransaction, match="after its end"):
            parse(raw + b"\0")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (bytes(4_000_001), "more than 4000000 bytes"),
        (b"\2\0\0\0\xff" + b"\xff" * 8, "too early"),
        (b"\2\0\0\0\xfe\xff\xff\xff\x7f" + bytes(90_000), "too early"),
        (b"\2\0\0\0\xfd\1\0" + bytes(90), "longer than it must"),
        (b"\2\0\0\0\xfe\xff\xff\0\0" + bytes(90), "longer than it must"),
        (b"\2\0\0\0\xff\xff\xff\xff\xff\0\0\0\0" + bytes(90), "longer than it must"),
        (b"\2\0\0\0\0\0\0\0\0\0", "no inputs or no outputs"),
        (b"\2\0\0\0\1" + bytes(41) + b"\0" + bytes(4), "no inputs or no outputs"),
        (b"\2\0\0\0\1" + bytes(41) + b"\1" + b"\xff" * 8 + bytes(5), "more than there can be"),
        (b"\2\0\0\0\0\1\1" + bytes(41) + b"\1" + bytes(9) + b"\0" + bytes(4), "announces witnesses"),
    ],
)
def test_transaction_of_a_forbidden_form_is_refused_for_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(BadTransaction, match=reason):
        parse(raw)


@given(outpoints)
def test_reference_leads_back_to_its_output(spent: OutPoint) -> None:
    assert len(reference(spent)) == 72
    assert outpoint(reference(spent)) == spent


@pytest.mark.parametrize("text", ["", "0" * 71, "0" * 73, "A" + "0" * 71, "0x" + "0" * 70, "g" * 72])
def test_reference_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        outpoint(text)


def test_dust_is_what_core_says() -> None:
    assert dust_sat(b"\x00\x14" + bytes(20)) == 294
    assert dust_sat(b"\x00\x20" + bytes(32)) == dust_sat(b"\x51\x20" + bytes(32)) == 330
    assert dust_sat(b"\x76\xa9\x14" + bytes(20) + b"\x88\xac") == 546
    assert dust_sat(b"\xa9\x14" + bytes(20) + b"\x87") == 540
    assert dust_sat(op_return(bytes(32))) == 0


@given(
    st.lists(st.sampled_from((71, 140, 147)), min_size=1, max_size=300),
    st.lists(st.sampled_from((22, 34, 25)), min_size=1, max_size=300),
)
def test_payout_size_is_exact_for_signatures_of_full_length(inputs: list[int], outputs: list[int]) -> None:
    scripts = [bytes(length) for length in outputs]
    tx = Tx(
        tuple(TxIn(OutPoint("11" * 32, place), RBF) for place in range(len(inputs))),
        tuple(TxOut(1_000, script) for script in scripts),
    )
    raw = with_witness(tx, [(b"", bytes(72), bytes(72), bytes(length)) for length in inputs])
    assert payout_vsize(inputs, scripts) == vsize(raw)


def test_scripts_are_of_the_length_that_sizes_were_measured_at() -> None:
    script = escrow_script(KEYS[:3], KEYS[3], 1_000)
    assert len(script) == 147
    assert len(reserve_script(KEYS[0], KEYS[1])) == 71
    payee = b"\x00\x14" + bytes(20)
    # measured with signatures of 71 and 72 bytes: 231, and 262 with a change output of the payee's kind
    assert 231 <= payout_vsize([147], [payee, payee, op_return(bytes(32))]) <= 232
    assert 262 <= payout_vsize([147], [payee, payee, op_return(bytes(32)), payee]) <= 263


def test_script_of_bad_keys_or_height_is_refused() -> None:
    first, second, third, fourth = KEYS
    escrow_script((first, second, third), fourth, 1)
    with pytest.raises(BadScript, match="two of its keys are the same"):
        escrow_script((first, second, third), first, 1)
    for height in (0, -1, 500_000_000):
        with pytest.raises(BadScript, match="height"):
            escrow_script((first, second, third), fourth, height)
    off_curve = b"\x02" + (5).to_bytes(32, "big")
    for key in (off_curve, b"\x04" + first[1:], first[:-1], b"", b"\x02" + b"\xff" * 32):
        assert not is_key(key)
        with pytest.raises(BadScript, match="no compressed public key"):
            reserve_script(first, key)
    with pytest.raises(BadScript, match="32 bytes, not 31"):
        op_return(bytes(31))


def _naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:half], leaves[half:]
    width = len(right)
    while width < half:  # a row that is odd repeats its last node, which repeats that node's whole subtree
        missing = width & -width
        right += right[-missing:]
        width = len(right)
    return _sha(_naive_root(left) + _naive_root(right))


@pytest.mark.parametrize("size", range(1, 18))
def test_branch_of_every_transaction_leads_to_the_root(size: int) -> None:
    txids = [_sha(bytes((size, place))).hex() for place in range(size)]
    root = _naive_root([bytes.fromhex(name)[::-1] for name in txids])
    for index, name in enumerate(txids):
        branch = merkle_branch(txids, index)
        assert merkle_root_from(name, index, branch) == root
        if branch:
            assert merkle_root_from(name, index, [bytes(32), *branch[1:]]) != root
            assert merkle_root_from(txids[index - 1], index, branch) != root


def test_branch_that_does_not_fit_its_place_is_refused() -> None:
    txids = ["11" * 32, "22" * 32, "33" * 32]
    branch = merkle_branch(txids, 2)
    for index in (4, -1):
        with pytest.raises(BadBranch):
            merkle_root_from(txids[2], index, branch)
    with pytest.raises(BadBranch):
        merkle_root_from(txids[2], 2, [*branch[:-1], branch[-1][1:]])
    with pytest.raises(BadBranch):
        merkle_root_from(txids[2], 2, branch * 17)
    for index in (3, -1):
        with pytest.raises(BadBranch, match="has none at"):
            merkle_branch(txids, index)
