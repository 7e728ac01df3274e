"""``pasar escrow refund --receipt`` and ``refund-key``: a client's money back without the market."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from domain.errors import Refused
from ui.commands.running import CLIENT, As
from ui.format import AsJson, print_json, say

if TYPE_CHECKING:
    from services.settlement.refund import EscrowReceipt
    from services.settlement.wallet import Wallet


class NotShown(Refused):
    template: ClassVar[str] = (
        "this prints a secret: whoever sees it can take all that {address} holds once the chain is past block "
        "{height:,}; say --show-secret if that is what you want, and nobody looks on"
    )


def refund_alone(path: Path, to: str, rate: int, as_: str, as_json: bool) -> None:
    """Sign the refund from receipt and wallet, with no market, no node and no network."""
    from domain.bitcoin import parse, txid, vsize
    from services.settlement import refund as alone

    receipt, own = _opened(path, as_)
    raw = alone.refund(receipt, own, rate_msat=rate * 1_000, address=to or None)
    tx = parse(raw)
    taken = {one.outpoint for one in tx.inputs}
    held_sat = sum(coin.value_sat for coin in receipt.coins if (coin.txid, coin.vout) in taken)
    left_sat = tx.outputs[0].value_sat
    valid_from = receipt.expires_height + 1
    if as_json:
        print_json(
            {"raw": raw.hex(), "txid": txid(tx), "value_sat": left_sat, "fee_sat": held_sat - left_sat,
             "vsize": vsize(raw), "valid_from_height": valid_from}
        )  # fmt: skip
        return
    say(f"{left_sat:,} sat go to {to or own.payout_address()}, {held_sat - left_sat:,} sat to the miners")
    if left_out := len(receipt.coins) - len(taken):
        say(f"{left_out:,} of {len(receipt.coins):,} outputs stay there: at this rate they cost more than they hold")
    say(f"nodes take it from block {valid_from:,} on")
    print(raw.hex())


def refund_key(
    receipt: Annotated[Path, typer.Option(help="The escrow receipt of the term.", dir_okay=False)],
    show_secret: Annotated[bool, typer.Option("--show-secret", help="Print the secret.")] = False,
    as_: As = CLIENT,
    as_json: AsJson = False,
) -> None:
    """Print the escrow's descriptor with its refund key, a SECRET, for another wallet to take the money back with.

    You need it only if you want to do without Pasar itself; `pasar escrow refund --receipt` needs no such thing. The
    key is of this one term, and no other money of yours can be taken with it. Bitcoin Core imports it as docs/refund.md
    says. It is in no log and no file; what your terminal keeps is yours to wipe.

    Examples:

      pasar escrow refund-key --receipt escrow.json --show-secret

      pasar escrow refund-key --receipt escrow.json --show-secret --json | jq -c '[{desc: .descriptor, timestamp: 0}]'
    """
    from services.settlement.refund import spending_descriptor

    found, own = _opened(receipt, as_)
    if not show_secret:
        raise NotShown(address=found.address, height=found.expires_height)
    descriptor = spending_descriptor(found, own)
    if as_json:
        told = {"descriptor": descriptor.reveal(), "address": found.address, "expires_height": found.expires_height}
        print_json({**told, "network": found.network})
        return
    say(f"SECRET: with this line anybody takes all that {found.address} holds,")
    say(f"from block {found.expires_height + 1:,} on. Give it to your own wallet and to nobody else.")
    print(descriptor.reveal())


def _opened(path: Path, as_: str) -> "tuple[EscrowReceipt, Wallet]":
    """The receipt, and the wallet of this machine that has its keys."""
    from services.config import from_environment
    from services.settlement.refund import decode
    from services.settlement.wallet import wallet

    receipt = decode(path.read_bytes())
    return receipt, wallet(from_environment(), as_, network=receipt.network)
