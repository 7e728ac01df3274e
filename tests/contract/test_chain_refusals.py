"""What must not be sent is refused by both chains for its own reason, beside a control that is not."""

import pytest

from domain.bitcoin import SATS_MAX, OutPoint, p2wsh, parse, parse_header, txid
from tests.chain import AWAY, FEE_SAT, MINE, build, shown
from tests.lab import Lab, lab, refused
from tests.spends import DUE, LATER, MATRIX, Case, Scene

__all__ = ["lab"]

ESCROW_SAT = 1_000_000


async def set_up(lab: Lab) -> Scene:
    """The scene of the matrix: two escrows in the block before the next one."""
    first, *coins = await lab.coins()
    escrows = [(ESCROW_SAT, p2wsh(LATER)), (ESCROW_SAT, p2wsh(DUE))]
    funding = build([first], [*escrows, (first.value_sat - 2 * ESCROW_SAT - FEE_SAT, MINE)])
    name = await lab.chain.send(shown(funding))
    await lab.mine(1)
    found = [await lab.chain.utxo(OutPoint(name, vout)) for vout in (0, 1)]
    rewards = []
    for block in await lab.chain.blocks(22, 2):
        reward = await lab.chain.utxo(OutPoint(txid(parse(block.transactions[0])), 0))
        assert reward is not None
        rewards.append(reward)
    times = sorted(parse_header(block.header).time for block in await lab.chain.blocks(111, 11))
    later, due = found
    assert later is not None
    assert due is not None
    return Scene(coins, rewards[0], rewards[1], due, later, times[5])


@pytest.mark.parametrize("case", MATRIX, ids=lambda case: case.name.replace(" ", "-"))
async def test_transaction_is_refused_for_one_thing_alone(lab: Lab, case: Case) -> None:
    scene = await set_up(lab)
    assert await refused(lab.chain, case.bad(scene)) == case.reason
    assert await lab.chain.send(case.good(scene))
    await lab.mine(1)
    (block,) = await lab.chain.blocks(122, 1)
    assert block.transactions[1:] == (case.good(scene),)


async def test_amounts_beyond_all_bitcoin_are_refused_before_they_are_compared(lab: Lab) -> None:
    coin = (await lab.coins())[0]
    assert await refused(lab.chain, shown(build([coin], [(SATS_MAX, AWAY), (1, AWAY)]))) == "bad-amount"
    assert await refused(lab.chain, shown(build([coin], [(SATS_MAX - 1, AWAY), (1, AWAY)]))) == "dust"
