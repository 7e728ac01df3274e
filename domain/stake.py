"""One worker's stake: money it loses when a referee rejects its result. Part of it is locked by open assignments.

StakeDeposited  outside -> held     StakeSlashed  held -> slashed     StakeWithdrawn  held -> outside

What a reorganised chain or somebody else's transaction took of its outputs is ``missing``; see ``domain.escrow``.
"""

from typing import assert_never

from msgspec import Struct

from domain import errors
from domain.events import StakeDeposited, StakeEvent, StakeOpened, StakeSlashed, StakeWithdrawn
from domain.money import PositiveMsat


class WithdrawStake(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Take back stake that no open assignment needs."""

    amount_msat: PositiveMsat


class Stake(Struct, frozen=True):
    worker: str
    deposited_msat: int = 0
    held_msat: int = 0
    slashed_msat: int = 0
    withdrawn_msat: int = 0
    version: int = 0
    missing_msat: int = 0

    @property
    def usable_msat(self) -> int:
        """What is held by outputs that are there."""
        return max(0, self.held_msat - self.missing_msat)


def withdraw(stake: Stake, locked_msat: int, amount_msat: int) -> StakeWithdrawn:
    """Pay stake back.

    Raises:
        StakeTooSmall: Less is free of open assignments.
    """
    free_msat = stake.usable_msat - locked_msat
    if amount_msat > free_msat:
        raise errors.StakeTooSmall(free_msat=free_msat, needed_msat=amount_msat)
    return StakeWithdrawn(stake.worker, amount_msat)


def slash(stake: Stake, job: str, task: int, amount_msat: int) -> tuple[StakeSlashed, ...]:
    """Take the stake of one rejected result, which was locked since its assignment."""
    assert stake.held_msat >= amount_msat, "stake stays locked until the result has its verdict"
    return (StakeSlashed(stake.worker, job, task, amount_msat),) if amount_msat else ()


def evolve(stake: Stake | None, event: StakeEvent) -> Stake:
    """The stake after ``event``."""
    stake = stake or Stake(event.worker)
    deposited, slashed, withdrawn = 0, 0, 0
    match event:
        case StakeOpened():
            pass
        case StakeDeposited():
            deposited = event.amount_msat
        case StakeSlashed():
            slashed = event.amount_msat
        case StakeWithdrawn():
            withdrawn = event.amount_msat
        case _:
            assert_never(event)
    return Stake(
        stake.worker,
        stake.deposited_msat + deposited,
        stake.held_msat + deposited - slashed - withdrawn,
        stake.slashed_msat + slashed,
        stake.withdrawn_msat + withdrawn,
        stake.version + 1,
        stake.missing_msat,
    )
