"""An audit passes payouts that the market made, and names the first event of one that it cannot have made."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from domain import bitcoin, payout
from domain.books import State
from domain.events import EscrowRefunded, Paid, PayoutAllotted, PayoutConfirmed, PayoutPlanned, StakeWithdrawn
from domain.settlement import AdvanceChain, ReturnLapsed
from services.audit import anchors, audit
from services.audit.payouts import STEPS
from services.ledger import codec, merkle
from tests.blocks import digest, p2wpkh, point
from tests.history import MemoryLog, tree_of
from tests.payouts import Payday, told
from tests.simulate import ARBITER, OPERATOR, SETTLEMENT, Simulation, key
from tests.unit.test_audit import Records, broken, first, forged, twice, without

#: A game in which every fate of a payout comes about; see ``test_history_has_every_event_of_the_chain``.
SEED, MOVES = 3, 900


@pytest.fixture(scope="module")
def records() -> Records:
    return Simulation(SEED).run(MOVES).play_out().records


def event(records: Records, position: int) -> Any:
    return codec.decode_stored(records[position - 1])


def position_of(records: Records, kind: str, wanted: Callable[[Any], object]) -> int:
    """The first event of that name for which it holds."""
    return next(r.position for r in records if r.name == f"{kind}.v1" and wanted(codec.decode_stored(r)))


async def test_history_has_every_event_of_the_chain(records: Records) -> None:
    names = {record.name.partition(".")[0] for record in records}
    assert names >= {
        "ChainJoined", "ChainAdvanced", "ChainReorganised", "EscrowOpened", "StakeOpened", "DepositReorged",
        "DepositRestored", "CoinTaken", "PayoutPlanned", "PayoutAllotted", "PayoutContested", "PayoutBroadcast",
        "PayoutConfirmed", "LogAnchored", "PayoutReorged", "PayoutAbandoned",
    }  # fmt: skip
    verdict = await audit(MemoryLog(records))
    assert verdict.ok
    assert all(one.checked for one in verdict.invariants if one.name in ("coins", "payouts", "paid_out", "anchored"))


# ---------------------------------------------------------------------------------------------------------------- coins
@pytest.mark.parametrize("seed", range(4))
async def test_audit_passes_whatever_happens_to_payouts(seed: int) -> None:
    assert await broken(Payday(seed).run(150).records) == {}


async def test_audit_passes_payouts_of_every_fate() -> None:
    assert await broken(told().records) == {}


async def test_audit_finds_a_deposit_that_is_counted_twice(records: Records) -> None:
    position = first(records, "EscrowFunded", after=500)
    assert (await broken(twice(records, position)))["coins"] == position + 1


async def test_audit_finds_a_deposit_to_a_script_that_the_account_does_not_have(records: Records) -> None:
    position = first(records, "EscrowFunded", after=500)
    assert (await broken(forged(records, position, term=99)))["coins"] == position


async def test_audit_finds_money_that_is_on_no_chain(records: Records) -> None:
    position = first(records, "EscrowFunded", after=500)
    found = await broken(forged(records, position, vout=None, height=None, term=None))
    assert found["coins"] == position


async def test_audit_finds_a_payouts_change_that_is_counted_as_a_deposit(records: Records) -> None:
    paid = first(records, "PayoutConfirmed")
    position = first(records, "EscrowFunded", after=paid)
    found = await broken(forged(records, position, reference=event(records, paid).txid, vout=0))
    assert found["coins"] == position


@pytest.mark.parametrize("field", ["market_key", "arbiter_key"])
async def test_audit_finds_an_account_with_a_strangers_key(records: Records, field: str) -> None:
    position = first(records, "EscrowOpened")
    assert (await broken(forged(records, position, **{field: point("a stranger")})))["coins"] == position


async def test_audit_finds_two_accounts_with_one_script(records: Records) -> None:
    opened = event(records, first(records, "EscrowOpened"))
    position = first(records, "StakeOpened")
    same = {name: getattr(opened, name) for name in ("release_key", "refund_key", "expires_height")}
    assert (await broken(forged(records, position, **same)))["coins"] == position


@pytest.mark.parametrize("kind", ["CoinTaken", "DepositReorged", "DepositRestored"])
async def test_audit_finds_an_output_that_is_not_what_is_said(records: Records, kind: str) -> None:
    position = first(records, kind)
    amount_msat = event(records, position).amount_msat
    assert (await broken(forged(records, position, amount_msat=amount_msat + 1_000)))["coins"] == position


@pytest.mark.parametrize("kind", ["CoinTaken", "DepositReorged", "DepositRestored"])
async def test_audit_finds_an_output_that_moves_twice(records: Records, kind: str) -> None:
    position = first(records, kind)
    assert (await broken(twice(records, position)))["coins"] == position + 1


def planned(records: Records, wanted: Callable[[PayoutPlanned], object] = lambda _: True) -> tuple[int, PayoutPlanned]:
    position = position_of(records, "PayoutPlanned", wanted)
    return position, event(records, position)


def with_coin(found: PayoutPlanned, **fields: object) -> tuple[object, ...]:
    """What is drawn, with another first coin."""
    drawn = found.drawn[0]
    coin = msgspec.structs.replace(drawn.coins[0], **fields)
    return (msgspec.structs.replace(drawn, coins=(coin, *drawn.coins[1:])), *found.drawn[1:])


async def test_audit_finds_a_payout_that_spends_what_is_not_the_markets(records: Records) -> None:
    position, found = planned(records)
    elsewhere = with_coin(found, outpoint=digest("elsewhere") + "00000000")
    assert (await broken(forged(records, position, drawn=elsewhere)))["coins"] == position
    richer = with_coin(found, value_sat=found.drawn[0].coins[0].value_sat + 1)
    assert (await broken(forged(records, position, drawn=richer)))["coins"] == position


async def test_audit_finds_a_payout_that_spends_another_accounts_output(records: Records) -> None:
    position, found = planned(records, lambda one: len(one.drawn) > 1)
    first_, second, *rest = found.drawn
    swapped = (
        msgspec.structs.replace(first_, coins=second.coins),
        msgspec.structs.replace(second, coins=first_.coins),
        *rest,
    )
    assert (await broken(forged(records, position, drawn=swapped)))["coins"] == position


async def test_audit_finds_a_change_that_goes_elsewhere(records: Records) -> None:
    position, found = planned(records, lambda one: one.drawn[0].change_sat)
    bent = (msgspec.structs.replace(found.drawn[0], script="0020" + "11" * 32), *found.drawn[1:])
    assert (await broken(forged(records, position, drawn=bent)))["coins"] == position


async def test_audit_finds_a_reserve_with_a_strangers_key(records: Records) -> None:
    position, _ = planned(records)
    assert (await broken(forged(records, position, reserve_script="0020" + "11" * 32)))["coins"] == position


async def test_audit_finds_a_payout_that_is_confirmed_twice(records: Records) -> None:
    position = first(records, "PayoutConfirmed")
    found = await broken(twice(records, position))
    assert found["coins"] == found["payouts"] == position + 1


async def test_audit_finds_a_reorganisation_that_undoes_nothing(records: Records) -> None:
    position = first(records, "PayoutReorged")
    found = await broken(twice(records, position))
    assert found["coins"] == found["payouts"] == position + 1


# -------------------------------------------------------------------------------------------------------------- payouts
@pytest.mark.parametrize("field", ["fund_sat", "market_sat", "reserve_sat"])
async def test_audit_finds_a_payout_that_is_out_of_balance(records: Records, field: str) -> None:
    position, found = planned(records)
    bent = forged(records, position, **{field: getattr(found, field) + 1_000})
    assert (await broken(bent))["payouts"] > position


async def test_audit_finds_a_fee_that_is_not_what_the_inputs_leave(records: Records) -> None:
    position, found = planned(records, lambda one: len(one.fees_sat) > 1)
    cheap, *dearer = found.fees_sat
    assert (await broken(forged(records, position, fees_sat=(cheap + 1, *dearer))))["payouts"] > position
    assert (await broken(forged(records, position, fees_sat=(cheap, cheap))))["payouts"] == position


async def test_audit_finds_money_of_an_account_that_is_not_accounted_for(records: Records) -> None:
    position, found = planned(records, lambda one: one.drawn[0].change_sat)
    bent = (msgspec.structs.replace(found.drawn[0], change_sat=found.drawn[0].change_sat - 1), *found.drawn[1:])
    assert (await broken(forged(records, position, drawn=bent)))["payouts"] == position


async def test_audit_finds_a_fee_to_somebody_else_than_the_market(records: Records) -> None:
    position, _ = planned(records)
    assert (await broken(forged(records, position, market_script=p2wpkh("a thief"))))["payouts"] == position


@pytest.mark.parametrize("due", ["reward", "escrow", "stake"])
async def test_audit_finds_a_payee_who_is_paid_elsewhere(records: Records, due: str) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == due)
    assert (await broken(forged(records, position, script=p2wpkh("a thief"))))["payouts"] == position


async def test_audit_finds_a_payee_who_is_left_out(records: Records) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == "reward")
    assert (await broken(without(records, position)))["payouts"] > position - 1


async def test_audit_finds_a_payee_who_is_added(records: Records) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == "reward")
    assert "payouts" in await broken(twice(records, position))


async def test_audit_finds_a_worker_who_bears_a_fee(records: Records) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == "reward")
    assert (await broken(forged(records, position, borne_vb=31)))["payouts"] == position


@pytest.mark.parametrize("kind", ["PayoutBroadcast", "PayoutConfirmed"])
async def test_audit_finds_a_transaction_that_is_none_of_the_payouts(records: Records, kind: str) -> None:
    position = first(records, kind)
    assert (await broken(forged(records, position, txid=digest("elsewhere"))))["payouts"] == position
    fee_sat = event(records, position).fee_sat
    assert (await broken(forged(records, position, fee_sat=fee_sat + 1)))["payouts"] == position


async def test_audit_finds_a_block_that_does_not_hold_the_payout(records: Records) -> None:
    position = first(records, "PayoutConfirmed")
    found: PayoutConfirmed = event(records, position)
    for wrong in ({"index": 0}, {"branch": (digest("beside"),)}, {"branch": ()}, {"block": digest("elsewhere")}):
        assert (await broken(forged(records, position, **wrong)))["payouts"] == position
    for nonce in range(64):
        header = found.header[:-8] + nonce.to_bytes(4, "little").hex()
        if not bitcoin.has_work(bytes.fromhex(header)):
            lazy = forged(records, position, header=header, block=bitcoin.block_hash(bytes.fromhex(header)))
            assert (await broken(lazy))["payouts"] == position
            return
    raise AssertionError("every other nonce has no work")


@pytest.mark.parametrize("field", ["size", "root", "anchor", "txid", "height"])
async def test_audit_finds_an_anchor_that_is_not_the_payouts(records: Records, field: str) -> None:
    position = first(records, "LogAnchored")
    other = getattr(event(records, position), field)
    wrong = other + 1 if isinstance(other, int) else digest("elsewhere")
    assert (await broken(forged(records, position, **{field: wrong})))["payouts"] == position


async def test_audit_finds_a_payout_that_is_planned_before_the_last_one_is_settled(records: Records) -> None:
    confirmed = position_of(records, "PayoutConfirmed", lambda one: one.epoch == 1)
    gone = without(without(records, confirmed), confirmed)  # with its anchor
    following = position_of(gone, "PayoutPlanned", lambda one: one.epoch == 2)
    assert (await broken(gone))["payouts"] == following


# ------------------------------------------------------------------------------------------------------------- paid out
async def test_audit_finds_a_worker_who_is_paid_more_than_it_earned(records: Records) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == "reward")
    found: PayoutAllotted = event(records, position)
    more = (msgspec.structs.replace(found.paid[0], amount_msat=found.paid[0].amount_msat + 10**9), *found.paid[1:])
    bent = forged(records, position, amount_sat=found.amount_sat + 10**6, paid=more)
    assert (await broken(bent))["paid_out"] == position


async def test_audit_finds_a_worker_who_is_paid_for_a_job_that_it_did_not_do(records: Records) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == "reward")
    found: PayoutAllotted = event(records, position)
    bent = forged(records, position, paid=(Paid("f" * 24, found.amount_sat * 1_000),))
    assert (await broken(bent))["paid_out"] == position


async def test_audit_finds_an_owner_who_is_paid_more_than_it_took_out(records: Records) -> None:
    position = position_of(records, "PayoutAllotted", lambda one: one.due == "escrow")
    more = event(records, position).amount_sat + 10**6
    assert (await broken(forged(records, position, amount_sat=more)))["paid_out"] == position


async def test_audit_finds_a_payout_that_draws_what_its_client_did_not_owe(records: Records) -> None:
    position, found = planned(records, lambda one: one.drawn[0].account == "escrow" and one.drawn[0].pool_sat)
    drawn = found.drawn[0]
    more = msgspec.structs.replace(drawn, pool_sat=drawn.pool_sat + drawn.change_sat, change_sat=0)
    assert (await broken(forged(records, position, drawn=(more, *found.drawn[1:]))))["paid_out"] == position


@pytest.mark.parametrize(("field", "whom"), [("market_sat", "the market"), ("fund_sat", "miners")])
async def test_audit_finds_a_market_or_miners_who_are_paid_more_than_is_theirs(
    records: Records, field: str, whom: str
) -> None:
    position, _ = planned(records)
    verdict = await audit(MemoryLog(forged(records, position, **{field: 10**9})))
    found = {one.name: one.first_violation for one in verdict.invariants}["paid_out"]
    assert found is not None
    assert found.position == position
    assert found.what.startswith(f"{whom} ")


# ------------------------------------------------------------------------------------------------------------- anchored
async def test_audit_finds_a_payout_that_binds_another_log(records: Records) -> None:
    position, found = planned(records)
    assert (await broken(forged(records, position, root=digest("another log"))))["anchored"] == position
    assert (await broken(forged(records, position, size=found.size - 1)))["anchored"] == position
    assert (await broken(forged(records, position, size=position)))["anchored"] == position


async def test_audit_finds_a_log_that_is_not_what_a_payout_bound_long_ago(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, where the root is looked up in the log again because it is too long ago."""
    monkeypatch.setattr(anchors.Anchored, "extend", lambda self, tree, leaves: None)
    assert await broken(records) == {}
    for epoch in (1, 5):
        position, _ = planned(records, lambda one, epoch=epoch: one.epoch == epoch)  # type: ignore[misc]
        assert (await broken(forged(records, position, root=digest("another log"))))["anchored"] == position


async def test_audit_finds_a_payout_that_binds_other_shares_than_it_pays(records: Records) -> None:
    position, found = planned(records)
    bent = forged(records, position, receipts=digest("others"))
    assert position < (await broken(bent))["anchored"]
    said = (found.epoch, found.size, found.root, digest("others"), found.previous)
    anchor = payout.anchor(OPERATOR, *said)
    assert position < (await broken(forged(records, position, receipts=digest("others"), anchor=anchor)))["anchored"]


async def test_audit_finds_an_anchor_that_is_no_hash_over_what_it_binds(records: Records) -> None:
    position, _ = planned(records)
    assert position < (await broken(forged(records, position, anchor=digest("elsewhere"))))["anchored"]


async def test_audit_finds_an_anchor_that_does_not_follow_the_one_before_it(records: Records) -> None:
    position, _ = planned(records, lambda one: one.epoch == 3)
    assert (await broken(forged(records, position, previous=digest("elsewhere"))))["anchored"] == position
    assert (await broken(forged(records, position, previous="00" * 32)))["anchored"] == position


def test_trail_knows_roots_that_are_not_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchors, "KEPT", 50)
    stored = Simulation(1).run(200).records
    leaves = list(map(merkle.leaf, stored))
    trail = anchors.Trail(merkle.CompactRange())
    for start in range(0, len(leaves), 40):
        trail.extend(leaves[start : start + 40])
    end = len(leaves)
    assert trail.root(0) is None
    for size in (end - 40, end - 40, end - 3, end):
        assert trail.root(size) == tree_of(stored[:size]).root.hex()
    assert trail.root(end - 1) is None


# --------------------------------------------------------------------------------------------------------------- actors
@pytest.mark.parametrize(
    "kind",
    [
        "ChainAdvanced",
        "ChainReorganised",
        "DepositReorged",
        "DepositRestored",
        "CoinTaken",
        "PayoutPlanned",
        "PayoutAllotted",
        "PayoutBroadcast",
        "PayoutConfirmed",
        "LogAnchored",
        "PayoutReorged",
        "PayoutAbandoned",
    ],
)
async def test_audit_finds_who_speaks_for_the_chain_and_is_not_settlement(records: Records, kind: str) -> None:
    position = first(records, kind)
    assert codec.decode_meta(records[position - 1].meta).actor == SETTLEMENT
    assert (await broken(forged(records, position, actor=ARBITER)))["actors"] == position


async def test_audit_finds_an_objection_that_is_not_the_arbiters(records: Records) -> None:
    position = first(records, "PayoutContested")
    assert codec.decode_meta(records[position - 1].meta).actor == ARBITER
    assert (await broken(forged(records, position, actor=SETTLEMENT)))["actors"] == position


@pytest.mark.parametrize("kind", ["EscrowOpened", "StakeOpened"])
async def test_audit_finds_an_account_that_somebody_else_opened(records: Records, kind: str) -> None:
    position = first(records, kind)
    assert (await broken(forged(records, position, actor=key("a stranger"))))["actors"] == position


async def test_audit_finds_free_money_that_settlement_returns_before_the_term_ends(records: Records) -> None:
    position = position_of(records, "EscrowRefunded", lambda _: True)
    assert (await broken(forged(records, position, actor=SETTLEMENT)))["actors"] == position


async def test_audit_passes_free_money_that_settlement_returns_when_the_term_ends() -> None:
    game = Simulation(1, clients=1, workers=1)
    client, worker = game.clients[0], game.workers[0]
    assert game.chain is not None
    for account, owner in (("escrow", client), ("stake", worker)):
        game.chain.open(account, owner)
    ends = min(terms[-1].expires_height for terms in game.world.books.terms.values())
    game.do(AdvanceChain(ends, digest("tip")), SETTLEMENT)
    facts = game.do(ReturnLapsed(), SETTLEMENT)
    assert {type(fact.event) for fact in facts} == {EscrowRefunded, StakeWithdrawn}
    assert (await audit(MemoryLog(game.records))).ok


def test_states_of_the_audit_are_those_of_the_rules() -> None:
    states = {state for before, after in STEPS.values() for state in (*before, after)}
    assert states == {state.value for state in State}
