"""A job's receipt as a notebook keeps it: a file that anybody checks alone."""

from collections.abc import Collection
from pathlib import Path

from services.client.cards import Card, Shown
from services.client.words import count, sat, short
from services.receipt import form
from services.receipt.form import Claims, Receipt
from services.receipt.verify import Verified, verify


class JobReceipt(Shown):
    """Attributes:
    file: The bytes to keep; ``pasar receipt verify`` checks them without the market.
    claims: What the receipt says: prices, results, where the money went.
    """

    def __init__(self, receipt: Receipt, market: str) -> None:
        self._known = market
        self.job, self.market, self.claims = receipt.job, receipt.market, receipt.claims
        self.file = form.encode(receipt)

    def verify(self, *, market: str | None = None, blocks: Collection[str] | None = None) -> Verified:
        """Check every byte of it here, with no network and no market.

        Args:
            market: The key that must have signed; absent: that of the market which gave it.
            blocks: Ids of blocks that your own node has in the best chain; each payout must be in one of them.
        Raises:
            ReceiptBroken: The named check fails.
        """
        return verify(self.file, market=market or self._known, blocks=blocks)

    def save(self, path: str | Path | None = None) -> Path:
        """Write the file; ``<job>.receipt.json`` if no path is given."""
        path = Path(path) if path is not None else Path(f"{self.job}.receipt.json")
        path.write_bytes(self.file)
        return path

    def card(self) -> Card:
        claims: Claims = self.claims
        return Card(
            title=f"receipt of job {self.job}",
            sentence=f"{claims.verified} of {count(claims.tasks, 'task')} verified; check it alone with .verify(), "
            "keep it with .save().",
            lines=[
                ("to workers", sat(claims.paid_msat)),
                ("paid on chain", sat(claims.settled_msat)),
                ("fee", sat(claims.charged_msat)),
                ("size", f"{len(self.file):,} bytes"),
            ],
            more=[
                *((f"payout {one.epoch}", f"{sat(one.paid_msat)} in {one.txid}") for one in claims.payouts),
                ("market", self.market),
                ("client", short(claims.client)),
                ("program", claims.program.address),
            ],
        )
