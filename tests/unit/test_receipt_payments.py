"""A receipt proves who was paid, down to a block's header; whoever lies about one link of that is told which."""

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from domain import bitcoin
from domain.bitcoin import OutPoint, Tx, TxIn, TxOut
from domain.events import (
    LogAnchored,
)
from domain.settlement import OpenStake
from services.ledger import codec
from services.receipt import form, shares
from services.receipt.checks import CHECKS, check
from services.receipt.form import Payment, Receipt
from services.receipt.shares import Fork, Share
from services.receipt.verify import verify
from tests.payroll import Payroll, played, point, script, txid
from tests.receipts import MARKET, MemorySource, broken, receipt_of

GAME = played(MARKET.key)
RECORDS = GAME.records
WORKERS = GAME.market.workers
CLIENTS = GAME.market.clients


@pytest.fixture
async def receipt() -> Receipt:
    """Of a job that two payouts paid for."""
    return await receipt_of(RECORDS, GAME.paid)


# ------------------------------------------------------------------------------------------------------- what it proves
async def test_receipt_tells_what_each_worker_was_paid_and_where(receipt: Receipt) -> None:
    claims = verify(form.encode(receipt), market=MARKET.key).claims
    assert (claims.network, claims.paid_msat, claims.settled_msat) == ("regtest", 45_000_000, 45_000_000)
    assert [(one.epoch, one.paid_msat) for one in claims.payouts] == [(1, 20_000_000), (2, 25_000_000)]
    first, second = claims.payouts
    assert {share.worker: share.amount_msat for share in first.paid} == dict.fromkeys(WORKERS[:2], 10_000_000)
    assert (first.block, second.block) == tuple(GAME.blocks)
    assert (first.txid, second.txid) == (GAME.market.txid_of(1), GAME.market.txid_of(2, rung=1))
    assert (first.height, second.height) == (111, 112)
    assert first.mined_at == GAME.market.game.now


async def test_the_second_payout_binds_all_of_the_jobs_history_into_its_block(receipt: Receipt) -> None:
    over = next(event.position for event in receipt.events if event.name == "JobCompleted.v1")
    first, second = receipt.claims.payouts
    assert first.anchored < over <= second.anchored


async def test_receipt_of_a_job_that_one_of_many_payouts_paid_for_holds_the_anchor_before_it() -> None:
    found = await receipt_of(RECORDS, GAME.more)
    anchors = [codec.decode_stored(event.stored) for event in found.events if event.name == "LogAnchored.v1"]
    assert [anchor.epoch for anchor in anchors if isinstance(anchor, LogAnchored)] == [1, 2]
    assert [one.epoch for one in verify(form.encode(found)).claims.payouts] == [2]


async def test_receipt_of_a_job_that_is_not_paid_yet_says_so_and_holds() -> None:
    found = await receipt_of(RECORDS, GAME.earned)
    claims = verify(form.encode(found), market=MARKET.key, blocks=()).claims
    assert (claims.paid_msat, claims.settled_msat, claims.payouts, found.payments) == (200_000, 0, (), ())


async def test_receipt_of_a_job_that_was_given_results_tells_of_no_payout_of_the_other() -> None:
    market = Payroll(MARKET.key)
    original = market.post(CLIENTS[0], 6, 9_000, reuse=True)
    market.work(original, range(6))
    market.pay()
    given = market.post(CLIENTS[0], 6, 9_000, reuse=True)
    found = await receipt_of(market.records, given)
    claims = verify(form.encode(found)).claims
    assert (claims.original, claims.paid_msat, claims.payouts) == (original, 0, ())
    assert verify(form.encode(await receipt_of(market.records, original))).claims.settled_msat == 54_000_000


async def test_payout_that_a_reorganisation_undid_is_none_until_it_is_mined_again() -> None:
    market = Payroll(MARKET.key)
    job = market.post(CLIENTS[0], 6, 9_000)
    market.work(job, range(6))
    first = market.pay()
    market.reorganise(market.height - 1)
    assert verify(form.encode(await receipt_of(market.records, job))).claims.settled_msat == 0
    second = market.confirm(1, others=2)
    assert second != first
    (again,) = verify(form.encode(await receipt_of(market.records, job))).claims.payouts
    assert again.block == second


async def test_worker_is_paid_where_it_wanted_to_be_when_the_payout_was_planned() -> None:
    market = Payroll(MARKET.key)
    other, job = market.post(CLIENTS[1], 12, 5_000), market.post(CLIENTS[0], 6, 9_000)
    market.work(other, range(12))
    market.work(job, range(3))
    market.pay()
    anna = WORKERS[0]
    market.do(OpenStake(point("new"), point("new refund"), 2_000, script("new place")), anna)
    market.work(job, range(3, 6))
    market.pay()
    found = await receipt_of(market.records, job)
    assert verify(form.encode(found), market=MARKET.key).claims.settled_msat == 54_000_000
    first, second = (bitcoin.parse(raw(proof)) for proof in found.payments)
    paid = [{output.script.hex() for output in tx.outputs} for tx in (first, second)]
    assert [script(anna) in scripts for scripts in paid] == [True, False]
    assert [script("new place") in scripts for scripts in paid] == [False, True]


async def test_receipt_tells_of_the_accounts_scripts(receipt: Receipt) -> None:
    opened = [event.name for event in receipt.events if event.name in ("EscrowOpened.v1", "StakeOpened.v1")]
    assert sorted(opened) == ["EscrowOpened.v1", *["StakeOpened.v1"] * 3]


# -------------------------------------------------------------------------------------------------- the verifier's node
async def test_block_must_be_known_where_the_verifier_names_blocks(receipt: Receipt) -> None:
    file = form.encode(receipt)
    assert verify(file, blocks=[txid("another"), *GAME.blocks]).job == GAME.paid
    assert broken(file, blocks=GAME.blocks[:1]) == "block"
    assert broken(file, blocks=()) == "block"


async def test_every_check_is_told_by_name(receipt: Receipt) -> None:
    _, checks = check(form.encode(receipt), market=MARKET.key, blocks=GAME.blocks)
    assert [one.name for one in checks] == list(CHECKS)
    assert all(one.passed for one in checks)
    _, checks = check(form.encode(receipt), market=MARKET.key, blocks=())
    assert [one.name for one in checks if one.passed is False] == ["block"]
    assert [one.name for one in checks if one.passed is None] == ["claims", "results"]


# ------------------------------------------------------------------------------------------------------- a changed file
async def test_no_byte_of_a_receipt_with_payments_can_be_changed(receipt: Receipt) -> None:
    file = form.encode(receipt)
    chance = random.Random(5)
    found = set()
    for _ in range(1_000):
        at = chance.randrange(len(file))
        other = chance.choice([byte for byte in range(256) if byte != file[at]])
        found.add(broken(file[:at] + bytes([other]) + file[at + 1 :]))
    assert found <= set(CHECKS)


async def test_no_byte_of_the_payments_can_be_changed() -> None:
    """Where the log's root protects nothing."""
    file = form.encode(await receipt_of(RECORDS, GAME.more))
    start, found, chance = file.index(b'"payments":'), set(), random.Random(2)
    for at in chance.sample(range(start, len(file)), 800):
        found.add(broken(file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]))
    assert {"form", "payment", "anchor"} <= found <= {"form", "canonical", "payment", "anchor", "block"}
    letters = [at for at in range(start, len(file)) if chr(file[at]).isalpha()]
    for at in chance.sample(letters, 200):
        broken(file[:at] + bytes([file[at] ^ 0x20]) + file[at + 1 :])


async def test_receipt_that_leaves_an_event_of_a_payout_out_is_caught(receipt: Receipt) -> None:
    source, fails = MemorySource(RECORDS), dict[str, set[str]]()
    for left_out in receipt.events:
        kept = tuple(event for event in receipt.events if event is not left_out)
        nodes = tuple(source.tree.cover([event.position - 1 for event in kept], receipt.root.size))
        if left_out.name not in ("EscrowFunded.v1", "EscrowOpened.v1"):
            changed = replace(receipt, events=kept, nodes=nodes)
            fails.setdefault(left_out.name.removesuffix(".v1"), set()).add(broken(changed))
    assert fails["ChainJoined"] == {"block"}
    assert fails["StakeOpened"] == {"payment"}
    assert fails["PayoutAllotted"] == {"payment"}
    assert fails["PayoutPlanned"] == fails["PayoutConfirmed"] == fails["LogAnchored"] == {"story"}


async def test_receipt_that_tells_of_a_payout_that_was_undone_is_caught() -> None:
    market = Payroll(MARKET.key)
    job = market.post(CLIENTS[0], 6, 9_000)
    market.work(job, range(6))
    market.pay()
    held = await receipt_of(market.records, job)
    market.reorganise(market.height - 1)
    undone = next(stored for stored in reversed(market.records) if stored.name == "PayoutReorged.v1")
    source = MemorySource(market.records)
    events = (*held.events, form.logged(undone))
    nodes = tuple(source.tree.cover([event.position - 1 for event in events], len(market.records)))
    changed = replace(held, events=events, nodes=nodes, root=await source.signed_root())
    assert broken(changed) == "story"


def payment(change: Callable[[Payment], Payment]) -> Callable[[Receipt], Receipt]:
    """Another proof of the first payout."""

    def changed(receipt: Receipt) -> Receipt:
        first, *rest = receipt.payments
        return replace(receipt, payments=(change(first), *rest))

    return changed


def transaction(change: Callable[[Tx], Tx]) -> Callable[[Receipt], Receipt]:
    def changed(proof: Payment) -> Payment:
        return replace(proof, transaction=bitcoin.serialize(change(bitcoin.parse(raw(proof)))).hex())

    return payment(changed)


def raw(proof: Payment) -> bytes:
    return bytes.fromhex(proof.transaction)


def shifted(tx: Tx) -> Tx:
    """A satoshi less for each payee, and all of them in the first change: the fee is the same."""
    outputs = list(tx.outputs)
    anchor = next(place for place, output in enumerate(outputs) if output.script[:1] == b"\x6a")
    for place in range(3):
        outputs[place] = outputs[place]._replace(value_sat=outputs[place].value_sat - 1)
    outputs[anchor + 1] = outputs[anchor + 1]._replace(value_sat=outputs[anchor + 1].value_sat + 3)
    return tx._replace(outputs=tuple(outputs))


def elsewhere(tx: Tx) -> Tx:
    """Another transaction that says the same in its OP_RETURN, and pays the same."""
    return tx._replace(inputs=(*tx.inputs[:-1], TxIn(OutPoint(txid("foreign"), 0), bitcoin.RBF)))


def in_the_tree(change: Callable[[Share], Share]) -> Callable[[Receipt], Receipt]:
    def walked(part: shares.Part) -> shares.Part:
        if isinstance(part, Fork):
            return Fork(walked(part.left), walked(part.right))
        return change(part) if isinstance(part, Share) else part

    def changed(proof: Payment) -> Payment:
        tree = walked(proof.shares)
        assert not isinstance(tree, bytes)
        return replace(proof, shares=tree)

    return payment(changed)


def other_root(proof: Payment) -> Payment:
    assert isinstance(proof.shares, Fork)
    return replace(proof, shares=Fork(proof.shares.left, bytes(32)))


SMALLEST = Tx((TxIn(OutPoint(txid("any"), 0), bitcoin.RBF),), (TxOut(1, b"\x51\x02\x4e\x73"),))


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (payment(lambda proof: proof), None),
        (lambda receipt: replace(receipt, payments=()), "payment"),
        (lambda receipt: replace(receipt, payments=receipt.payments[1:]), "payment"),
        (lambda receipt: replace(receipt, payments=receipt.payments[::-1]), "payment"),
        (lambda receipt: replace(receipt, payments=receipt.payments * 2), "payment"),
        (payment(lambda proof: replace(proof, epoch=7)), "payment"),
        (payment(lambda proof: replace(proof, transaction="")), "payment"),
        (payment(lambda proof: replace(proof, transaction=bitcoin.serialize(SMALLEST).hex())), "payment"),
        (payment(lambda proof: replace(proof, transaction=witnessed(proof))), "payment"),
        (transaction(shifted), "payment"),
        (transaction(elsewhere), "payment"),
        (transaction(lambda tx: tx._replace(locktime=1)), "payment"),
        (transaction(lambda tx: tx._replace(outputs=tx.outputs[1:])), "payment"),
        (transaction(lambda tx: tx._replace(outputs=tx.outputs[::-1])), "payment"),
        (in_the_tree(lambda share: replace(share, worker=WORKERS[2])), "payment"),
        (in_the_tree(lambda share: replace(share, amount_msat=share.amount_msat + 1)), "payment"),
        (payment(other_root), "anchor"),
        (payment(lambda proof: replace(proof, history=proof.history[1:])), "anchor"),
        (payment(lambda proof: replace(proof, history=(bytes(32), *proof.history[1:]))), "anchor"),
        (payment(lambda proof: replace(proof, history=(*proof.history, bytes(32)))), "anchor"),
    ],
)
async def test_proof_of_a_payout_that_is_changed_is_caught(
    receipt: Receipt, change: Callable[[Receipt], Receipt], fails: str | None
) -> None:
    if fails is None:
        assert verify(form.encode(change(receipt))).claims == receipt.claims
    else:
        assert broken(change(receipt)) == fails


def witnessed(proof: Payment) -> str:
    tx = bitcoin.parse(raw(proof))
    return bitcoin.with_witness(tx, [[b"\x01"]] * len(tx.inputs)).hex()


def test_the_transaction_that_could_be_a_node_has_64_bytes() -> None:
    assert len(bitcoin.serialize(SMALLEST)) == 64


async def test_claims_of_a_payout_that_was_not_made_are_caught(receipt: Receipt) -> None:
    unpaid = await receipt_of(RECORDS, GAME.earned)
    said = replace(unpaid.claims, settled_msat=unpaid.claims.paid_msat)
    assert broken(replace(unpaid, claims=said)) == "claims"
    assert broken(replace(unpaid, claims=replace(unpaid.claims, payouts=receipt.claims.payouts))) == "claims"
    assert broken(replace(unpaid, claims=replace(unpaid.claims, network="main"))) == "claims"
    assert broken(replace(unpaid, payments=receipt.payments)) == "payment"
