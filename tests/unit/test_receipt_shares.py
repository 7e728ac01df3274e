"""The cut tree of a payout's shares has the whole tree's root, and says of one job what the payout does."""

import pytest

from domain import payout
from domain.events import Paid, PayoutAllotted
from services.receipt import shares
from services.receipt.shares import DEPTH_MAX, Fork, Share
from tests.payroll import script
from tests.simulate import key

JOBS = [f"{number:024x}" for number in range(5)]


def allotted(workers: int) -> list[PayoutAllotted]:
    """Worker n is paid for jobs 0 to n, modulo the number of jobs."""
    found = []
    for number in range(workers):
        paid = tuple(Paid(job, 1_000 * (number + 1)) for job in JOBS[: number % len(JOBS) + 1])
        amount_sat = sum(part.amount_msat for part in paid) // 1_000
        found.append(PayoutAllotted(1, "reward", key(f"{number}"), amount_sat, 0, script(f"{number}"), paid))
    return found


@pytest.mark.parametrize("workers", range(1, 34))
def test_cut_tree_has_the_root_of_the_whole(workers: int) -> None:
    payees = allotted(workers)
    for job in JOBS[:workers]:
        tree = shares.cut(payees, job)
        assert shares.root(tree, job).hex() == payout.receipts_root(payees)
        told = {share.worker: share.amount_msat for share in shares.listed(tree)}
        assert told == {one.owner: part.amount_msat for one in payees for part in one.paid if part.job == job}
        assert list(told) == sorted(told)


def test_cut_tree_of_one_job_among_many_is_short() -> None:
    payees = [*allotted(1_000), PayoutAllotted(1, "reward", key("x"), 9, 0, script("x"), (Paid("f" * 24, 9_000),))]
    assert count(shares.cut(payees, "f" * 24)) <= 13


def count(part: shares.Part) -> int:
    """Hashes and shares."""
    return count(part.left) + count(part.right) if isinstance(part, Fork) else 1


def test_payout_that_pays_nothing_for_a_job_has_no_tree_of_it() -> None:
    with pytest.raises(ValueError, match="pays nobody"):
        shares.cut(allotted(1), JOBS[1])
    with pytest.raises(ValueError, match="pays nobody"):
        shares.cut([], JOBS[0])


def test_tree_that_is_deeper_than_any_is_refused() -> None:
    tree: shares.Part = Share(key("x"), 1)
    for _ in range(DEPTH_MAX):
        tree = Fork(tree, bytes(32))
    assert len(shares.root(tree, JOBS[0])) == 32
    with pytest.raises(ValueError, match="deeper"):
        shares.root(Fork(tree, bytes(32)), JOBS[0])
