"""What a receipt says of its payouts, in the same words on the command line, on pages and in notebooks."""

from collections.abc import Sequence

from domain.drawing import FEE_PPM
from services.client.words import count, sat
from services.receipt.form import Claims, Payout


def settled(claims: Claims) -> str:
    """How much of what was earned is paid, and when the rest will be."""
    left_msat = claims.paid_msat - claims.settled_msat
    if not claims.paid_msat:
        return "Nobody earned anything with it, so nobody is to be paid."
    if not left_msat:
        payouts = count(len(claims.payouts), "transaction")
        return f"All {sat(claims.paid_msat)} that workers earned are paid, by {payouts}."
    some = f" of {sat(claims.paid_msat)}" if claims.settled_msat else ""
    if claims.network is None:
        return f"{sat(left_msat)}{some} are earned, and not paid on a chain: the market has not joined one."
    return (
        f"{sat(left_msat)}{some} are earned, not paid yet: the next payout is planned when what a worker has earned is "
        f"worth an output, of which at most {FEE_PPM / 10_000:g} % go to miners. Save the receipt again then."
    )


def paid(payout: Payout) -> str:
    """One payout: where it is, and what it holds fast."""
    where = f"block {payout.height:,}, mined {payout.mined_at:%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"Payout {payout.epoch} paid {sat(payout.paid_msat)} of it in {where}, and binds the log's first "
        f"{count(payout.anchored, 'event')} into that block."
    )


def chain(claims: Claims, *, named: bool = False) -> Sequence[str]:
    """What the blocks prove, and what they can not; nothing where no payout paid for the job.

    Args:
        named: The verifier named blocks that are in the best chain, and each of these is one.
    """
    if not claims.payouts:
        return ()
    said = []
    if claims.network == "regtest":
        said.append(
            "The chain is regtest, where anybody makes blocks at no cost: they prove who was paid what, and neither "
            "when nor any worth."
        )
    if named:
        said.append("Its blocks are among those that you know to be in the best chain.")
    elif claims.network != "regtest":
        said.append(
            "Whether its blocks are in the best chain only a node can say: ask yours, as with "
            f"`bitcoin-cli getblockheader {claims.payouts[-1].block}`, and name what it knows with --block."
        )
    return said
