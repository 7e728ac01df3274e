"""One client's escrow: a double-entry account in msat. Money is free, reserved for a job, released or refunded.

EscrowFunded    outside  -> free          EscrowReleased  reserved -> released (a worker earned it)
EscrowReserved  free     -> reserved      EscrowFreed     reserved -> free
EscrowRefunded  free     -> refunded      FeeCharged      reserved -> charged (the market earned it)

Always: funded = free + reserved + released + charged + refunded.

A reorganisation or somebody else's transaction may have taken some of its outputs on the chain. That is ``missing``,
and as much of the free money is not to be used.
"""

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from domain import errors
from domain.events import (
    EscrowEvent,
    EscrowFreed,
    EscrowFunded,
    EscrowOpened,
    EscrowRefunded,
    EscrowReleased,
    EscrowReserved,
    FeeCharged,
)
from domain.job import Job, chain_due_msat, fee_due_msat
from domain.money import PositiveMsat


class RefundEscrow(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Take free money out of the market, back to the client."""

    amount_msat: PositiveMsat


class Escrow(Struct, frozen=True, gc=False):
    id: str
    client: str
    funded_msat: int = 0
    free_msat: int = 0
    reserved_msat: int = 0
    released_msat: int = 0
    charged_msat: int = 0
    refunded_msat: int = 0
    version: int = 0
    missing_msat: int = 0

    @property
    def usable_msat(self) -> int:
        """Free money that its outputs hold."""
        return max(0, self.free_msat - self.missing_msat)


def reserve(escrow: Escrow, job: str, client: str, amount_msat: int, risky_msat: int = 0) -> EscrowReserved:
    """Set money aside for a job.

    Args:
        risky_msat: So much of it is in outputs that its owner can take before long.
    Raises:
        UnknownEscrow: The escrow is another client's.
        EscrowTooSmall: Less is free.
    """
    if client != escrow.client:
        raise errors.UnknownEscrow(escrow=escrow.id)
    _need(escrow, amount_msat, risky_msat)
    return EscrowReserved(escrow.id, job, amount_msat)


def release(job: Job, task: int, replica: int, worker: str) -> EscrowReleased:
    """Let a worker earn the price of one verified result out of the job's reservation."""
    terms = job.terms
    assert job.left_msat >= terms.price_msat, "every replica's price was reserved when the job was posted"
    return EscrowReleased(terms.escrow, terms.job, task, replica, worker, terms.price_msat)


def settle(job: Job) -> list[FeeCharged | EscrowFreed]:
    """Charge the market's fee on a finished job, and give back what it did not use."""
    escrow, fee_msat = job.terms.escrow, fee_due_msat(job)
    left_msat = job.left_msat - fee_msat
    charged = [FeeCharged(escrow, job.terms.job, fee_msat, chain_due_msat(job))] if fee_msat else []
    freed = [EscrowFreed(escrow, job.terms.job, left_msat)] if left_msat else []
    return [*charged, *freed]


def refund(escrow: Escrow, amount_msat: int) -> EscrowRefunded:
    """Pay free money back to the client.

    Raises:
        EscrowTooSmall: Less is free.
    """
    _need(escrow, amount_msat)
    return EscrowRefunded(escrow.id, amount_msat)


def _need(escrow: Escrow, amount_msat: int, risky_msat: int = 0) -> None:
    free_msat = max(0, escrow.usable_msat - risky_msat)
    if amount_msat > free_msat:
        raise errors.EscrowTooSmall(escrow=escrow.id, free_msat=free_msat, needed_msat=amount_msat)


def evolve(escrow: Escrow | None, event: EscrowEvent) -> Escrow:
    """The escrow after ``event``."""
    if escrow is None:
        assert isinstance(event, EscrowOpened | EscrowFunded), "an escrow's stream opens with one of these"
        escrow = Escrow(event.escrow, event.client)
    if isinstance(event, EscrowOpened):
        return replace(escrow, version=escrow.version + 1)
    funded, unused, reserved, released, charged, refunded = 0, 0, 0, 0, 0, 0
    amount = event.amount_msat
    match event:
        case EscrowReleased():
            reserved, released = -amount, amount
        case EscrowReserved():
            unused, reserved = -amount, amount
        case FeeCharged():
            reserved, charged = -amount, amount
        case EscrowFreed():
            reserved, unused = -amount, amount
        case EscrowFunded():
            funded, unused = amount, amount
        case EscrowRefunded():
            unused, refunded = -amount, amount
        case _:
            assert_never(event)
    return Escrow(
        escrow.id,
        escrow.client,
        escrow.funded_msat + funded,
        escrow.free_msat + unused,
        escrow.reserved_msat + reserved,
        escrow.released_msat + released,
        escrow.charged_msat + charged,
        escrow.refunded_msat + refunded,
        escrow.version + 1,
        escrow.missing_msat,
    )
